"""What an index offers to those who search it, and the folder that `embed` writes: one of the places an index may lie.

A folder holds embeddings, rows, text tower, and the manifest that binds them.
"""

import abc
import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import __version__, schema
from noduleclip.config import ModelConfig, from_mapping, to_mapping
from noduleclip.errors import ArtefactError, ConfigError, UsageError
from noduleclip.io.artefacts import hash_file, read_json, write_json

META_GROUP_ROWS = 1 << 15  # rows of the metadata that are compressed, and read, together
_MOST_BYTES = 1 << 50
_HASHED_BYTES = 1 << 26
BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # a broken file makes polars panic, too
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
    """

    manifest: Manifest
    embeddings: Vectors

    @property
    @abc.abstractmethod
    def location(self) -> str:
        """Where it lies, as a user says it."""

    @property
    def name(self) -> str:
        """The last part of its location."""
        return Path(self.location).resolve().name

    @abc.abstractmethod
    def scan(self) -> pl.LazyFrame:
        """The rows' metadata in the order of the embeddings, with their number as `row`."""

    @abc.abstractmethod
    def collect(self, plan: pl.LazyFrame) -> pl.DataFrame:
        """Carry out a plan on the metadata.

        Raises:
            ArtefactError: The index is broken.
        """

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
    def lending_tower(self) -> contextlib.AbstractContextManager[Path]:
        """Give the text tower as a file while the block runs."""

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


@dataclass(frozen=True)
class FolderIndex(Index):
    """An index in a folder.

    Attributes:
        embeddings: (N, D) float32 unit rows, memory-mapped.
        folder: Where it lies.
    """

    embeddings: NDArray[np.float32]
    folder: Path

    @property
    def location(self) -> str:
        """Where it lies."""
        return str(self.folder)

    def scan(self) -> pl.LazyFrame:
        """The rows' metadata in the order of the embeddings, with their number as `row`."""
        return _scan(self.folder / schema.META).with_row_index(schema.ROW)

    def collect(self, plan: pl.LazyFrame) -> pl.DataFrame:
        """Carry out a plan on the metadata."""
        try:
            return plan.collect()
        except BROKEN as error:
            reason = str(error).splitlines()[0]
            raise ArtefactError(f"{self.folder / schema.META}: is broken ({reason}); embed again") from error

    def read_rows(self, rows: Sequence[int] | NDArray[np.int64]) -> pl.DataFrame:
        """Read the metadata of some rows, in the order asked for."""
        return self._read_groups(schema.META, rows)

    def read_outlines(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str | None]:
        """Read the outlines of some rows as the table had them."""
        if schema.OUTLINES not in self.manifest.files:
            return [None] * len(rows)
        return self._read_groups(schema.OUTLINES, rows)[schema.POINTS_JSON].to_list()

    @contextlib.contextmanager
    def lending_tower(self) -> Iterator[Path]:
        """Give the text tower's file, which lies in the folder."""
        yield self.folder / schema.TEXT_TOWER

    def verify(self) -> None:
        """Read all files and compare them with what the manifest says of them.

        Raises:
            ArtefactError: One has changed.
        """
        for name, said in self.manifest.files.items():
            _check_hash(self.folder / name, said)

    def _read_groups(self, name: str, rows: Sequence[int] | NDArray[np.int64]) -> pl.DataFrame:
        wanted = pl.DataFrame({schema.ROW: pl.Series(list(rows), dtype=pl.get_index_type())})
        parts = []
        for start in sorted({row - row % META_GROUP_ROWS for row in map(int, rows)}) or [0]:
            part = _scan(self.folder / name).slice(start, META_GROUP_ROWS)
            numbered = part.with_row_index(schema.ROW, offset=start)
            parts.append(numbered.filter(pl.col(schema.ROW).is_in(wanted[schema.ROW].implode())))
        return wanted.join(self.collect(pl.concat(parts)), on=schema.ROW, how="left", maintain_order="left")


def _scan(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, glob=False)  # a folder may have brackets in its name


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
        files={n: {"sha256": hash_file(folder / n), "bytes": (folder / n).stat().st_size} for n in names},
        made_by=__version__,
        dicom_roots=tuple(dicom_roots),
    )
    write_json(folder / schema.INDEX_MANIFEST, {**asdict(manifest), "model": to_mapping(model)})
    return manifest


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
        from noduleclip.io.lance_store import open_lance_index

        return open_lance_index(location)
    return _open_folder(Path(location))


def _open_folder(folder: Path) -> FolderIndex:
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: no such index folder; noduleclip embed makes one")
    path = folder / schema.INDEX_MANIFEST
    if not path.exists():
        raise ArtefactError(f"{folder}: holds no {schema.INDEX_MANIFEST}; noduleclip embed did not finish here")
    manifest = parse_manifest(read_json(path), str(path), set(INDEX_FILES))
    for name in manifest.files:
        _check_file(folder / name, manifest)
    for name in (schema.META, schema.TEXT_TOWER):  # not the embeddings, nor metadata as large: a query cannot wait
        said = manifest.files[name]
        if said["bytes"] <= _HASHED_BYTES:
            _check_hash(folder / name, said)
    embeddings = _map_embeddings(folder / schema.EMBEDDINGS, (manifest.rows, manifest.emb))
    try:
        table = _scan(folder / schema.META)
        rows = table.select(pl.len()).collect().item()
        check_columns(table.collect_schema(), str(folder / schema.META))
    except BROKEN as error:
        raise ArtefactError(f"{folder / schema.META}: not a readable table ({str(error).splitlines()[0]})") from error
    if rows != manifest.rows:
        raise ArtefactError(f"{folder / schema.META}: has {rows} rows, {schema.INDEX_MANIFEST} says {manifest.rows}")
    return FolderIndex(manifest, embeddings, folder)


def _check_hash(file: Path, said: Mapping[str, Any]) -> None:
    if hash_file(file) != said.get("sha256"):
        raise ArtefactError(f"{file}: is not the file that {schema.INDEX_MANIFEST} names; embed again")


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


def _check_file(path: Path, manifest: Manifest) -> None:
    if not path.is_file():
        raise ArtefactError(f"{path}: is missing; embed again")
    size, said = path.stat().st_size, manifest.files[path.name]["bytes"]
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
        if name in kinds and kind != kinds[name][0]:
            raise ArtefactError(f"{path}: column {name} is {kind}, expected {kinds[name][1]}; embed again")


def _map_embeddings(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
        if version != (1, 0):  # of a later one the header may be as long as the file
            raise ValueError(f"version {version[0]}.{version[1]}, embed writes 1.0")
        embeddings = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's parser of headers raises whatever it runs into
        raise ArtefactError(f"{path}: not a readable array ({error})") from error
    if embeddings.dtype != np.float32 or embeddings.shape != shape or not embeddings.flags.c_contiguous:
        raise ArtefactError(f"{path}: is {embeddings.dtype} {embeddings.shape}, expected float32 {shape}, row by row")
    return np.asarray(embeddings)
