"""The files of a folder by their names, whatever they hold, and what of the folder cannot be looked into."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from noduleclip.errors import RejectCode
from noduleclip.sources.unread import Unread


@dataclass
class Walk:
    """What was met on the way through a folder besides files.

    Attributes:
        unread: Folders and files that may not be looked at, with absolute paths.
    """

    unread: list[Unread] = field(default_factory=list)

    def tell(self, path: str, error: OSError) -> None:
        """Note what may not be looked at."""
        place = Path(path).absolute()
        reason = f"{place}: cannot be opened ({error.strerror}); check its permissions"
        self.unread.append(Unread(place, RejectCode.UNREADABLE_FILE, reason))


def walk_files(root: Path, met: Walk) -> Iterator[os.DirEntry[str]]:
    """Give what lies below a folder and is no folder, in any order.

    Args:
        root: The folder; links to folders are not followed, hidden files and folders are left out.
        met: Is told of the rest.
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
                        waiting.append(entry.path)
                    elif not _links_to_folder(entry):
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
