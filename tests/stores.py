"""Copies of an index in the places where one may lie."""

import shutil
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.io.index.folder import FolderIndex, open_index
from noduleclip.io.index.lance import write_lance_index
from noduleclip.io.index.lance_tables import parse_place

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
    return store
