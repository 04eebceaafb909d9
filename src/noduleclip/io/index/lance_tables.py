"""Lance tables as this tool opens and writes them: where they lie, what their columns are, what goes wrong with them.

`rows.lance` holds the rows: their number, their vector, their metadata, their outlines. `index.lance` has one row: the
manifest, the text encoder, the version of `rows.lance` that they belong to, and the checksums of that version's files,
unless they lie in an object store. Lance keeps the versions of a table side
by side, so that a store is the old one until the row of `index.lance` is the new one.
"""

import contextlib
import json
import os
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import ArtefactError, LibraryError, OutputError, UsageError

LOCAL = "lance"
OBJECT_STORES = ("s3", "gs", "az")
ROWS_TABLE, INDEX_TABLE = "rows.lance", "index.lance"
VECTOR = "vector"
MANIFEST, TEXT_ENCODER, VERSION, PROBES = "manifest", "text_tower", "rows_version", "probes"
ROW_FILES = "row_files"
_ROWS_PER_FILE = 1 << 20
_MOST_LETTERS = 200
_UPGRADE = 'pip install --upgrade "noduleclip[lance]"'
# Ctrl-C while Python or, for a text that it asks for, Lance runs: no other error makes a `str` unprintable.
_INTERRUPTS = ("External error: KeyboardInterrupt", "<unprintable str object>")


@dataclass(frozen=True)
class Place:
    """Where a store lies.

    Attributes:
        text: As a user says it: `lance://DIR`, `s3://BUCKET/PREFIX`.
        root: As Lance opens it: a folder's path, or the address in an object store.
    """

    text: str
    root: str

    @property
    def folder(self) -> Path | None:
        """The folder on this machine; None in an object store."""
        return Path(self.root) if self.text.startswith(f"{LOCAL}://") else None

    @property
    def absolute_text(self) -> str:
        """The same for a process of another working folder."""
        return self.text if self.folder is None else f"{LOCAL}://{self.folder.absolute()}"

    def name_table(self, name: str) -> str:
        """Return the address of one of its tables."""
        return f"{self.root.rstrip('/')}/{name}"


def parse_place(text: str) -> Place:
    """Read where a store lies.

    Raises:
        UsageError: It is no place for one.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or not rest.strip("/") or scheme not in (LOCAL, *OBJECT_STORES):
        allowed = ", ".join(f"{name}://BUCKET/PREFIX" for name in OBJECT_STORES)
        raise UsageError(f"{text}: no place for a store; write {LOCAL}://FOLDER, or {allowed}")
    try:
        return Place(text, str(Path(rest).expanduser()) if scheme == LOCAL else text)
    except RuntimeError as error:
        raise UsageError(f"{text}: there is no such home folder; write the folder's path") from error


def load_lance(text: str) -> Any:
    """Import Lance, which takes two thirds of a second.

    Raises:
        UsageError: It is not installed.
    """
    os.environ.setdefault("LANCE_LOG", "error")  # it warns of its own deprecations on stderr
    try:
        import lance
        import lance.fragment
    except ModuleNotFoundError as error:
        raise UsageError(f'{text}: needs {error.name}: pip install "noduleclip[lance]"') from error
    return lance


@contextlib.contextmanager
def hearing_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt for the error that Lance makes of Ctrl-C."""
    try:
        yield
    except Exception as error:
        if not any(mark in str(error) for mark in _INTERRUPTS):
            raise
        raise KeyboardInterrupt from error


@contextlib.contextmanager
def telling_broken(text: str) -> Iterator[None]:
    """Turn what Lance raises while it reads into one line.

    Raises:
        ArtefactError: The store is broken, or cannot be reached.
        LibraryError: It needs what this version of Lance lacks.
    """
    try:
        with hearing_interrupts():
            yield
    except BaseException as error:
        if not _is_of_lance(error):
            raise
        if isinstance(error, NotImplementedError):
            raise LibraryError(f"{text}: the installed Lance cannot read it ({_shorten(error)}); {_UPGRADE}") from error
        is_far = isinstance(error, OSError) and not text.startswith(f"{LOCAL}://")
        remedy = "check its address, the network and your credentials" if is_far else "embed again"
        raise ArtefactError(f"{text}: cannot be read ({_shorten(error)}); {remedy}") from error


