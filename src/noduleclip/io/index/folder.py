"""What an index offers to those who search it, and the folder that `embed` writes: one of the places an index may lie.

A folder holds embeddings, rows, text encoder, and the manifest that binds them.

An opened index is one generation. `embed --overwrite` replaces the files of a folder one after the other, so all of
them are opened at once, and kept open: later reads never use a path again. polars scans an open file as it scans a
path, mapped into memory and only the row groups and columns that a plan needs (1,000,000 rows: the same time and
memory), and what is open survives the removal of its name.
"""

import abc
import contextlib
import math
import os
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, Protocol, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import __version__, schema
from noduleclip.config import ModelConfig, from_mapping, to_mapping
from noduleclip.errors import ArtefactError, ConfigError, IndexReplacedError, UsageError, shows_incompatibility
from noduleclip.io.artefacts import LOCK_FILE, format_json, hash_file, hash_open_file, parse_json, write_text
from noduleclip.io.polars_errors import FAILURES, find_library_error, measure_uncompressed

META_GROUP_ROWS = 1 << 15  # rows of the metadata that are compressed, and read, together
_MOST_BYTES = 1 << 50
_MOST_ROW_BYTES = 1 << 15  # of all columns, on average and without compression
_MOST_TABLE_BYTES = 1 << 26  # without compression, whatever its rows
HASHED_BYTES = 1 << 26  # 37 ms; a query cannot wait for larger files, `verify` reads them
_REPLACING_S = 3.0  # the longest that an opening waits for a writer between two states of a folder
_RETRY_S = 0.05
INDEX_FILES = (schema.EMBEDDINGS, schema.META, schema.TEXT_TOWER)


@dataclass(frozen=True)
class Manifest:
    """What `index.json` says.

    Attributes:
        schema_version: Version of the folder's layout.
        model_id: The model that made the embeddings.
        checkpoint_sha256: Hash of the checkpoint file that the model came from.
        model: Its configuration.
        rows: N.
        emb: D.
        scale: Scale of a cosine in the model's logit.
        bias: Bias of the model's logit.
        files: SHA-256 and size in bytes of each file.
        dicom_roots: Folders that relative DICOM paths started from when the index was made.
        made_by: Version of this tool.
    """

    schema_version: int
    model_id: str
    checkpoint_sha256: str
    model: ModelConfig
    rows: int
    emb: int
    scale: float
    bias: float
    files: dict[str, dict[str, Any]]
    made_by: str
    dicom_roots: tuple[str, ...] = ()


