"""The two Lance tables of a store: their address, their columns, and the errors of Lance.

`rows.lance` holds the rows: number, vector, metadata, outlines. `index.lance` has one row: the manifest, the text
encoder, the version of `rows.lance` that belongs to them and, unless the store lies in an object store, the checksums
of that version's files. Lance keeps the versions of a table side by side, so a store stays the old one until the row of
`index.lance` is replaced.
"""

import contextlib
import os
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noduleclip.errors import ArtefactError, LibraryError, OutputError, UsageError
from noduleclip.machine import install_command

LOCAL = "lance"
OBJECT_STORES = ("s3", "gs", "az")
ROWS_TABLE, INDEX_TABLE = "rows.lance", "index.lance"
VECTOR = "vector"
MANIFEST, TEXT_ENCODER, VERSION, PROBES = "manifest", "text_tower", "rows_version", "probes"
ROW_FILES = "row_files"
_MOST_LETTERS = 200
# Lance's texts for Ctrl-C in a Python callback, or while it formats a Python object.
_INTERRUPTS = ("External error: KeyboardInterrupt", "<unprintable str object>")


@dataclass(frozen=True)
class Place:
    """Address of a store.

    Attributes:
        text: As the user writes it: `lance://DIR`, `s3://BUCKET/PREFIX`.
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
        """The address for a process with another working folder."""
        return self.text if self.folder is None else f"{LOCAL}://{self.folder.absolute()}"

    def name_table(self, name: str) -> str:
        """Return the address of one of its tables."""
        return f"{self.root.rstrip('/')}/{name}"


def parse_place(text: str) -> Place:
    """Parse the address of a store.

    Raises:
        UsageError: No store can lie there.
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
    """Import Lance, which takes 0.7 s.

    Raises:
        UsageError: It is not installed.
    """
    os.environ.setdefault("LANCE_LOG", "error")  # it warns of its own deprecations on stderr
    try:
        import lance
        import lance.fragment
    except ModuleNotFoundError as error:
        raise UsageError(f"{text}: needs {error.name}: {install_command('lance')}") from error
    return lance


@contextlib.contextmanager
def translate_lance_errors(text: str, *, writing: bool = False) -> Iterator[None]:
    """Turn what Lance raises into an error of this package that names the store in one line.

    Raises:
        KeyboardInterrupt: Lance turned Ctrl-C into an error of its own.
        ArtefactError: The store is broken or cannot be reached; only while reading.
        OutputError: The store cannot be written; only while writing.
        LibraryError: The store needs what this version of Lance lacks.
    """
    try:
        yield
    except BaseException as error:
        if any(mark in str(error) for mark in _INTERRUPTS):
            raise KeyboardInterrupt from error
        if not _is_of_lance(error):
            raise
        reason = _shorten(error)
        if isinstance(error, NotImplementedError):
            verb = "write" if writing else "read"
            remedy = install_command("lance", upgrade=True)
            raise LibraryError(f"{text}: the installed Lance cannot {verb} it ({reason}); {remedy}") from error
        if writing:
            raise OutputError(f"{text}: cannot be written ({reason})") from error
        is_far = isinstance(error, OSError) and not text.startswith(f"{LOCAL}://")
        remedy = "check its address, the network and your credentials" if is_far else "embed again"
        raise ArtefactError(f"{text}: cannot be read ({reason}); {remedy}") from error


def _is_of_lance(error: BaseException) -> bool:
    """Return whether an error is of a kind that Lance raises; a panic of its Rust code is no `Exception`."""
    return isinstance(error, ValueError | OSError | RuntimeError | NotImplementedError | LookupError) or (
        type(error).__name__ == "PanicException"
    )


def _shorten(error: BaseException) -> str:
    """Return the first line of a message without the path of Lance's own source file."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.split(", /home/", 1)[0].split(", /", 1)[0][:_MOST_LETTERS]


def name_column(name: str) -> str:
    """Return the name of a column in Lance.

    In Lance `vector` is the embedding, a dot names a part of a column, backticks quote, and names that begin with an
    underscore are Lance's own, such as `_rowid`.
    """
    spelled = 1 if name == VECTOR or name.startswith("_") else 0
    return "".join(f"%{ord(one):02X}" if at < spelled or one in "%.`" else one for at, one in enumerate(name))


def show_column(name: str) -> str:
    """Return the name of a column that `name_column` named."""
    return urllib.parse.unquote(name)