@contextlib.contextmanager
def telling_unwritten(text: str) -> Iterator[None]:
    """Turn what Lance raises while it writes into one line.

    Raises:
        OutputError: The store cannot be written.
        LibraryError: Writing it needs what this version of Lance lacks.
    """
    try:
        with hearing_interrupts():
            yield
    except BaseException as error:
        if not _is_of_lance(error):
            raise
        if isinstance(error, NotImplementedError):
            raise LibraryError(
                f"{text}: the installed Lance cannot write it ({_shorten(error)}); {_UPGRADE}"
            ) from error
        raise OutputError(f"{text}: cannot be written ({_shorten(error)})") from error


def _is_of_lance(error: BaseException) -> bool:
    """Return whether an error is of a kind that Lance raises; its panics are no `Exception`."""
    return isinstance(error, ValueError | OSError | RuntimeError | NotImplementedError | LookupError) or (
        type(error).__name__ == "PanicException"
    )


def _shorten(error: BaseException) -> str:
    """Leave out the place in Lance's own source."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.split(", /home/", 1)[0].split(", /", 1)[0][:_MOST_LETTERS]


def name_column(name: str) -> str:
    """Return a column's name in Lance.

    There `vector` is the embedding, a dot names a part of a column, backticks quote, and names that begin with an
    underscore are Lance's own, such as `_rowid`.
    """
    spelled = 1 if name == VECTOR or name.startswith("_") else 0
    return "".join(f"%{ord(one):02X}" if at < spelled or one in "%.`" else one for at, one in enumerate(name))


def show_column(name: str) -> str:
    """Return the name of a column that `name_column` named."""
    return urllib.parse.unquote(name)


def make_schema(emb: int, meta: pl.DataFrame, outlines: pl.Series | None) -> Any:
    """Return the Arrow schema of the rows' table."""
    return _make_batch(
        0, np.zeros((0, emb), np.float32), meta.head(0), None if outlines is None else outlines.head(0)
    ).schema


def _make_batch(start: int, vectors: NDArray[np.float32], meta: pl.DataFrame, outlines: pl.Series | None) -> Any:
    import pyarrow as pa

    frame = meta.rename(name_column).with_columns(
        pl.Series(schema.ROW, np.arange(start, start + meta.height), dtype=pl.Int64)
    )
    if outlines is not None:
        frame = frame.with_columns(outlines.alias(schema.POINTS_JSON))
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float32())
    return table.append_column(VECTOR, pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])).combine_chunks()


def write_fragment(
    place: Place, start: int, pieces: Iterable[NDArray[np.float32]], meta: pl.DataFrame, outlines: pl.Series | None
) -> list[str]:
    """Write rows beside a store; they are none of its rows before `commit_fragments`.

    Any process that reaches the store may write its share of the rows.

    Args:
        place: The store.
        start: Number of the first row.
        pieces: (n, D) unit rows, together as many as `meta` has.
        meta: Their metadata.
        outlines: Their outlines, where the table has any.

    Returns:
        What `commit_fragments` takes, as JSON.

    Raises:
        OutputError: The store cannot be written.
        Exception: What `pieces` raises.
    """
    import pyarrow as pa

    lance = load_lance(place.text)
    raised: list[BaseException] = []  # Lance makes a text of it
    waiting = iter(pieces)
    first = next(waiting)
    made = make_schema(first.shape[1], meta, outlines)

    def give() -> Iterator[Any]:
        at = 0
        piece: NDArray[np.float32] | None = first
        try:
            while piece is not None:
                end = at + len(piece)
                table = _make_batch(start + at, piece, meta[at:end], None if outlines is None else outlines[at:end])
                yield from table.to_batches()
                at, piece = end, next(waiting, None)
        except (Exception, KeyboardInterrupt) as error:
            raised.append(error)
            raise

    try:
        with telling_unwritten(place.text):
            written = lance.fragment.write_fragments(
                pa.RecordBatchReader.from_batches(made, give()),
                place.name_table(ROWS_TABLE),
                mode="overwrite",  # of what kind the rows were before does not matter
                max_rows_per_file=_ROWS_PER_FILE,
            )
    except OutputError:
        if raised:
            raise raised[0] from None
        raise
    return [json.dumps(fragment.to_json()) for fragment in written]


def commit_fragments(place: Place, fragments: Sequence[str], made: Any) -> Any:
    """Make fragments, in the order of their rows, the rows of the newest version of the table.

    Args:
        place: The store.
        fragments: What `write_fragment` gave.
        made: Schema of the table.

    Returns:
        The table.

    Raises:
        OutputError: The store cannot be written.
    """
    lance = load_lance(place.text)
    with telling_unwritten(place.text):
        whole = [lance.FragmentMetadata.from_json(fragment) for fragment in fragments]
        return lance.LanceDataset.commit(place.name_table(ROWS_TABLE), lance.LanceOperation.Overwrite(made, whole))
