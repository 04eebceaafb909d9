"""An opened index and its manifest: the interface that every kind of index implements, and checks that all share."""

import abc
import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.config import FLOAT32, PRECISIONS, VIEWS, ModelConfig, from_mapping, to_mapping
from noduleclip.errors import ArtefactError, ConfigError, IndexReplacedError, UsageError, remedy_for_version
from noduleclip.io.artefacts import format_json, hash_file
from noduleclip.io.patient_hashes import PatientHashes

if TYPE_CHECKING:  # a query without pictures does not load the libraries that outlines need
    from noduleclip.io.outlines import SliceOutlines


HASHED_BYTES = 1 << 26  # 37 ms; a query cannot wait for larger files, `verify` reads them
_MOST_BYTES = 1 << 50


@dataclass(frozen=True)
class Manifest:
    """Content of `index.json`.

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
        unit: What a row is: "nodule", or "outline", a reader's curve on one slice.
        views: Rotations and flips of a crop whose embeddings were averaged.
        precision: Arithmetic of the image encoder: "float32" or "int8".
        patients: Hashes of the patients that trained the model; None where the checkpoint has none.
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
    unit: str
    views: int
    precision: str
    dicom_roots: tuple[str, ...] = ()
    patients: PatientHashes | None = None

    @property
    def is_of_nodules(self) -> bool:
        """Whether a row is a nodule, with the values of all its readers."""
        return self.unit == schema.NODULE_UNIT


class Vectors(Protocol):
    """(N, D) float32 unit rows, read on access: an array, memory-mapped or not, or an object that reads like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Index(abc.ABC):
    """An opened index; nothing but the manifest is read until it is needed.

    Attributes:
        manifest: Its manifest.
        embeddings: (N, D) float32 unit rows.
        generation: Identifies what was opened: two indexes at one location have different ones.
        has_vector_index: Whether `find_near` can be called.
    """

    manifest: Manifest
    embeddings: Vectors
    generation: str
    has_vector_index: bool

    @property
    @abc.abstractmethod
    def location(self) -> str:
        """The location, as the user writes it."""

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
        """Check that the opened files were not overwritten.

        A search calls it before and after it reads: an answer from files that were overwritten meanwhile is discarded.

        Raises:
            IndexReplacedError: A file was overwritten in place.
        """

    @abc.abstractmethod
    def scan(self) -> pl.LazyFrame:
        """Return the rows' metadata in the order of the embeddings, with their number as `row`."""

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
    def read_rows(self, rows: Sequence[int] | NDArray[np.int64], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Read the metadata of some rows, in the order asked for, from the parts of the files that hold them.

        Args:
            rows: The rows.
            columns: Columns to read, the row's number among them; None = all.
        """

    @abc.abstractmethod
    def read_outlines(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str | None]:
        """Read the outlines of some rows as the table had them, None where there is none."""

    def read_slices(self, rows: Sequence[int] | NDArray[np.int64]) -> list[tuple["SliceOutlines", ...]]:
        """Read the slices on which the nodules of some rows were outlined, with the outlines of all readers.

        Returns:
            The slices of each row, by z where it is known, else in the order of the table. A row of an index of
            outlines has one slice and at most one outline.
        """
        from noduleclip.io.outlines import parse_row_slices

        held = self.scan().collect_schema().names()
        named = [name for name in (schema.ROW, schema.DICOM_PATH, schema.FRAME, schema.Z_MM) if name in held]
        places, texts = self.read_rows(rows, named).iter_rows(named=True), self.read_outlines(rows)
        return [
            parse_row_slices(row, text, is_of_nodules=self.manifest.is_of_nodules)
            for row, text in zip(places, texts, strict=True)
        ]

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
        """Hash all files and return the paths of those that differ from the files that were written.

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
            raise UsageError(f"{self.location}: {explain_missing(missing[0], columns)}")


def explain_missing(name: str, columns: Iterable[str]) -> str:
    """Return why an index has no such column, and the columns that it has; those of probabilities by their number."""
    held = list(columns)
    estimated = name == schema.DESCRIPTION or name.startswith((schema.ESTIMATED_PREFIX, schema.PROBABILITY_PREFIX))
    if estimated and schema.ESTIMATED_DIAMETER not in held:
        return f"the index has no column {name!r}, as it was made by an earlier version; embed again"
    listed = [one for one in held if not one.startswith(schema.PROBABILITY_PREFIX)]
    rest = f", and {len(held) - len(listed)} of {schema.PROBABILITY_PREFIX}…" if len(listed) < len(held) else ""
    return f"the index has no column {name!r}; it has {', '.join(listed)}{rest}"


def describe_file(path: Path) -> dict[str, Any]:
    """Return the entry of a file in a manifest: its SHA-256 and its size in bytes."""
    return {"sha256": hash_file(path), "bytes": path.stat().st_size}


def format_manifest(manifest: Manifest) -> str:
    """Return the text of `index.json`."""
    values = {**asdict(manifest), "model": to_mapping(manifest.model)}
    del values["patients"]
    patients = {} if manifest.patients is None else {"patients": manifest.patients.to_mapping()}
    return format_json({**values, **patients})


def parse_manifest(values: dict[str, Any], path: str, files: set[str]) -> Manifest:
    """Parse a manifest.

    Args:
        values: Parsed JSON.
        path: Its place, for messages.
        files: The files that it must name, besides outlines.

    Raises:
        ArtefactError: It is no manifest of this tool.
    """
    found = values.get("schema_version")
    if found not in (schema.INDEX_SCHEMA_VERSION, schema.OUTLINE_SCHEMA_VERSION):
        remedy = remedy_for_version(found, schema.INDEX_SCHEMA_VERSION, "embed again")
        raise ArtefactError(
            f"{path}: schema version {found}, this noduleclip reads {schema.INDEX_SCHEMA_VERSION}; {remedy}"
        )
    try:
        model = from_mapping(ModelConfig, values["model"], path)
        if found == schema.OUTLINE_SCHEMA_VERSION:
            values = {**values, "unit": schema.OUTLINE_UNIT, "views": model.views, "precision": FLOAT32}
        patients = None if values.get("patients") is None else PatientHashes.from_mapping(values["patients"])
        parsed = {"model": model, "dicom_roots": tuple(values.get("dicom_roots", ())), "patients": patients}
        manifest = Manifest(**{**values, **parsed})
        counts = [manifest.rows, manifest.emb, *(file["bytes"] for file in manifest.files.values())]
        whole = all(type(count) is int and 1 <= count < _MOST_BYTES for count in counts)  # True is no count
        numbers = all(type(n) in (int, float) and abs(n) < math.inf for n in (manifest.scale, manifest.bias))
        named = all(
            isinstance(text, str) for text in (manifest.model_id, manifest.checkpoint_sha256, *manifest.dicom_roots)
        )
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise ArtefactError(f"{path}: not a manifest of this tool ({error})") from error
    if set(manifest.files) - {schema.OUTLINES} != files or not named or manifest.emb != model.emb:
        raise ArtefactError(f"{path}: not a manifest of this tool (its files, model or width are others)")
    if not whole or not numbers:
        raise ArtefactError(f"{path}: not a manifest of this tool (rows, sizes or calibration are no numbers)")
    for name, value, allowed in (
        ("unit", manifest.unit, schema.UNITS),
        ("views", manifest.views, tuple(VIEWS)),
        ("precision", manifest.precision, PRECISIONS),
    ):
        if value not in allowed:
            raise ArtefactError(f"{path}: {name} {value!r} is none of {', '.join(map(str, allowed))}")
    return manifest


def check_columns(columns: pl.Schema, path: str) -> None:
    """Refuse metadata without the columns that a search needs, or with columns of another kind.

    Lists of numbers are the columns of readers' values, and no others.

    Raises:
        ArtefactError: Names the column.
    """
    text, number = (pl.String(), "text"), (pl.Float64(), "numbers")
    kinds = {**dict.fromkeys(schema.TEXT_COLUMNS, text), **dict.fromkeys(schema.NUMBER_COLUMNS, number)}
    for name in (schema.DICOM_PATH, schema.PATIENT_ID, schema.DIAMETER_MM):
        if name not in columns:
            raise ArtefactError(f"{path}: has no column {name}; embed again")
    for name, kind in columns.items():
        if name in schema.READER_LISTS and kind == pl.List(pl.Float64):
            continue
        if kind.is_nested() or kind in (pl.Binary, pl.Object):
            raise ArtefactError(f"{path}: column {name} is {kind}, expected text or numbers; embed again")
        if name in kinds and kind != kinds[name][0]:
            raise ArtefactError(f"{path}: column {name} is {kind}, expected {kinds[name][1]}; embed again")


def check_sizes(frame: pl.DataFrame, path: str) -> None:
    """Refuse texts and lists longer than those that `embed` writes: a small compressed table may hold huge ones.

    Raises:
        ArtefactError: Names the column.
    """
    for column in frame.select(pl.col(pl.String)).iter_columns():
        longest = column.str.len_bytes().max()
        if isinstance(longest, int) and longest > schema.MOST_TEXT_BYTES:
            raise ArtefactError(
                f"{path}: column {column.name} has a text of {longest:,} bytes, allowed are {schema.MOST_TEXT_BYTES:,}"
            )
    for column in frame.select(cs.list()).iter_columns():
        most = column.list.len().max()
        if isinstance(most, int) and most > schema.MOST_READERS:
            raise ArtefactError(
                f"{path}: column {column.name} has a list of {most:,} numbers, allowed are {schema.MOST_READERS:,}"
            )
