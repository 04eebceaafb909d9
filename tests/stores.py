"""Copies of an index in the places where one may lie."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from noduleclip import __version__, schema
from noduleclip.config import FLOAT32, CropConfig, ModelConfig
from noduleclip.io.artefacts import write_text
from noduleclip.io.index.folder import INDEX_FILES, FolderIndex
from noduleclip.io.index.lance_tables import parse_place
from noduleclip.io.index.lance_writer import write_lance_index
from noduleclip.io.index.manifest import Manifest, describe_file, format_manifest
from noduleclip.io.index.open import open_index
from noduleclip.io.own_indexes import remember_index

SMALL_MODEL = ModelConfig(emb=8, crop=CropConfig(fov_mm=40, windows_hu=((-1000, 400),)))
AT_ONCE = 37  # rows of a piece, so that a few are written


def read_outlines(index: FolderIndex) -> pl.Series | None:
    """Read all outlines of an index."""
    if schema.OUTLINES not in index.manifest.files:
        return None
    return pl.read_parquet(index.folder / schema.OUTLINES)[schema.POINTS_JSON]


def copy_to_store(folder: Path, store: str, *, indexed_rows: int) -> None:
    """Copy an index folder into a Lance store."""
    index = open_index(folder)
    pieces = (index.embeddings[start : start + AT_ONCE] for start in range(0, index.manifest.rows, AT_ONCE))
    meta = index.collect(index.scan().drop(schema.ROW))
    write_lance_index(
        parse_place(store), pieces, meta, read_outlines(index), folder / schema.TEXT_TOWER, index.manifest,
        indexed_rows=indexed_rows,
    )  # fmt: skip


def copy_index(folder: Path, kind: str, out: Path) -> str:
    """Copy an index into a place of a kind, and say where that is."""
    if kind == "folder":
        shutil.copytree(folder, out)
        return str(out)
    scheme = "file-object-store" if kind == "object store" else "lance"
    store = f"{scheme}://{out}"
    copy_to_store(folder, store, indexed_rows=1 if kind == "vector index" else 1 << 30)
    remember_index(open_index(store))
    return store


def write_small_index(folder: Path, name: str, rows: int) -> None:
    """Write an index whose files all say which one they are of; its text encoder is none."""
    folder.mkdir(parents=True)
    texts = [f"{name} {row}" for row in range(rows)]
    vectors = np.random.default_rng(rows).normal(size=(rows, SMALL_MODEL.emb)).astype(np.float32)
    np.save(folder / schema.EMBEDDINGS, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    meta = {schema.DICOM_PATH: texts, schema.PATIENT_ID: texts, schema.DIAMETER_MM: [float(rows)] * rows}
    pl.DataFrame(meta).write_parquet(folder / schema.META)
    pl.DataFrame({schema.POINTS_JSON: texts}).write_parquet(folder / schema.OUTLINES)
    (folder / schema.TEXT_TOWER).write_text(f"encoder of {name}")
    write_manifest(folder, model_id=name, checkpoint_sha256="c", model=SMALL_MODEL, rows=rows, scale=1.0, bias=0.0)


def write_manifest(
    folder: Path,
    *,
    model_id: str,
    checkpoint_sha256: str,
    model: ModelConfig,
    rows: int,
    scale: float,
    bias: float,
    dicom_roots: Sequence[str] = (),
    unit: str = schema.OUTLINE_UNIT,
) -> Manifest:
    """Write the manifest that binds the files of a folder, atomically and last."""
    names = [*INDEX_FILES, *([schema.OUTLINES] if (folder / schema.OUTLINES).exists() else [])]
    manifest = Manifest(
        schema_version=schema.INDEX_SCHEMA_VERSION,
        model_id=model_id,
        checkpoint_sha256=checkpoint_sha256,
        model=model,
        rows=rows,
        emb=model.emb,
        scale=scale,
        bias=bias,
        files={name: describe_file(folder / name) for name in names},
        made_by=__version__,
        unit=unit,
        views=model.views,
        precision=FLOAT32,
        dicom_roots=tuple(dicom_roots),
    )
    write_text(folder / schema.INDEX_MANIFEST, format_manifest(manifest))
    return manifest
