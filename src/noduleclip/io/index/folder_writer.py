"""Writing of an index into a folder: all files complete before the first one is renamed, the manifest last."""

import contextlib
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.artefacts import flush_file, replacing
from noduleclip.io.index.folder import GROUP_ROWS
from noduleclip.io.index.manifest import Manifest, describe_file, format_manifest


def write_index_files(
    out_dir: Path,
    *,
    meta: pl.DataFrame,
    outlines: pl.DataFrame | None,
    vectors: Iterable[NDArray[np.float32]],
    text_file: Path,
    manifest: Manifest,
) -> Manifest:
    """Write all files of an index.

    All files are complete, hashed and flushed before the first one is renamed, and the manifest is renamed last: the
    folder holds no index for the duration of a few renames, which readers wait for.

    Args:
        out_dir: Folder; it exists.
        meta: N rows.
        outlines: Their outlines; None where the table has none.
        vectors: Their (n, D) embeddings, in parts and in order.
        text_file: ONNX file of the text encoder.
        manifest: The manifest without `files`, which are filled in.

    Returns:
        The manifest written.
    """
    size_bytes = np.dtype(np.float32).itemsize * meta.height * manifest.emb
    parts: dict[str, Path] = {}
    with contextlib.ExitStack() as stack:  # the innermost file is the one being written: errors name it

        def begin(name: str, size_bytes: int | None = None) -> Path:
            parts[name] = stack.enter_context(replacing(out_dir / name, size_bytes=size_bytes, flush=False))
            return parts[name]

        manifest_file = stack.enter_context(replacing(out_dir / schema.INDEX_MANIFEST, flush=False))
        shutil.copyfile(text_file, begin(schema.TEXT_TOWER))
        flush_file(parts[schema.TEXT_TOWER])
        meta.write_parquet(begin(schema.META), row_group_size=GROUP_ROWS[schema.META])
        flush_file(parts[schema.META])
        if outlines is not None:
            outlines.write_parquet(begin(schema.OUTLINES), row_group_size=GROUP_ROWS[schema.OUTLINES])
            flush_file(parts[schema.OUTLINES])
        with begin(schema.EMBEDDINGS, size_bytes).open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (meta.height, manifest.emb)}
            np.lib.format.write_array_header_1_0(file, header)
            for part in vectors:
                file.write(part.tobytes())
        flush_file(parts[schema.EMBEDDINGS])
        bound = replace(manifest, files={name: describe_file(part) for name, part in parts.items()})
        manifest_file.write_text(format_manifest(bound), "utf-8", newline="\n")
        flush_file(manifest_file)
        for name in (schema.INDEX_MANIFEST, schema.OUTLINES):  # without the first no mixture of old and new files opens
            (out_dir / name).unlink(missing_ok=True)
    return bound
