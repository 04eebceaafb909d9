"""From rows to an index: crops in row order through the image tower, in pieces, so that memory stays flat.

A killed run leaves its finished pieces behind; the next one with the same model and rows goes on from them.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch

from noduleclip import schema
from noduleclip.errors import ArtefactError
from noduleclip.io.artefacts import hash_file, replacing, write_text
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.index_store import META_GROUP_ROWS, Manifest, write_manifest
from noduleclip.models.checkpoint import hash_model
from noduleclip.models.two_towers import TwoTowers
from noduleclip.retrieval.text_query import SentenceEncoder

_PIECE_ROWS = 1024
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
    model: TwoTowers,
    checkpoint: Path,
    out_dir: Path,
    *,
    bs: int,
    keep: tuple[str, ...] = (),
    on_rows: Callable[[int], None] = lambda _: None,
) -> Manifest:
    """Embed the rows of a frame and write the folder that a query needs.

    Args:
        frame: Checked ROI rows.
        cache: Their crops, filled; its rejected rows are left out of embeddings and metadata alike.
        model: The towers, on the device to compute on.
        checkpoint: The file that they came from.
        out_dir: Folder to write.
        bs: Rows in a forward pass.
        keep: Further columns of the frame to carry along.
        on_rows: Called with the rows embedded since the last call.

    Returns:
        The manifest written.
    """
    rejected = {reject.row for reject in cache.rejects}
    rows = [row for row in range(frame.height) if row not in rejected]
    model_id = hash_model(model)
    meta = frame[rows].select([name for name in dict.fromkeys((*_META_COLUMNS, *keep)) if name in frame.columns])
    out_dir.mkdir(parents=True, exist_ok=True)
    pieces = _open_pieces(out_dir / _PIECES_FOLDER, model_id, cache, rows)
    with (
        replacing(out_dir / schema.TEXT_TOWER) as tower_file,
        replacing(out_dir / schema.META) as meta_file,
        replacing(out_dir / schema.EMBEDDINGS) as embeddings_file,
    ):
        with embeddings_file.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), model.config.emb)}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(rows), _PIECE_ROWS):
                part = rows[start : start + _PIECE_ROWS]
                file.write(_embed_piece(pieces / f"{start}.npy", part, cache, model, bs, on_rows).tobytes())
        meta.write_parquet(meta_file, row_group_size=META_GROUP_ROWS)
        _write_text_tower(model, model_id, cache.folder / "towers", tower_file)
        (out_dir / schema.INDEX_MANIFEST).unlink(missing_ok=True)  # without it no mixture of old and new files opens
    manifest = write_manifest(
        out_dir,
        model_id=model_id,
        checkpoint_sha256=hash_file(checkpoint),
        model=model.config,
        rows=len(rows),
        scale=float(model.log_scale.detach().exp()),
        bias=float(model.bias.detach()),
    )
    shutil.rmtree(pieces)
    return manifest


def _write_text_tower(model: TwoTowers, model_id: str, folder: Path, path: Path) -> None:
    """Write the text tower, from `folder` where an earlier run left it: to export one takes seconds."""
    kept = folder / f"{model_id}-{schema.INDEX_SCHEMA_VERSION}.onnx"
    try:
        known = SentenceEncoder(kept).model_id == model_id
    except ArtefactError:
        known = False
    if not known:
        from noduleclip.models.onnx_export import export_text_tower  # takes a while to import, too

        with replacing(kept) as temporary:
            export_text_tower(model, temporary)
    shutil.copyfile(kept, path)


def _open_pieces(folder: Path, model_id: str, cache: CropCache, rows: list[int]) -> Path:
    """Keep the pieces of an earlier run that embedded the same crops with the same model; drop all others."""
    key = hashlib.sha256(json.dumps([model_id, cache.fingerprint(), rows]).encode()).hexdigest()
    key_file = folder / "key"
    if not key_file.exists() or key_file.read_text(encoding="utf-8") != key:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(key_file, key)
    return folder


def _embed_piece(
    path: Path, rows: list[int], cache: CropCache, model: TwoTowers, bs: int, on_rows: Callable[[int], None]
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Give the (n, D) unit rows of some rows, from the piece's file if it is there."""
    if path.exists():
        on_rows(len(rows))
        return np.asarray(np.load(path, allow_pickle=False), "<f4")
    parts = []
    for start in range(0, len(rows), bs):
        part = rows[start : start + bs]
        parts.append(embed_crops(model, torch.from_numpy(cache.read(part))))
        on_rows(len(part))
    piece = np.concatenate(parts)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, piece)
    return piece


@torch.inference_mode()
def embed_crops(model: TwoTowers, crops_hu: torch.Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Embed (B, Y, X) int16 crops: (B, D) unit rows, little-endian float32."""
    device = model.bias.device
    return np.asarray(model.encode_views(crops_hu.to(device).float()).float().cpu().numpy(), "<f4")