class Vectors(Protocol):
    """(N, D) float32 unit rows, read where they are asked for: an array, mapped or not, or what reads like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Index(abc.ABC):
    """An opened index; nothing but the manifest is read until it is needed.

    Attributes:
        manifest: What it says of itself.
        embeddings: (N, D) float32 unit rows.
        generation: Identifies what was opened: two indexes at one location have different ones.
    """

    manifest: Manifest
    embeddings: Vectors
    generation: str

    @property
    @abc.abstractmethod
    def location(self) -> str:
        """Where it lies, as a user says it."""

    @property
    def name(self) -> str:
        """The last part of its location."""
        return Path(self.location).resolve().name

    @abc.abstractmethod
    def was_replaced(self) -> bool:
        """Return whether the location now holds another generation, or, for the moment, none.

        Cheap enough for every request: a `stat` in a folder, one small read of a Lance store. Never raises an error
        that a user can cause; an opened folder goes on answering from the generation that was opened, a Lance store
        raises `IndexReplacedError` where it cannot.
        """

    def check_unchanged(self) -> None:  # noqa: B027 - a Lance store keeps its versions
        """Check that what is open is still what was opened.

        A search calls it before and after it reads: an answer from files that were overwritten meanwhile is discarded.

        Raises:
            IndexReplacedError: A file was overwritten in place.
        """

    @abc.abstractmethod
    def scan(self) -> pl.LazyFrame:
        """The rows' metadata in the order of the embeddings, with their number as `row`."""

    @abc.abstractmethod
    def collect(self, plan: pl.LazyFrame) -> pl.DataFrame:
        """Carry out a plan on the metadata.

        Raises:
            IndexReplacedError: The index was replaced, and this generation of it is gone.
            ArtefactError: The index is broken.
        """

    def explain(self, message: str) -> ArtefactError:
        """Return the error for a failed read: `IndexReplacedError` where the index was replaced, else `message`."""
        if self.was_replaced():
            return IndexReplacedError(f"{self.location}: was replaced while it was read; run the command again")
        return ArtefactError(message)

    @abc.abstractmethod
    def read_rows(self, rows: Sequence[int] | NDArray[np.int64]) -> pl.DataFrame:
        """Read the metadata of some rows, in the order asked for, from the parts that hold them."""

    @abc.abstractmethod
    def read_outlines(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str | None]:
        """Read the outlines of some rows as the table had them, None where there is none."""

    @property
    def has_vector_index(self) -> bool:
        """Whether `count_rows` and `find_near` can be asked."""
        return False

    def count_rows(self, condition: str | None) -> int:
        """Count the rows that meet a condition of `find_near`."""
        raise NotImplementedError

    def find_near(self, vector: NDArray[np.float32], k: int, condition: str | None) -> NDArray[np.int64]:
        """Find rows near a vector by the vector index, without looking at all of them.

        Args:
            vector: (D,) unit vector.
            k: Rows wanted.
            condition: Filter that `build_lance_filter` returned: only rows that meet it are searched. None = all rows.

        Returns:
            (m,) ascending rows, at most k.
        """
        raise NotImplementedError

    @abc.abstractmethod
    def text_encoder_path(self) -> contextlib.AbstractContextManager[Path]:
        """Return the text encoder as a file while the block runs."""

    @property
    @abc.abstractmethod
    def files_bytes(self) -> int:
        """The bytes that `find_changed_files` reads."""

    @abc.abstractmethod
    def find_changed_files(self, on_bytes: Callable[[int], None] = lambda _: None) -> list[str]:
        """Hash all files, whole, and return the paths of those that are not the ones that were written.

        Args:
            on_bytes: Called with the bytes read since the last call.
        """

    @property
    def binds_rows(self) -> bool:
        """Whether checksums of the rows were recorded; without, `find_changed_files` cannot see a changed row."""
        return True

    def check_order(self) -> None:  # noqa: B027 (files have no numbers of rows)
        """Compare the number that is stored with every row with its place.

        Raises:
            ArtefactError: The rows do not lie in their order.
        """

    def read_columns(self, names: Sequence[str]) -> pl.DataFrame:
        """Read whole columns.

        Raises:
            UsageError: The index holds no such column.
        """
        self.require_columns(names)
        return self.collect(self.scan().select(names))

    def require_columns(self, names: Sequence[str]) -> None:
        """Refuse column names that the index does not hold.

        Raises:
            UsageError: Names the columns that there are.
        """
        columns = self.scan().collect_schema().names()
        missing = [name for name in names if name not in columns]
        if missing:
            raise UsageError(f"{self.location}: the index has no column {missing[0]!r}; it has {', '.join(columns)}")


class OpenFiles:
    """The files of one generation of a folder, by name; open until nothing refers to this object any more."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, BufferedReader] = {}
        self._states: dict[str, tuple[int, int]] = {}
        self._stack = contextlib.ExitStack()
        weakref.finalize(self, self._stack.close)

    def open(self, name: str, missing: str) -> BufferedReader:
        """Open a file of the folder.

        Raises:
            ArtefactError: With the message `missing`, where it is not there or no regular file.
        """
        path = self._folder / name
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # before opening: a pipe would wait for a writer
                raise ArtefactError(missing)
            file = self._stack.enter_context(path.open("rb"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ArtefactError(missing) from error
        self._files[name] = file
        self._states[name] = _read_state(file)
        return file

    def __getitem__(self, name: str) -> BufferedReader:
        return self._files[name]

    def is_current(self, name: str) -> bool:
        """Return whether a file's path still leads to the file that is open, unchanged."""
        try:
            found = (self._folder / name).stat()
        except OSError:
            return False
        return os.path.samestat(os.fstat(self._files[name].fileno()), found) and not self.find_overwritten([name])

    def find_overwritten(self, names: Sequence[str] | None = None) -> str | None:
        """Return the name of an open file whose content was overwritten in place since it was opened, if there is one.

        Replacing a file, as this package does, leaves the open one as it is. Overwriting it, as `cp` onto it does,
        changes what is read and mapped here.
        """
        for name in self._files if names is None else names:
            if _read_state(self._files[name]) != self._states[name]:
                return name
        return None


def _read_state(file: BufferedReader) -> tuple[int, int]:
    """Return what changes when the content of an open file does: its size, and when it was last written."""
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns


