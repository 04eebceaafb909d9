"""Record of the indexes that this user made on this machine, and the folders that slices may be read from.

An index names the folders that its slices lie in, and its rows name the files. One from elsewhere could name any file
of this machine. So `embed` and `merge` keep a record of what they made in the user's state folder, where no index can
write. Of an index that is in it, the folders of the slices that were embedded are read, and no others. One that is not
shows no slice but those below folders that its user names, or in folders that its user agrees to.
"""

import errno
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.io.index.base import Index
from noduleclip.io.roi_table import find_file, lies_below

_RECORD = "own-indexes.txt"
_MOST_BYTES = 1 << 24  # a quarter of a million indexes


@dataclass(frozen=True)
class SliceFolders:
    """Where the slices of an index may be read.

    Attributes:
        folders: Folders that relative paths start from, in the order in which they are tried.
        given: Those that the user named: all that lies below them is read, links followed.
        embedded: Folders of the slices that were embedded, absolute. Files of these folders are read, not of those
            below.
        follows_links: Whether a file of `embedded` may be a link out of its folder, as `embed` read it.
    """

    folders: tuple[Path, ...]
    given: tuple[Path, ...] = ()
    embedded: frozenset[Path] = frozenset()
    follows_links: bool = False

    def allows(self, dicom_path: str) -> bool:
        """Return whether a file that a row names, or one beside it, may be read."""
        if not self.folders and not self.embedded:
            return False
        file = Path(find_file(dicom_path, self.folders or (Path.cwd(),)))
        if self.given and lies_below(str(file), self._resolved_given):
            return True
        if self.follows_links:
            return _get_folder(file) in self.embedded
        try:
            return file.resolve().parent in self._resolved_embedded
        except (OSError, RuntimeError, ValueError):  # a circle of links, or a NUL
            return False

    @functools.cached_property
    def _resolved_given(self) -> tuple[Path, ...]:
        return tuple(folder.resolve() for folder in self.given)

    @functools.cached_property
    def _resolved_embedded(self) -> frozenset[Path]:
        return frozenset(folder.resolve() for folder in self.embedded)


def choose_slice_folders(index: Index, given: Sequence[Path], *, accepted: bool = False) -> SliceFolders:
    """Choose where the slices of an index may be read.

    Args:
        index: The index.
        given: Folders that the user named, where relative paths start.
        accepted: Whether the user agreed to the folders of an index that was made elsewhere.
    """
    own = is_own_index(index)
    if not own and not accepted:
        return SliceFolders(tuple(given), tuple(given))
    folders = tuple(given) or tuple(map(Path, index.manifest.dicom_roots))
    embedded = find_embedded_folders(index.read_columns([schema.DICOM_PATH])[schema.DICOM_PATH], folders)
    return SliceFolders(folders, tuple(given), embedded, follows_links=own)


def find_embedded_folders(dicom_paths: pl.Series, folders: Sequence[Path]) -> frozenset[Path]:
    """Find the folders of slices.

    Args:
        dicom_paths: Their paths, as rows name them.
        folders: Folders that relative paths start from; a folder of slices is the first in which one of them is found.
    """
    folder_texts = dicom_paths.str.replace(r"[^/\\]*$", "")
    firsts = pl.DataFrame({"folder": folder_texts, "path": dicom_paths}).unique("folder", keep="first")["path"]
    return frozenset(_get_folder(Path(find_file(path, folders or (Path.cwd(),)))) for path in firsts)


def _get_folder(file: Path) -> Path:
    """Return the folder that a path names, without `..`; links are not followed."""
    return Path(os.path.normpath(file.absolute().parent))


def remember_index(index: Index) -> None:
    """Record that this user made an index here.

    Raises:
        OSError: The user's state folder cannot be written to.
    """
    record = _find_record()
    if record is None:
        raise OSError(errno.ENOENT, "this user has no home folder")
    record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _holds(record, line := _identify(index)):
        with record.open("a", encoding="ascii", newline="\n") as file:
            file.write(f"{line}\n")


def is_own_index(index: Index) -> bool:
    """Return whether `remember_index` was called for this index: one of the same folders and files."""
    record = _find_record()
    return record is not None and record.is_file() and _holds(record, _identify(index))


def _find_record() -> Path | None:
    """Return the file of the record; None for a user without a home folder, as in some containers."""
    import platformdirs

    try:
        return Path(platformdirs.user_state_dir("noduleclip", appauthor=False)).expanduser() / _RECORD
    except (RuntimeError, KeyError):
        return None


def _holds(record: Path, line: str) -> bool:
    try:
        with record.open(encoding="ascii", errors="replace") as file:
            return line in file.read(_MOST_BYTES).splitlines()
    except OSError:
        return False


def _identify(index: Index) -> str:
    """Return a hash of what decides which files are read: the folders of the manifest and the paths of the rows."""
    digest = hashlib.sha256(json.dumps(index.manifest.dicom_roots).encode())
    paths = index.read_columns([schema.DICOM_PATH])[schema.DICOM_PATH]
    for start in range(0, len(paths), 1 << 16):
        digest.update(json.dumps(paths[start : start + (1 << 16)].to_list()).encode())
    return digest.hexdigest()
