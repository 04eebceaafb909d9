"""An index in a folder: embeddings, rows, text encoder, and the manifest that binds them.

An opened index is one generation. `embed --overwrite` replaces the files of a folder one after the other, so all of
them are opened at once, and kept open: later reads never use a path again. polars scans an open file as it scans a
path, mapped into memory and only the row groups and columns that a plan needs (1,000,000 rows: the same time and
memory), and what is open survives the removal of its name.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import ArtefactError, IndexReplacedError
from noduleclip.io.artefacts import hash_file, hash_open_file
from noduleclip.io.index.base import Index, check_sizes
from noduleclip.io.index.open_files import OpenFiles
from noduleclip.io.polars_errors import FAILURES, find_library_error

INDEX_FILES = (schema.EMBEDDINGS, schema.META, schema.TEXT_TOWER)
GROUP_ROWS = {schema.META: 1 << 15, schema.OUTLINES: 1 << 10}
"""Rows of a table that are compressed, and read, together; outlines are long."""


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
        return scan_table(self.files[schema.META]).with_row_index(schema.ROW)

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
        return self._collect(scan_table(self.files[name]), name)

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
            raise ArtefactError(explain_changed(path))

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
        size = GROUP_ROWS[name]
        for start in sorted({row - row % size for row in map(int, rows)}) or [0]:
            part = scan_table(self.files[name]).slice(start, size)
            numbered = part.with_row_index(schema.ROW, offset=start).select(columns or pl.all())
            parts.append(numbered.filter(pl.col(schema.ROW).is_in(wanted[schema.ROW].implode())))
        found = self._collect(pl.concat(parts), name)
        return wanted.join(found, on=schema.ROW, how="left", maintain_order="left")


def scan_table(file: BufferedReader) -> pl.LazyFrame:
    """Return a plan that reads a table of an index."""
    return pl.scan_parquet(file, glob=False)


def explain_changed(path: str) -> str:
    """Return the message on a file that another program wrote."""
    return f"{path}: is not the file that {schema.INDEX_MANIFEST} names; embed again"