@dataclass(frozen=True)
class FolderIndex(Index):
    """An index in a folder.

    Attributes:
        embeddings: (N, D) float32 unit rows, memory-mapped.
        generation: SHA-256 of the manifest.
        folder: Where it lies.
        files: Its files, the manifest included, all open.
    """

    embeddings: NDArray[np.float32]
    folder: Path
    files: OpenFiles

    @property
    def location(self) -> str:
        """Where it lies."""
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
        """The rows' metadata in the order of the embeddings, with their number as `row`."""
        return _scan(self.files[schema.META]).with_row_index(schema.ROW)

    def collect(self, plan: pl.LazyFrame) -> pl.DataFrame:
        """Carry out a plan on the metadata."""
        return self._collect(plan, schema.META)

    def read_rows(self, rows: Sequence[int] | NDArray[np.int64]) -> pl.DataFrame:
        """Read the metadata of some rows, in the order asked for."""
        return self._read_groups(schema.META, rows)

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
        return sum(said["bytes"] for said in self.manifest.files.values())

    def find_changed_files(self, on_bytes: Callable[[int], None] = lambda _: None) -> list[str]:
        """Hash all files, whole, and return the paths of those that the manifest does not name."""
        return [
            str(self.folder / name)
            for name, said in self.manifest.files.items()
            if hash_open_file(self.files[name], on_bytes) != said.get("sha256")
        ]

    def verify(self) -> None:
        """Read all files and compare them with what the manifest says of them.

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
            check_texts(found, str(path))
        return found

    def _read_groups(self, name: str, rows: Sequence[int] | NDArray[np.int64]) -> pl.DataFrame:
        wanted = pl.DataFrame({schema.ROW: pl.Series(list(rows), dtype=pl.get_index_type())})
        parts = []
        for start in sorted({row - row % META_GROUP_ROWS for row in map(int, rows)}) or [0]:
            part = _scan(self.files[name]).slice(start, META_GROUP_ROWS)
            numbered = part.with_row_index(schema.ROW, offset=start)
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
) -> Manifest:
    """Bind the files of a folder together; the last file written, whole or not at all."""
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
        dicom_roots=tuple(dicom_roots),
    )
    write_text(folder / schema.INDEX_MANIFEST, format_manifest(manifest))
    return manifest


def describe_file(path: Path) -> dict[str, Any]:
    """Return what a manifest says of a file: its SHA-256 and its size in bytes."""
    return {"sha256": hash_file(path), "bytes": path.stat().st_size}


def format_manifest(manifest: Manifest) -> str:
    """Return the text of `index.json`."""
    return format_json({**asdict(manifest), "model": to_mapping(manifest.model)})


@overload
def open_index(location: Path) -> FolderIndex: ...
@overload
def open_index(location: str) -> Index: ...
def open_index(location: Path | str) -> Index:
    """Open an index, wherever it lies, and check that its parts belong together.

    Args:
        location: A folder, `lance://DIR` or an address in an object store.

    Raises:
        ArtefactError: A part is missing, of another size than the manifest says, or of the wrong kind.
    """
    if isinstance(location, str) and "://" in location:
        from noduleclip.io.index.lance import open_lance_index

        return open_lance_index(location)
    return _open_folder(Path(location), HASHED_BYTES)


def open_unhashed(location: str) -> Index:
    """Open an index without hashing any of its files, for `find_changed_files` to name all that have changed.

    Raises:
        ArtefactError: As `open_index`.
    """
    if "://" in location:
        from noduleclip.io.index.lance import open_lance_index

        return open_lance_index(location, hashed_bytes=0)
    return _open_folder(Path(location), 0)


def _open_folder(folder: Path, hashed_bytes: int) -> FolderIndex:
    """Open a folder, with patience for a process that is just replacing its files.

    Between two states there is no manifest, for some milliseconds. Writers hold a lock meanwhile, but on a file system
    without locks, and it goes with them: what fails is tried once more in any case. Files of more than `hashed_bytes`
    are not hashed.
    """
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: no such index folder; noduleclip embed makes one")
    given_up = time.monotonic() + _REPLACING_S
    tries = 0
    while True:
        try:
            return _open_generation(folder, hashed_bytes)
        except ArtefactError as error:
            tries += 1
            being_replaced = isinstance(error, IndexReplacedError) or (folder / LOCK_FILE).exists()
            if time.monotonic() > given_up or (tries > 1 and not being_replaced):
                raise
        time.sleep(_RETRY_S)


def _open_generation(folder: Path, hashed_bytes: int) -> FolderIndex:
    """Open all files of a folder, which belong together if the manifest is the same file before and after.

    A writer removes the manifest before it replaces another file, and moves a new one there afterwards.
    """
    files = OpenFiles(folder)
    path = folder / schema.INDEX_MANIFEST
    unfinished = f"{folder}: holds no {schema.INDEX_MANIFEST}; noduleclip embed did not finish here"
    bound = files.open(schema.INDEX_MANIFEST, unfinished)
    manifest = parse_manifest(parse_json(bound, path), str(path), set(INDEX_FILES))
    for name in manifest.files:
        _check_size(files.open(name, f"{folder / name}: is missing; embed again"), folder / name, manifest)
    for name, said in manifest.files.items():
        if said["bytes"] <= hashed_bytes and hash_open_file(files[name]) != said.get("sha256"):
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
            _check_expansion(files[name], str(folder / name), rows)
    if not files.is_current(schema.INDEX_MANIFEST) or files.find_overwritten():
        raise IndexReplacedError(f"{folder}: is being replaced again and again; run the command again")
    return FolderIndex(manifest, embeddings, hash_open_file(bound), folder, files)


def _name_changed(path: str) -> str:
    return f"{path}: is not the file that {schema.INDEX_MANIFEST} names; embed again"


def parse_manifest(values: dict[str, Any], path: str, files: set[str]) -> Manifest:
    """Read what an index says of itself.

    Args:
        values: What was found.
        path: Where, for messages.
        files: Those that it must name, beside which there may be outlines.

    Raises:
        ArtefactError: It is no manifest.
    """
    found = values.get("schema_version")
    if found != schema.INDEX_SCHEMA_VERSION:
        raise ArtefactError(
            f"{path}: schema version {found}, this noduleclip reads {schema.INDEX_SCHEMA_VERSION}; embed again"
        )
    try:
        model = from_mapping(ModelConfig, values["model"], path)
        manifest = Manifest(**{**values, "model": model, "dicom_roots": tuple(values.get("dicom_roots", ()))})
        counts = [manifest.rows, manifest.emb, *(file["bytes"] for file in manifest.files.values())]
        whole = all(type(count) is int and 1 <= count < _MOST_BYTES for count in counts)  # True is no count
        numbers = all(type(n) in (int, float) and abs(n) < math.inf for n in (manifest.scale, manifest.bias))
        named = all(
            isinstance(text, str) for text in (manifest.model_id, manifest.checkpoint_sha256, *manifest.dicom_roots)
        )
    except (KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ArtefactError(f"{path}: not a manifest of this tool ({error})") from error
    if set(manifest.files) - {schema.OUTLINES} != files or not named or manifest.emb != model.emb:
        raise ArtefactError(f"{path}: not a manifest of this tool (its files, model or width are others)")
    if not whole or not numbers:
        raise ArtefactError(f"{path}: not a manifest of this tool (rows, sizes or calibration are no numbers)")
    return manifest


def _check_size(file: BufferedReader, path: Path, manifest: Manifest) -> None:
    size, said = os.fstat(file.fileno()).st_size, manifest.files[path.name]["bytes"]
    if size != said:
        raise ArtefactError(f"{path}: has {size} bytes, {schema.INDEX_MANIFEST} says {said}; embed again")


def check_columns(columns: pl.Schema, path: str) -> None:
    """Refuse metadata without the columns that a search needs, or with columns of another kind.

    Raises:
        ArtefactError: Names the column.
    """
    text, number = (pl.String(), "text"), (pl.Float64(), "numbers")
    kinds = {**dict.fromkeys(schema.TEXT_COLUMNS, text), **dict.fromkeys(schema.NUMBER_COLUMNS, number)}
    for name in (schema.DICOM_PATH, schema.PATIENT_ID, schema.DIAMETER_MM):
        if name not in columns:
            raise ArtefactError(f"{path}: has no column {name}; embed again")
    for name, kind in columns.items():
        if kind.is_nested() or kind in (pl.Binary, pl.Object):
            raise ArtefactError(f"{path}: column {name} is {kind}, expected text or numbers; embed again")
        if name in kinds and kind != kinds[name][0]:
            raise ArtefactError(f"{path}: column {name} is {kind}, expected {kinds[name][1]}; embed again")


def check_texts(frame: pl.DataFrame, path: str) -> None:
    """Refuse texts that are longer than those that `embed` writes: a small compressed table may hold huge ones.

    Raises:
        ArtefactError: Names the column.
    """
    for column in frame.select(pl.col(pl.String)).iter_columns():
        longest = column.str.len_bytes().max()
        if isinstance(longest, int) and longest > schema.MOST_TEXT_BYTES:
            raise ArtefactError(
                f"{path}: column {column.name} has a text of {longest:,} bytes, allowed are {schema.MOST_TEXT_BYTES:,}"
            )


def _check_expansion(file: BufferedReader, path: str, rows: int) -> None:
    """Compare the size that a table says it has without compression with its rows.

    Raises:
        ArtefactError: It is too large.
    """
    said = measure_uncompressed(file)
    most = max(_MOST_TABLE_BYTES, rows * _MOST_ROW_BYTES)
    if said is None or said > most:
        size = "an unreadable footer" if said is None else f"{said:,} bytes without compression"
        raise ArtefactError(f"{path}: has {size}, allowed are {most:,} for {rows:,} rows")


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
