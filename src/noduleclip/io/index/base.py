"""An opened index: the interface that every kind of index implements, and checks that all share."""

import abc
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import ArtefactError, IndexReplacedError, UsageError
from noduleclip.io.index.manifest import Manifest

if TYPE_CHECKING:  # a query without pictures does not load the libraries that outlines need
    from noduleclip.io.outlines import SliceOutlines


HASHED_BYTES = 1 << 26  # 37 ms; a query cannot wait for larger files, `verify` reads them


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
