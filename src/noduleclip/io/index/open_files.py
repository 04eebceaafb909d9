"""The files of one generation of an index folder, kept open."""

import contextlib
import os
import stat
import weakref
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

from noduleclip.errors import ArtefactError


class OpenFiles:
    """The files of one generation of a folder, by name; closed with the last reference to this object."""

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
    """Return the size and the time of the last write of an open file, which change with its content."""
    state = os.fstat(file.fileno())
    return state.st_size, state.st_mtime_ns
