"""An index in a Lance store, in a folder or an object store."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import ArtefactError
from noduleclip.io.index.base import Index, check_sizes
from noduleclip.io.index.lance_binding import Binding, find_changed_rows
from noduleclip.io.index.lance_tables import (
    ROWS_TABLE,
    VECTOR,
    Place,
    name_column,
    show_column,
)
from noduleclip.io.polars_errors import FAILURES, blame_polars

_REFINED = 4  # times the hits wanted are scored by their whole vectors
_BATCH_ROWS = 1 << 15
_SCANNED_ROWS = 1 << 14  # Lance takes four times as long a row for eight times as many at once
_DENSE = 8  # rows that are read rather than looked up one by one, for each that is wanted

Guard = Callable[[], contextlib.AbstractContextManager[None]]


class LanceVectors:
    """(N, D) unit rows, read from the table on access."""

    def __init__(self, rows: Any, shape: tuple[int, int], guard: Guard) -> None:
        self._rows, self.shape, self._guard = rows, shape, guard

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[np.float32]:
        """Read (n, D) rows in the order asked for."""
        if isinstance(rows, slice):
            start, end, _ = rows.indices(len(self))
            return self._read(start, end)
        if len(rows) == 0:
            return np.empty((0, self.shape[1]), np.float32)
        start, end = int(rows.min()), int(rows.max()) + 1
        if end - start <= _DENSE * len(rows):
            return self._read(start, end)[rows - start]
        with self._guard():
            return self._unpack(self._rows.take(rows.tolist(), columns=[VECTOR])[VECTOR])

    def _read(self, start: int, end: int) -> NDArray[np.float32]:
        vectors = np.empty((max(0, end - start), self.shape[1]), np.float32)
        with self._guard():
            for first in range(start, end, _SCANNED_ROWS):
                count = min(_SCANNED_ROWS, end - first)
                found = self._rows.scanner(columns=[VECTOR], offset=first, limit=count, batch_size=count).to_table()
                vectors[first - start : first - start + count] = self._unpack(found[VECTOR])
        return vectors

    def _unpack(self, column: Any) -> NDArray[np.float32]:
        parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
        flat = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.float32), *parts])
        return np.asarray(flat, np.float32).reshape(-1, self.shape[1])


@dataclass(frozen=True)
class LanceIndex(Index):
    """An index in a Lance store.

    Attributes:
        place: Where it lies.
        binding: What it was bound by when it was opened.
        rows: The table of its rows, at the version that belongs to the manifest.
        text_encoder: The text encoder.
        row_files: SHA-256 and size in bytes of each file of `rows`; none of a store that is no folder, or was written
            by an earlier version of this tool.
    """

    place: Place
    binding: Binding
    rows: Any
    text_encoder: bytes
    row_files: Mapping[str, Mapping[str, Any]]

    @property
    def location(self) -> str:
        """The address of the store."""
        return self.place.text

    def was_replaced(self) -> bool:
        """Return whether the store now holds another generation, or none that can be read."""
        return self.binding.was_replaced()

    def scan(self) -> pl.LazyFrame:
        """Return the rows' metadata in the order of the embeddings; batches of only the columns that a plan needs."""
        from polars.io.plugins import register_io_source

        def read(
            columns: list[str] | None, predicate: pl.Expr | None, most: int | None, size: int | None
        ) -> Iterator[pl.DataFrame]:
            left = self.manifest.rows if most is None else most
            for frame in self._read_batches(columns or list(self._kinds()), size or _BATCH_ROWS):
                part = frame.head(left)
                left -= part.height
                yield part if predicate is None else part.filter(predicate)
                if left <= 0:
                    return

        return register_io_source(read, schema=self._kinds())

    def collect(self, plan: pl.LazyFrame) -> pl.DataFrame:
        """Carry out a plan on the metadata."""
        try:
            return plan.collect()
        except FAILURES as error:
            for _ in self._read_batches(list(self._kinds()), _BATCH_ROWS):  # raises what is wrong with the store
                pass
            raise blame_polars(f"{self.location}: {ROWS_TABLE}", error) from error

    def read_rows(self, rows: Sequence[int] | NDArray[np.int64], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Read the metadata of some rows, in the order asked for."""
        return self._take(rows, list(columns or self._kinds()))

    def read_outlines(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str | None]:
        """Read the outlines of some rows as the table had them."""
        if schema.POINTS_JSON not in self.rows.schema.names:
            return [None] * len(rows)
        return self._take(rows, [schema.POINTS_JSON])[schema.POINTS_JSON].to_list()

    @contextlib.contextmanager
    def text_encoder_path(self) -> Iterator[Path]:
        """Return the text encoder as a file in an empty folder: it could refer to other files beside it."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / schema.TEXT_TOWER
            file.write_bytes(self.text_encoder)
            yield file

    def find_near(self, vector: NDArray[np.float32], k: int, condition: str | None) -> NDArray[np.int64]:
        """Find rows near a vector by the vector index, without those that fail the condition.

        Lance chooses how many partitions it searches. Under a condition all are searched: rows that pass it may lie far
        away, as large nodules from a small one.
        """
        near = {"column": VECTOR, "q": vector, "k": k, "metric": "cosine", "refine_factor": _REFINED}
        if condition is not None:
            near["search_effort"] = 1.0
        with self.binding.guard():
            scanner = self.rows.scanner(
                columns=[schema.ROW], nearest=near, filter=condition, prefilter=True,
                disable_scoring_autoprojection=True,
            )  # fmt: skip
            found = scanner.to_table()[schema.ROW].to_numpy()
        return np.asarray(np.sort(found), np.int64)

    @property
    def binds_rows(self) -> bool:
        """Whether checksums of the rows' files were recorded."""
        return bool(self.row_files)

    @property
    def files_bytes(self) -> int:
        """The bytes of the rows' files."""
        return sum(entry["bytes"] for entry in self.row_files.values())

    def find_changed_files(self, on_bytes: Callable[[int], None] = lambda _: None) -> list[str]:
        """Hash all files of the rows and return the paths of those that differ from the files that were written.

        The text encoder was compared with its checksum when the store was opened.
        """
        return find_changed_rows(self.place, self.row_files, on_bytes)

    def check_order(self) -> None:
        """Read the number of every row.

        Raises:
            ArtefactError: The rows do not lie in their order.
        """
        at = 0
        with self.binding.guard():
            for batch in self.rows.scanner(columns=[schema.ROW], batch_size=_BATCH_ROWS).to_batches():
                found = batch[schema.ROW].to_numpy(zero_copy_only=False)
                if not np.array_equal(found, np.arange(at, at + len(found))):
                    raise ArtefactError(f"{self.location}: {ROWS_TABLE}: rows are not in their order; embed again")
                at += len(found)

    def _kinds(self) -> dict[str, pl.DataType]:
        return read_kinds(self.rows)

    def _read_batches(self, columns: Sequence[str], size: int) -> Iterator[pl.DataFrame]:
        with self.binding.guard():
            for batch in self.rows.scanner(columns=list(map(name_column, columns)), batch_size=size).to_batches():
                yield self._as_frame(batch, columns)

    def _take(self, rows: Sequence[int] | NDArray[np.int64], columns: Sequence[str]) -> pl.DataFrame:
        names = list(map(name_column, columns))
        with self.binding.guard():
            if not len(rows):
                return self._as_frame(self.rows.schema.empty_table().select(names), columns)
            return self._as_frame(self.rows.take([int(row) for row in rows], columns=names), columns)

    def _as_frame(self, found: Any, columns: Sequence[str]) -> pl.DataFrame:
        frame = pl.DataFrame(pl.from_arrow(found)).rename(show_column).select(columns)
        check_sizes(frame.select(pl.exclude(schema.POINTS_JSON)), f"{self.location}: {ROWS_TABLE}")
        return frame.cast({schema.ROW: pl.get_index_type()}) if schema.ROW in columns else frame


def read_kinds(rows: Any) -> dict[str, pl.DataType]:
    """Return the columns that a query sees, the row's number first."""
    names = [name for name in rows.schema.names if name not in (schema.ROW, schema.POINTS_JSON, VECTOR)]
    kinds = pl.DataFrame(pl.from_arrow(rows.schema.empty_table().select(names))).rename(show_column).schema
    return {schema.ROW: pl.Series(dtype=pl.get_index_type()).dtype, **kinds}
