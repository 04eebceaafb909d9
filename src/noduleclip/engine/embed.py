"""Embedding of rows into an index folder or a Lance store, chunk by chunk in row order, with bounded memory.

A killed run leaves its finished chunks; the next run with the same model and rows continues from them.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import __version__, schema
from noduleclip.engine.chunks import CHUNK_ROWS, CHUNKS_FOLDER, embed_chunk, list_chunks, open_chunks
from noduleclip.engine.encoders import Encoder, Encoders
from noduleclip.io.chunk_files import remove_chunks
from noduleclip.io.consensus import find_unit
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.disk import measure_bytes, require_room, round_to_blocks
from noduleclip.io.index.folder import GROUP_ROWS
from noduleclip.io.index.folder_writer import write_index_files
from noduleclip.io.index.lance_tables import Place
from noduleclip.io.index.manifest import Manifest
from noduleclip.retrieval.estimate_columns import estimate_columns

_ITEM_BYTES = 4  # of a float32
_SAMPLE_ROWS = 8192
_MANIFEST_BYTES = 4096
_ESTIMATE_BYTES = 160  # of a row in a file; 135 were measured on 100,000
_META_COLUMNS = (
    *(name for name in schema.TEXT_COLUMNS if name != schema.POINTS_JSON),
    *schema.NUMBER_COLUMNS,
    schema.CSV_ROW,
    schema.CENTER_X,
    schema.CENTER_Y,
    schema.READERS,
    schema.SLICES,
    *schema.READER_LISTS,
)


def write_index(
    frame: pl.DataFrame,
    cache: CropCache,
    encoders: Encoders,
    out_dir: Path,
    *,
    bs: int,
    keep: tuple[str, ...] = (),
    dicom_roots: Sequence[str] = (),
    on_rows: Callable[[int], None] = lambda _: None,
    finish: Callable[[], None] = lambda: None,
) -> Manifest:
    """Embed the rows of a frame and write an index folder.

    Args:
        frame: Checked ROI rows.
        cache: Their crops, filled; its rejected rows are in neither embeddings nor metadata.
        encoders: The encoders.
        out_dir: Folder to write.
        bs: Rows in a forward pass.
        keep: Further columns of the frame to keep in the metadata.
        dicom_roots: Folders that relative DICOM paths start from, for pictures later.
        on_rows: Called with the rows embedded since the last call.
        finish: Writes further files of the index, before the chunks, which mark an unfinished run, are removed.

    Returns:
        The manifest written.
    """
    image, rows = encoders.image, _list_rows(frame, cache)
    out_dir.mkdir(parents=True, exist_ok=True)
    require_room(measure_index(frame[rows], encoders, out_dir, keep))
    chunks = open_chunks(out_dir / CHUNKS_FOLDER, image, cache, bs)
    embedded = _read_chunks(chunks, frame.height, cache, image, bs, on_rows)
    estimates = estimate_columns(encoders.open_estimator(), embedded)
    manifest = write_index_files(
        out_dir,
        meta=select_meta(frame[rows], keep).hstack(estimates),
        outlines=frame[rows].select(schema.POINTS_JSON) if schema.POINTS_JSON in frame.columns else None,
        vectors=_read_chunks(chunks, frame.height, cache, image, bs),
        text_file=encoders.text_file,
        manifest=_describe(encoders, frame, len(rows), dicom_roots),
    )
    finish()
    remove_chunks(chunks)
    return manifest


def write_store(
    frame: pl.DataFrame,
    cache: CropCache,
    encoders: Encoders,
    place: Place,
    work_dir: Path,
    *,
    bs: int,
    indexed_rows: int,
    keep: tuple[str, ...] = (),
    dicom_roots: Sequence[str] = (),
    fragments: Sequence[str] | None = None,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Manifest:
    """Embed the rows of a frame and write a Lance store.

    Args:
        frame: Checked ROI rows.
        cache: Their crops, as in `write_index`.
        encoders: The encoders.
        place: The store.
        work_dir: Folder for chunks.
        bs: Rows in a forward pass.
        indexed_rows: Rows from which on a vector index is built.
        keep: Further columns of the frame to keep in the metadata.
        dicom_roots: Folders that relative DICOM paths start from, for pictures later.
        fragments: Fragments that already hold the rows; None where they are still to be written.
        on_rows: Called with the rows embedded since the last call.

    Returns:
        The manifest written.
    """
    from noduleclip.io.index.lance_writer import bind_fragments, make_schema, write_lance_index

    image, rows = encoders.image, _list_rows(frame, cache)
    require_room(measure_index(frame[rows], encoders, work_dir, keep, place))
    chunks = open_chunks(work_dir / CHUNKS_FOLDER, image, cache, bs)
    meta, estimator = select_meta(frame[rows], keep), encoders.open_estimator()
    outlines = frame[rows][schema.POINTS_JSON] if schema.POINTS_JSON in frame.columns else None
    manifest = _describe(encoders, frame, len(rows), dicom_roots)
    if fragments is not None:
        meta = meta.head(0).hstack(estimate_columns(estimator, []))
        table_schema = make_schema(image.config.emb, meta, outlines)
        manifest = bind_fragments(
            place, fragments, table_schema, encoders.text_file, manifest, indexed_rows=indexed_rows
        )
    else:
        embedded = _read_chunks(chunks, frame.height, cache, image, bs, on_rows)
        meta = meta.hstack(estimate_columns(estimator, embedded))
        vectors = _read_chunks(chunks, frame.height, cache, image, bs)
        manifest = write_lance_index(
            place, vectors, meta, outlines, encoders.text_file, manifest, indexed_rows=indexed_rows
        )
    remove_chunks(chunks)
    return manifest


def describe_rows(
    frame: pl.DataFrame,
    cache: CropCache,
    encoders: Encoders,
    *,
    bs: int,
    keep: tuple[str, ...] = (),
    on_rows: Callable[[int], None] = lambda _: None,
) -> pl.DataFrame:
    """Return the metadata that `write_index` writes, with the estimates, and write nothing; arguments as there."""
    rejected = _list_rejected(cache)

    def encode(batch: range) -> NDArray[np.float32]:
        rows = [row for row in batch if row not in rejected]
        on_rows(len(rows))
        return encoders.image.encode(cache.read(rows)) if rows else np.empty((0, encoders.image.config.emb), np.float32)

    batches = [range(start, min(start + bs, frame.height)) for start in range(0, frame.height, bs)]
    per_part = max(1, CHUNK_ROWS // bs)
    parts = [batches[first : first + per_part] for first in range(0, len(batches), per_part)]
    estimates = estimate_columns(
        encoders.open_estimator(), (np.concatenate([encode(batch) for batch in part]) for part in parts)
    )
    return select_meta(frame[_list_rows(frame, cache)], keep).hstack(estimates)


def _read_chunks(
    chunks: Path,
    rows: int,
    cache: CropCache,
    image: Encoder,
    bs: int,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Iterator[NDArray[np.float32]]:
    """Yield the embeddings of each chunk of a table; the first time they are encoded."""
    rejected = _list_rejected(cache)
    return (embed_chunk(chunks, chunk, rejected, cache, image, bs, on_rows) for chunk in list_chunks(rows))


def _describe(encoders: Encoders, frame: pl.DataFrame, rows: int, dicom_roots: Sequence[str]) -> Manifest:
    """Return the manifest of an index before its files are written."""
    image = encoders.image
    return Manifest(
        schema_version=schema.INDEX_SCHEMA_VERSION,
        model_id=image.model_id,
        checkpoint_sha256=encoders.checkpoint_sha256,
        model=image.config,
        rows=rows,
        emb=image.config.emb,
        scale=image.calibration.scale,
        bias=image.calibration.bias,
        files={},
        made_by=__version__,
        unit=find_unit(frame),
        views=image.views,
        precision=image.precision,
        dicom_roots=tuple(dicom_roots),
        patients=encoders.patients,
    )


def measure_index(
    frame: pl.DataFrame, encoders: Encoders, out_dir: Path, keep: tuple[str, ...], place: Place | None = None
) -> dict[Path, int]:
    """Return the bytes that embedding needs on disk, by place, beside an index that it replaces.

    Args:
        frame: The rows.
        encoders: The encoders.
        out_dir: Folder of the index; with a store, of the chunks.
        keep: Further columns of the frame to keep in the metadata.
        place: The store; None = the index goes into the folder.
    """
    chunks = [_ITEM_BYTES * len(chunk) * encoders.image.config.emb for chunk in list_chunks(frame.height)]
    chunk_bytes = sum(map(round_to_blocks, chunks)) - measure_bytes(out_dir / CHUNKS_FOLDER)
    meta_bytes = _measure_table(select_meta(frame, keep)) + _ESTIMATE_BYTES * frame.height
    patients = {} if encoders.patients is None else encoders.patients.to_mapping()
    manifest_bytes = _MANIFEST_BYTES + sum(map(len, patients.values()))
    files = [sum(chunks), meta_bytes, encoders.text_file.stat().st_size, manifest_bytes]
    if schema.POINTS_JSON in frame.columns:
        files.append(_measure_table(frame.select(schema.POINTS_JSON)))
    index_bytes = sum(map(round_to_blocks, files))
    if place is None:
        return {out_dir / schema.EMBEDDINGS: chunk_bytes + index_bytes}
    needs = {out_dir / CHUNKS_FOLDER: chunk_bytes}
    return needs if place.folder is None else {place.folder: index_bytes, **needs}


def _measure_table(frame: pl.DataFrame) -> int:
    """Estimate the bytes of a table as parquet: exact for few rows, else extrapolated from the first ones."""
    sample, file = frame.head(_SAMPLE_ROWS), io.BytesIO()
    sample.write_parquet(file, row_group_size=GROUP_ROWS[schema.META])
    return file.tell() * frame.height // max(1, sample.height)


def _list_rejected(cache: CropCache) -> set[int]:
    return {reject.row for reject in cache.rejects}


def _list_rows(frame: pl.DataFrame, cache: CropCache) -> list[int]:
    rejected = _list_rejected(cache)
    return [row for row in range(frame.height) if row not in rejected]


def select_meta(frame: pl.DataFrame, keep: tuple[str, ...]) -> pl.DataFrame:
    """Select the columns of the metadata."""
    return frame.select([name for name in dict.fromkeys((*_META_COLUMNS, *keep)) if name in frame.columns])
