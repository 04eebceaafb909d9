"""Writing of an index into a Lance store, by one process or by many."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.config import INDEXED_ROWS
from noduleclip.errors import OutputError
from noduleclip.io.index.lance_tables import (
    INDEX_TABLE,
    MANIFEST,
    PROBES,
    ROW_FILES,
    ROWS_TABLE,
    TEXT_ENCODER,
    VECTOR,
    VERSION,
    Place,
    load_lance,
    name_column,
    translate_lance_errors,
)
from noduleclip.io.index.manifest import Manifest, describe_file, format_manifest

_ROWS_PER_FILE = 1 << 20
_ROWS_OF_PARTITION, _MOST_PARTITIONS = 4096, 4096
_LAST_VERSION = (1 << 64) - 1  # Lance counts the names of its versions down from here


def make_schema(emb: int, meta: pl.DataFrame, outlines: pl.Series | None) -> Any:
    """Return the Arrow schema of the rows' table."""
    return _make_batch(
        0, np.zeros((0, emb), np.float32), meta.head(0), None if outlines is None else outlines.head(0)
    ).schema


def _make_batch(start: int, vectors: NDArray[np.float32], meta: pl.DataFrame, outlines: pl.Series | None) -> Any:
    import pyarrow as pa

    frame = meta.rename(name_column).with_columns(
        pl.Series(schema.ROW, np.arange(start, start + meta.height), dtype=pl.Int64)
    )
    if outlines is not None:
        frame = frame.with_columns(outlines.alias(schema.POINTS_JSON))
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float32())
    return table.append_column(VECTOR, pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])).combine_chunks()


def write_fragment(
    place: Place, start: int, vectors: Iterable[NDArray[np.float32]], meta: pl.DataFrame, outlines: pl.Series | None
) -> list[str]:
    """Write rows beside a store; they become rows of it with `bind_fragments`.

    Any process that reaches the store may write its share of the rows.

    Args:
        place: The store.
        start: Number of the first row.
        vectors: Blocks of (n, D) unit rows, together as many as `meta` has.
        meta: Their metadata.
        outlines: Their outlines, where the table has any.

    Returns:
        Descriptions of the fragments for `bind_fragments`, as JSON.

    Raises:
        OutputError: The store cannot be written.
        Exception: An error of `vectors` passes unchanged.
    """
    import pyarrow as pa

    lance = load_lance(place.text)
    raised: list[BaseException] = []  # Lance keeps only the text of an error
    blocks = iter(vectors)
    first = next(blocks)

    def read_batches() -> Iterator[Any]:
        at = 0
        block: NDArray[np.float32] | None = first
        try:
            while block is not None:
                end = at + len(block)
                table = _make_batch(start + at, block, meta[at:end], None if outlines is None else outlines[at:end])
                yield from table.to_batches()
                at, block = end, next(blocks, None)
        except (Exception, KeyboardInterrupt) as error:
            raised.append(error)
            raise

    try:
        with translate_lance_errors(place.text, writing=True):
            written = lance.fragment.write_fragments(
                pa.RecordBatchReader.from_batches(make_schema(first.shape[1], meta, outlines), read_batches()),
                place.name_table(ROWS_TABLE),
                mode="overwrite",  # the columns may differ from those of the rows before
                max_rows_per_file=_ROWS_PER_FILE,
            )
    except OutputError:
        if raised:
            raise raised[0] from None
        raise
    return [json.dumps(fragment.to_json()) for fragment in written]


def write_lance_index(
    place: Place,
    vectors: Iterable[NDArray[np.float32]],
    meta: pl.DataFrame,
    outlines: pl.Series | None,
    text_encoder_file: Path,
    manifest: Manifest,
    *,
    indexed_rows: int = INDEXED_ROWS,
) -> Manifest:
    """Write a store completely; if anything ends this early, the old store stays as it was.

    Args:
        place: The store.
        vectors: Blocks of (n, D) unit rows in row order.
        meta: (N,) their metadata.
        outlines: (N,) their outlines, where the table has any.
        text_encoder_file: The text encoder.
        manifest: The manifest without its files, which are filled in.
        indexed_rows: Rows from which on a vector index is built.

    Returns:
        The manifest written.

    Raises:
        OutputError: The store cannot be written.
    """
    fragments = write_fragment(place, 0, vectors, meta, outlines)
    kinds = make_schema(manifest.emb, meta, outlines)
    return bind_fragments(place, fragments, kinds, text_encoder_file, manifest, indexed_rows=indexed_rows)


