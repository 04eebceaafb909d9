"""Files below a folder by name, and the parts of the folder that cannot be opened."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from noduleclip.errors import RejectCode, is_encodable, make_printable
from noduleclip.importers.annotations import RejectedAnnotation


@dataclass
class Walk:
    """What was found in a folder besides files.

    Attributes:
        rejected: Folders and files that cannot be opened or named, with absolute paths.
        links: Number of links to folders, which are not followed.
    """

    rejected: list[RejectedAnnotation] = field(default_factory=list)
    links: int = 0

    @property
    def hint(self) -> str:
        """The end of a message that something was not found: empty, or a clause on links."""
        return f"; links to folders are not followed, and there are {self.links:,}" if self.links else ""

    def add_error(self, path: str, error: OSError) -> None:
        """Record a path that cannot be opened."""
        self._add(path, f"cannot be opened ({error.strerror}); check its permissions")

    def can_name(self, path: str) -> bool:
        """Return whether a path can stand in a table, and record one that cannot."""
        can = is_encodable(path)
        if not can:
            self._add(path, "its name is not UTF-8; rename it")
        return can

    def _add(self, path: str, reason: str) -> None:
        place = Path(path).absolute()
        self.rejected.append(
            RejectedAnnotation(place, RejectCode.UNREADABLE_FILE, make_printable(f"{place}: {reason}"))
        )


def walk_files(root: Path, walk: Walk, may_enter: Callable[[str], bool] = lambda _: True) -> Iterator[os.DirEntry[str]]:
    """Yield the entries below a folder that are no folders, in any order.

    Args:
        root: The folder; links to folders are not followed, hidden files and folders are left out.
        walk: Records everything else.
        may_enter: Returns whether to list what lies below a folder.
    """
    waiting = [str(root)]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if may_enter(entry.path):
                            waiting.append(entry.path)
                    elif _links_to_folder(entry):
                        walk.links += 1
                    else:
                        yield entry
        except FileNotFoundError:  # gone by now
            continue
        except OSError as error:
            walk.add_error(folder, error)


def _links_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:  # it leads to itself: opening it gives the reason
        return False


def find_files(root: Path, *suffixes: str, walk: Walk | None = None) -> list[Path]:
    """Find files below a folder by their endings, in any case.

    Args:
        root: The folder; links to folders are not followed, hidden files and folders are left out.
        suffixes: Endings in lower case, with the dot.
        walk: Records what cannot be opened.

    Returns:
        The files in the order of their paths.
    """
    entries = walk_files(root, Walk() if walk is None else walk)
    return sorted(Path(entry.path) for entry in entries if entry.name.lower().endswith(suffixes))
