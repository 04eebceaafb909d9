"""Opening of an index folder: its files are held against the manifest, while other processes may replace them."""

import os
import time
from io import BufferedReader
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import ArtefactError, IndexReplacedError, shows_incompatibility
from noduleclip.io.artefacts import hash_open_file, parse_json
from noduleclip.io.index.base import HASHED_BYTES, check_columns
from noduleclip.io.index.folder import INDEX_FILES, FolderIndex, explain_changed, scan_table
from noduleclip.io.index.manifest import Manifest, parse_manifest
from noduleclip.io.index.open_files import OpenFiles
from noduleclip.io.output_folders import LOCK_FILE
from noduleclip.io.polars_errors import FAILURES, find_library_error, measure_uncompressed

# Bytes of a row, of all columns, on average and without compression.
_MOST_ROW_BYTES = {schema.META: 1 << 15, schema.OUTLINES: 1 << 18}
_MOST_TABLE_BYTES = 1 << 26  # without compression, whatever its rows
_REPLACING_S = 3.0  # the longest that an opening waits for a writer between two states of a folder
_RETRY_S = 0.05


def open_folder_index(folder: Path, *, check_files: bool = True) -> FolderIndex:
    """Open a folder; wait while another process replaces its files.

    Between two states there is no manifest, for some milliseconds, and files of two states lie side by side. Writers
    hold a lock meanwhile, but not on a file system without locks. A failed opening is the folder's own where nobody
    holds the lock and the manifest is the one that was there before; it is tried once more even then.

    Args:
        folder: The folder.
        check_files: Compare files of up to `HASHED_BYTES` with their checksums.

    Raises:
        ArtefactError: There is no index, or it is broken.
    """
    if not folder.is_dir():
        if folder.is_file():
            remedy = "noduleclip embed makes one of a table, and describe --roi-csv needs none"
            raise ArtefactError(f"{folder}: a file, where an index folder is needed; {remedy}")
        raise ArtefactError(f"{folder}: no such index folder; noduleclip embed makes one")
    given_up = time.monotonic() + _REPLACING_S
    tries = 0
    while True:
        before = _identify_manifest(folder)
        try:
            return _open_generation(folder, check_files)
        except ArtefactError:
            tries += 1
            being_replaced = (folder / LOCK_FILE).exists() or _identify_manifest(folder) != before
            if time.monotonic() > given_up or (tries > 1 and not being_replaced):
                raise
        time.sleep(_RETRY_S)


def _identify_manifest(folder: Path) -> tuple[int, int] | None:
    """Return what tells one manifest of a folder from the next; None where there is none."""
    try:
        found = (folder / schema.INDEX_MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _describe_missing_index(folder: Path) -> str:
    """Return why a folder without a manifest is no index, and what to do."""
    lacks = f"{folder}: holds no {schema.INDEX_MANIFEST}"
    if any((folder / name).exists() for name in (schema.CHUNKS_FOLDER, *INDEX_FILES)):
        return f"{lacks}; noduleclip embed did not finish here"
    if (folder / schema.ROI_CSV).exists():
        return f"{lacks}: it is a folder of noduleclip prepare; embed its {schema.ROI_CSV} and name that index"
    if (folder / schema.BEST_CHECKPOINT).exists():
        return f"{lacks}: it is a folder of noduleclip train; embed a table with its model and name that index"
    return f"{lacks}; noduleclip embed makes one"


def _open_generation(folder: Path, check_files: bool) -> FolderIndex:
    """Open all files of a folder, which belong together if the manifest is the same file before and after.

    A writer removes the manifest before it replaces another file, and moves a new one there afterwards.
    """
    files = OpenFiles(folder)
    path = folder / schema.INDEX_MANIFEST
    bound = files.open(schema.INDEX_MANIFEST, _describe_missing_index(folder))
    manifest = parse_manifest(parse_json(bound, path), str(path), set(INDEX_FILES))
    for name in manifest.files:
        _check_size(files.open(name, f"{folder / name}: is missing; embed again"), folder / name, manifest)
    for name, entry in manifest.files.items():
        if check_files and entry["bytes"] <= HASHED_BYTES and hash_open_file(files[name]) != entry.get("sha256"):
            raise ArtefactError(explain_changed(str(folder / name)))
    shape = (manifest.rows, manifest.emb)
    embeddings = _map_embeddings(files[schema.EMBEDDINGS], folder / schema.EMBEDDINGS, shape)
    try:
        table = scan_table(files[schema.META])
        rows = table.select(pl.len()).collect().item()
        columns = table.collect_schema()
        if schema.ROW in columns:
            raise ArtefactError(f"{folder / schema.META}: has a column {schema.ROW}, which this tool adds; embed again")
        check_columns(columns, str(folder / schema.META))
    except FAILURES as error:
        where = str(folder / schema.META)
        if library := find_library_error(files[schema.META], manifest.rows, where, error):
            raise library from error
        raise ArtefactError(f"{where}: not a readable table ({str(error).splitlines()[0]})") from error
    if rows != manifest.rows:
        raise ArtefactError(f"{folder / schema.META}: has {rows} rows, {schema.INDEX_MANIFEST} says {manifest.rows}")
    for name in (schema.META, schema.OUTLINES):
        if name in manifest.files:
            _check_expansion(files[name], folder / name, rows)
    if not files.is_current(schema.INDEX_MANIFEST) or files.find_overwritten():
        raise IndexReplacedError(f"{folder}: is being replaced again and again; run the command again")
    return FolderIndex(manifest, embeddings, hash_open_file(bound), False, folder, files)


def _check_size(file: BufferedReader, path: Path, manifest: Manifest) -> None:
    size, expected = os.fstat(file.fileno()).st_size, manifest.files[path.name]["bytes"]
    if size != expected:
        raise ArtefactError(f"{path}: has {size} bytes, {schema.INDEX_MANIFEST} says {expected}; embed again")


def _check_expansion(file: BufferedReader, path: Path, rows: int) -> None:
    """Compare the uncompressed size in a table's footer with its rows.

    Raises:
        ArtefactError: It is too large.
    """
    size = measure_uncompressed(file)
    most = max(_MOST_TABLE_BYTES, rows * _MOST_ROW_BYTES[path.name])
    if size is None or size > most:
        found = "an unreadable footer" if size is None else f"{size:,} bytes without compression"
        raise ArtefactError(f"{path}: has {found}, allowed are {most:,} for {rows:,} rows")


def _map_embeddings(file: BufferedReader, path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    try:
        file.seek(0)
        version = np.lib.format.read_magic(file)
        if version != (1, 0):  # of a later one the header may be as long as the file
            raise ValueError(f"version {version[0]}.{version[1]}, embed writes 1.0")
        found, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        order: Literal["F", "C"] = "F" if by_columns else "C"
        embeddings = np.memmap(file, dtype, "r", file.tell(), found, order)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # numpy's parser of headers raises whatever it runs into
        if shows_incompatibility(error) and not isinstance(error, MemoryError):  # Python's, of a header nested too deep
            raise
        raise ArtefactError(f"{path}: not a readable array ({error})") from error
    if embeddings.dtype != np.float32 or embeddings.shape != shape or not embeddings.flags.c_contiguous:
        raise ArtefactError(f"{path}: is {embeddings.dtype} {embeddings.shape}, expected float32 {shape}, row by row")
    return np.asarray(embeddings)