def bind_fragments(
    place: Place,
    fragments: Sequence[str],
    kinds: Any,
    text_encoder_file: Path,
    manifest: Manifest,
    *,
    indexed_rows: int,
) -> Manifest:
    """Make a store of fragments that any processes wrote beside it.

    Args:
        place: The store.
        fragments: What `write_fragment` returned, in the order of the rows.
        kinds: Arrow schema of the rows, as `make_schema` returns it.
        text_encoder_file: The text encoder.
        manifest: The manifest without its files, which are filled in.
        indexed_rows: Rows from which on a vector index is built.

    Returns:
        The manifest written.

    Raises:
        OutputError: The store cannot be written.
        ValueError: The fragments are not those of all rows in their order.
    """
    lance = load_lance(place.text)
    earlier = _list_vector_indexes(place)
    with translate_lance_errors(place.text, writing=True):
        whole = [lance.FragmentMetadata.from_json(fragment) for fragment in fragments]
        rows = lance.LanceDataset.commit(place.name_table(ROWS_TABLE), lance.LanceOperation.Overwrite(kinds, whole))
    _check_rows(rows, manifest.rows)
    text_encoder = text_encoder_file.read_bytes()
    bound = replace(manifest, files={schema.TEXT_TOWER: describe_file(text_encoder_file)})
    with translate_lance_errors(place.text, writing=True):
        is_indexed = manifest.rows >= indexed_rows
        if is_indexed:
            partitions = min(max(manifest.rows // _ROWS_OF_PARTITION, 1), _MOST_PARTITIONS)
            rows = rows.create_index(VECTOR, "IVF_SQ", metric="cosine", num_partitions=partitions)
        row_files = _describe_row_files(place, rows, earlier)
        _write_binding(lance, place, bound, text_encoder, rows.version, is_indexed, row_files)
    return bound


def _list_vector_indexes(place: Place) -> set[Path]:
    """Return the folders of all vector indexes of a store, those of earlier versions included."""
    return set() if place.folder is None else set(Path(place.name_table(ROWS_TABLE)).glob("_indices/*"))


def _describe_row_files(place: Place, rows: Any, earlier: set[Path]) -> dict[str, dict[str, Any]]:
    """Return checksum and size of each file of a version of the rows, by its path in the table.

    Args:
        place: The store; in an object store nothing is read back, and nothing is returned.
        rows: The table at that version.
        earlier: Folders of vector indexes that are of earlier versions.
    """
    if place.folder is None:
        return {}
    folder = Path(place.name_table(ROWS_TABLE))
    versions = [folder / "_versions" / f"{number}.manifest" for number in (rows.version, _LAST_VERSION - rows.version)]
    found = [
        *(folder / "data" / file.path for fragment in rows.get_fragments() for file in fragment.data_files()),
        *(path for path in versions if path.exists()),
        *(path for one in _list_vector_indexes(place) - earlier for path in one.rglob("*") if path.is_file()),
    ]
    return {path.relative_to(folder).as_posix(): describe_file(path) for path in sorted(found)}


def _check_rows(rows: Any, count: int) -> None:
    """Check that fragments hold all rows in their order; otherwise vectors would be found under other numbers."""
    if (held := rows.count_rows()) != count:
        raise ValueError(f"the fragments have {held} rows, not {count}")
    ends = np.cumsum([fragment.count_rows() for fragment in rows.get_fragments()])
    bounds = np.unique([0, *ends[:-1], *(ends - 1)]).tolist()
    found = rows.take(bounds, columns=[schema.ROW])[schema.ROW].to_pylist()
    if found != bounds:
        raise ValueError(f"the fragments are not in the order of their rows: {found[:8]} instead of {bounds[:8]}")


def _write_binding(
    lance: Any,
    place: Place,
    manifest: Manifest,
    text_encoder: bytes,
    version: int,
    is_indexed: bool,
    row_files: Mapping[str, Mapping[str, Any]],
) -> None:
    """Bind the store to the new rows, which is the moment of replacement; then remove the old ones."""
    import pyarrow as pa

    row = pa.table(
        {
            MANIFEST: pa.array([format_manifest(manifest)], pa.large_string()),
            TEXT_ENCODER: pa.array([text_encoder], pa.large_binary()),
            VERSION: pa.array([version], pa.int64()),
            PROBES: pa.array([int(is_indexed)], pa.int64()),
            ROW_FILES: pa.array([json.dumps(row_files)], pa.large_string()),
        }
    )
    binding = lance.write_dataset(row, place.name_table(INDEX_TABLE), mode="overwrite")
    for table in (binding, lance.dataset(place.name_table(ROWS_TABLE), version=version)):
        table.cleanup_old_versions(older_than=timedelta(0), delete_unverified=True)
