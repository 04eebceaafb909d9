"""From rows to an index: crops in row order through the image tower, in pieces, so that memory stays flat.

A killed run leaves its finished pieces behind; the next one with the same model and rows goes on from them.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from noduleclip import schema
from noduleclip.engine.towers import Encoder, Towers
from noduleclip.io.artefacts import flush_file, replacing, write_text
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.disk import measure_bytes, require_space
from noduleclip.io.index_store import META_GROUP_ROWS, Manifest, write_manifest

_PIECE_ROWS = 1024
_ITEM_BYTES = 4  # of a float32
_PIECES_FOLDER = ".pieces"
_META_COLUMNS = (
    *(name for name in schema.TEXT_COLUMNS if name != schema.POINTS_JSON),
    *schema.NUMBER_COLUMNS,
    schema.CSV_ROW,
    schema.CENTER_X,
    schema.CENTER_Y,
)


def write_index(
    frame: pl.DataFrame,
    cache: CropCache,
    towers: Towers,
    out_dir: Path,
    *,
    bs: int,
    keep: tuple[str, ...] = (),
    dicom_roots: Sequence[str] = (),
    on_rows: Callable[[int], None] = lambda _: None,
) -> Manifest:
    """Embed the rows of a frame and write the folder that a query needs.

    Args:
        frame: Checked ROI rows.
        cache: Their crops, filled; its rejected rows are left out of embeddings and metadata alike.
        towers: The towers.
        out_dir: Folder to write.
        bs: Rows in a forward pass.
        keep: Further columns of the frame to carry along.
        dicom_roots: Folders that relative DICOM paths start from, for pictures later.
        on_rows: Called with the rows embedded since the last call.

    Returns:
        The manifest written.
    """
    rejected = {reject.row for reject in cache.rejects}
    rows = [row for row in range(frame.height) if row not in rejected]
    image = towers.image
    meta = frame[rows].select([name for name in dict.fromkeys((*_META_COLUMNS, *keep)) if name in frame.columns])
    out_dir.mkdir(parents=True, exist_ok=True)
    size_bytes = _ITEM_BYTES * len(rows) * image.config.emb
    kept_bytes = measure_bytes(out_dir / _PIECES_FOLDER)
    require_space(out_dir / schema.EMBEDDINGS, 2 * size_bytes - kept_bytes)  # once in pieces, once whole
    pieces = _open_pieces(out_dir / _PIECES_FOLDER, image.model_id, cache, rows)
    with contextlib.ExitStack() as stack:  # the innermost file is the one being written: errors name it
        tower_file = stack.enter_context(replacing(out_dir / schema.TEXT_TOWER))
        shutil.copyfile(towers.text_file, tower_file)
        flush_file(tower_file)
        meta_file = stack.enter_context(replacing(out_dir / schema.META))
        meta.write_parquet(meta_file, row_group_size=META_GROUP_ROWS)
        flush_file(meta_file)
        if schema.POINTS_JSON in frame.columns:
            outlines_file = stack.enter_context(replacing(out_dir / schema.OUTLINES))
            frame[rows].select(schema.POINTS_JSON).write_parquet(outlines_file, row_group_size=META_GROUP_ROWS)
            flush_file(outlines_file)
        embeddings_file = stack.enter_context(replacing(out_dir / schema.EMBEDDINGS, size_bytes=size_bytes))
        with embeddings_file.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), image.config.emb)}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(rows), _PIECE_ROWS):
                part = rows[start : start + _PIECE_ROWS]
                file.write(_embed_piece(pieces / f"{start}.npy", part, cache, image, bs, on_rows).tobytes())
        flush_file(embeddings_file)
        for name in (schema.INDEX_MANIFEST, schema.OUTLINES):  # without the first no mixture of old and new files opens
            (out_dir / name).unlink(missing_ok=True)
    manifest = write_manifest(
        out_dir,
        model_id=image.model_id,
        checkpoint_sha256=towers.checkpoint_sha256,
        model=image.config,
        rows=len(rows),
        scale=image.calibration.scale,
        bias=image.calibration.bias,
        dicom_roots=dicom_roots,
    )
    shutil.rmtree(pieces)
    return manifest


def _open_pieces(folder: Path, model_id: str, cache: CropCache, rows: list[int]) -> Path:
    """Keep the pieces of an earlier run that embedded the same crops with the same model; drop all others."""
    key = hashlib.sha256(json.dumps([model_id, cache.fingerprint(), rows]).encode()).hexdigest()
    key_file = folder / "key"
    if not key_file.exists() or key_file.read_text(encoding="utf-8") != key:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(key_file, key)
    return folder


def _embed_piece(
    path: Path, rows: list[int], cache: CropCache, image: Encoder, bs: int, on_rows: Callable[[int], None]
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Give the (n, D) unit rows of some rows, from the piece's file if it is there."""
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there, or no array: it is made again
        piece = np.asarray(np.load(path, allow_pickle=False), "<f4")
        if piece.shape == (len(rows), image.config.emb):
            on_rows(len(rows))
            return piece
    parts = []
    for start in range(0, len(rows), bs):
        part = rows[start : start + bs]
        parts.append(image.encode(cache.read(part)))
        on_rows(len(part))
    piece = np.concatenate(parts)
    with replacing(path, size_bytes=piece.nbytes) as temporary, temporary.open("wb") as file:
        np.save(file, piece)
    return piece
