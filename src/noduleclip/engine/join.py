"""Joining of indexes: the shards of one index into a folder or a Lance store."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import __version__, schema
from noduleclip.io.disk import measure_bytes
from noduleclip.io.index.folder import FolderIndex
from noduleclip.io.index.folder_writer import write_index_files
from noduleclip.io.index.lance_tables import Place
from noduleclip.io.index.manifest import Manifest

_COPIED_ROWS: Final = 1 << 16


def measure_joined(indexes: Sequence[FolderIndex]) -> int:
    """Return the bytes on disk of the joined index."""
    names = (schema.EMBEDDINGS, schema.META, schema.OUTLINES)
    tables = sum(measure_bytes(index.folder / name) for index in indexes for name in names)
    return tables + measure_bytes(indexes[0].folder / schema.TEXT_TOWER)


def join_indexes(
    indexes: Sequence[FolderIndex], out_dir: Path, on_rows: Callable[[int], None] = lambda _: None
) -> Manifest:
    """Write the rows of several indexes as one, byte for byte as a single process writes it."""
    first = indexes[0].manifest
    rows = sum(index.manifest.rows for index in indexes)
    outlines = [found for index in indexes if (found := _read_outlines(index)) is not None]
    with indexes[0].text_encoder_path() as text_file:
        return write_index_files(
            out_dir,
            meta=pl.concat([_read_meta(index) for index in indexes]).rechunk(),
            outlines=pl.concat(outlines).rechunk() if outlines else None,
            vectors=(part for index in indexes for part in _read_vectors(index, on_rows)),
            text_file=text_file,
            manifest=_describe_joined(first, rows),
        )


def store_indexes(
    indexes: Sequence[FolderIndex], place: Place, indexed_rows: int, on_rows: Callable[[int], None] = lambda _: None
) -> Manifest:
    """Write the rows of several indexes into a Lance store, one index at a time to bound memory.

    Args:
        indexes: The indexes, in the order of the rows.
        place: The store.
        indexed_rows: Rows from which on a vector index is built.
        on_rows: Called with the rows written since the last call.

    Raises:
        OutputError: The store cannot be written.
    """
    from noduleclip.io.index.lance_writer import bind_fragments, make_schema, write_fragment

    first = indexes[0].manifest
    rows = sum(index.manifest.rows for index in indexes)
    fragments: list[str] = []
    at = 0
    for index in indexes:
        meta, outlines = _read_meta(index), _read_outlines(index)
        column = None if outlines is None else outlines[schema.POINTS_JSON]
        fragments += write_fragment(place, at, _read_vectors(index, on_rows), meta, column)
        at += index.manifest.rows
    manifest = _describe_joined(first, rows)
    table_schema = make_schema(first.emb, meta, column)
    with indexes[0].text_encoder_path() as text_file:
        return bind_fragments(place, fragments, table_schema, text_file, manifest, indexed_rows=indexed_rows)


def _describe_joined(first: Manifest, rows: int) -> Manifest:
    return replace(first, schema_version=schema.INDEX_SCHEMA_VERSION, rows=rows, files={}, made_by=__version__)


def _read_meta(index: FolderIndex) -> pl.DataFrame:
    return index.load_table(schema.META)


def _read_outlines(index: FolderIndex) -> pl.DataFrame | None:
    return index.load_table(schema.OUTLINES) if schema.OUTLINES in index.manifest.files else None


def _read_vectors(index: FolderIndex, on_rows: Callable[[int], None]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, index.manifest.rows, _COPIED_ROWS):
        part = np.asarray(index.embeddings[start : start + _COPIED_ROWS], "<f4")
        yield part
        on_rows(len(part))
