"""An index in a folder: embeddings, rows, text encoder, and the manifest that binds them.

An opened index is one generation. `embed --overwrite` replaces the files of a folder one after the other, so all of
them are opened at once, and kept open: later reads never use a path again. polars scans an open file as it scans a
path, mapped into memory and only the row groups and columns that a plan needs (1,000,000 rows: the same time and
memory), and what is open survives the removal of its name.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import __version__, schema
from noduleclip.config import FLOAT32, ModelConfig
from noduleclip.errors import ArtefactError, IndexReplacedError, shows_incompatibility
from noduleclip.io.artefacts import hash_file, hash_open_file, parse_json, write_text
from noduleclip.io.index.base import (
    HASHED_BYTES,
    Index,
    Manifest,
    check_columns,
    check_sizes,
    describe_file,
    format_manifest,
    parse_manifest,
)
from noduleclip.io.index.open_files import OpenFiles
from noduleclip.io.output_folders import LOCK_FILE
from noduleclip.io.polars_errors import FAILURES, find_library_error, measure_uncompressed

META_GROUP_ROWS = 1 << 15  # rows of the metadata that are compressed, and read, together
OUTLINE_GROUP_ROWS = 1 << 10  # the same of the outlines, which are long
_GROUP_ROWS = {schema.META: META_GROUP_ROWS, schema.OUTLINES: OUTLINE_GROUP_ROWS}
# Bytes of a row, of all columns, on average and without compression.
_MOST_ROW_BYTES = {schema.META: 1 << 15, schema.OUTLINES: 1 << 18}
_MOST_TABLE_BYTES = 1 << 26  # without compression, whatever its rows
_REPLACING_S = 3.0  # the longest that an opening waits for a writer between two states of a folder
_RETRY_S = 0.05
INDEX_FILES = (schema.EMBEDDINGS, schema.META, schema.TEXT_TOWER)


@dataclass(frozen=True)
class FolderIndex(Index):
    """An index in a folder.

    Attributes:
        embeddings: (N, D) float32 unit rows, memory-mapped.
        generation: SHA-256 of the manifest.
        folder: The folder.
        files: Its files, the manifest included, all open.
    """

    embeddings: NDArray[np.float32]
    folder: Path
    files: OpenFiles

    @property
    def location(self) -> str:
        """The folder."""
        return str(self.folder)

    def was_replaced(self) -> bool:
        """Return whether the folder now holds another generation, or, for the moment, none."""
        if self.files.find_overwritten() is not None:
            return True
        if self.files.is_current(schema.INDEX_MANIFEST):
            return False
        path = self.folder / schema.INDEX_MANIFEST
        try:
            return not path.is_file() or hash_file(path) != self.generation  # the same may be written again
        except OSError:
            return True

    def check_unchanged(self) -> None:
        """Check that no open file was overwritten in place since it was opened."""
        name = self.files.find_overwritten()
        if name is not None:
            raise IndexReplacedError(f"{self.folder / name}: was overwritten while it was open; run the command again")

    def scan(self) -> pl.LazyFrame:
        """Return the rows' metadata in the order of the embeddings, with their number as `row`."""
        return _scan(self.files[schema.META]).with_row_index(schema.ROW)

    def collect(self, plan: pl.LazyFrame) -> pl.DataFrame:
        """Carry out a plan on the metadata."""
        return self._collect(plan, schema.META)

    def read_rows(self, rows: Sequence[int] | NDArray[np.int64], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Read the metadata of some rows, in the order asked for."""
        return self._read_groups(schema.META, rows, columns)

    def read_outlines(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str | None]:
        """Read the outlines of some rows as the table had them."""
        if schema.OUTLINES not in self.manifest.files:
            return [None] * len(rows)
        return self._read_groups(schema.OUTLINES, rows)[schema.POINTS_JSON].to_list()

    def load_table(self, name: str) -> pl.DataFrame:
        """Read a whole table of the folder: `meta.parquet` or `outlines.parquet`.

        Raises:
            ArtefactError: It is broken.
        """
        return self._collect(_scan(self.files[name]), name)

    @contextlib.contextmanager
    def text_encoder_path(self) -> Iterator[Path]:
        """Return the text encoder as a file while the block runs: the folder's, or a copy where that was replaced.

        Raises:
            IndexReplacedError: It became another one while the block ran.
        """
        if self.was_replaced():
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / schema.TEXT_TOWER
                source = self.files[schema.TEXT_TOWER]
                source.seek(0)
                with copy.open("wb") as target:
                    shutil.copyfileobj(source, target)
                yield copy
            return
        path = self.folder / schema.TEXT_TOWER
        try:
            yield path
        except ArtefactError as error:
            raise self.explain(str(error)) from error
        if self.was_replaced():  # writers remove the manifest before they replace the encoder
            raise self.explain(f"{path}: was replaced")

    @property
    def files_bytes(self) -> int:
        """The bytes of all files that the manifest names."""
        return sum(entry["bytes"] for entry in self.manifest.files.values())

    def find_changed_files(self, on_bytes: Callable[[int], None] = lambda _: None) -> list[str]:
        """Hash all files and return the paths of those that differ from the manifest."""
        return [
            str(self.folder / name)
            for name, entry in self.manifest.files.items()
            if hash_open_file(self.files[name], on_bytes) != entry.get("sha256")
        ]

    def verify(self) -> None:
        """Read all files and compare them with the manifest.

        Raises:
            ArtefactError: One has changed.
        """
        for path in self.find_changed_files():
            raise ArtefactError(_name_changed(path))

    def _collect(self, plan: pl.LazyFrame, name: str) -> pl.DataFrame:
        path = self.folder / name
        try:
            found = plan.collect()
        except FAILURES as error:
            if library := find_library_error(self.files[name], self.manifest.rows, str(path), error):
                raise library from error
            raise self.explain(f"{path}: is broken ({str(error).splitlines()[0]}); embed again") from error
        if name == schema.META:
            check_sizes(found, str(path))
        return found

    def _read_groups(
        self, name: str, rows: Sequence[int] | NDArray[np.int64], columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        wanted = pl.DataFrame({schema.ROW: pl.Series(list(rows), dtype=pl.get_index_type())})
        parts = []
        size = _GROUP_ROWS[name]
        for start in sorted({row - row % size for row in map(int, rows)}) or [0]:
            part = _scan(self.files[name]).slice(start, size)
            numbered = part.with_row_index(schema.ROW, offset=start).select(columns or pl.all())
            parts.append(numbered.filter(pl.col(schema.ROW).is_in(wanted[schema.ROW].implode())))
        found = self._collect(pl.concat(parts), name)
        return wanted.join(found, on=schema.ROW, how="left", maintain_order="left")


def _scan(file: BufferedReader) -> pl.LazyFrame:
    return pl.scan_parquet(file, glob=False)


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
            raise ArtefactError(_name_changed(str(folder / name)))
    shape = (manifest.rows, manifest.emb)
    embeddings = _map_embeddings(files[schema.EMBEDDINGS], folder / schema.EMBEDDINGS, shape)
    try:
        table = _scan(files[schema.META])
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


def _name_changed(path: str) -> str:
    return f"{path}: is not the file that {schema.INDEX_MANIFEST} names; embed again"


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
