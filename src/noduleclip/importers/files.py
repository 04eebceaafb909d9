"""The files of a folder by their names, whatever they hold, and what of the folder cannot be looked into."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from noduleclip.errors import RejectCode, is_encodable, make_printable
from noduleclip.importers.rejected import RejectedAnnotation


@dataclass
class Walk:
    """What was met on the way through a folder besides files.

    Attributes:
        rejected: Folders and files that may not be looked at, with absolute paths.
        links: How many links to folders, which are not followed.
    """

    rejected: list[RejectedAnnotation] = field(default_factory=list)
    links: int = 0

    @property
    def hint(self) -> str:
        """What a message that something was not found ends with: empty, or a clause on links."""
        return f"; links to folders are not followed, and there are {self.links:,}" if self.links else ""

    def tell(self, path: str, error: OSError) -> None:
        """Note what may not be looked at."""
        self._note(path, f"cannot be opened ({error.strerror}); check its permissions")

    def can_name(self, path: str) -> bool:
        """Return whether a path can stand in a table, and note one that cannot."""
        can = is_encodable(path)
        if not can:
            self._note(path, "its name is not UTF-8; rename it")
        return can

    def _note(self, path: str, reason: str) -> None:
        place = Path(path).absolute()
        self.rejected.append(
            RejectedAnnotation(place, RejectCode.UNREADABLE_FILE, make_printable(f"{place}: {reason}"))
        )


def walk_files(root: Path, met: Walk, may_enter: Callable[[str], bool] = lambda _: True) -> Iterator[os.DirEntry[str]]:
    """Return what lies below a folder and is no folder, in any order.

    Args:
        root: The folder; links to folders are not followed, hidden files and folders are left out.
        met: Is told of the rest.
        may_enter: Says of a folder whether what lies below it is wanted.
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
                        met.links += 1
                    else:
                        yield entry
        except FileNotFoundError:  # gone by now
            continue
        except OSError as error:
            met.tell(folder, error)


def _links_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:  # it leads to itself: who opens it says what is wrong with it
        return False


def find_files(root: Path, *suffixes: str, met: Walk | None = None) -> list[Path]:
    """Find files below a folder by their endings, in any case.

    Args:
        root: The folder; links to folders are not followed, hidden files and folders are left out.
        suffixes: Endings in lower case, with the dot.
        met: Is told of what cannot be looked into.

    Returns:
        The files in the order of their paths.
    """
    entries = walk_files(root, Walk() if met is None else met)
    return sorted(Path(entry.path) for entry in entries if entry.name.lower().endswith(suffixes))
