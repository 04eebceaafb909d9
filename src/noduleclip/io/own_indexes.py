"""Record of the indexes that this user made on this machine: only their list of DICOM folders is trusted.

An index names the folders that its slices lie in, and its rows name the files. One from elsewhere could name any file
of this machine. So `embed` and `merge` keep a record of what they made in the user's state folder, where no index can
write; an index that is not in it shows no slice but those below folders that its user names.
"""

import errno
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from noduleclip import schema
from noduleclip.config import to_mapping
from noduleclip.io.index.base import Index
from noduleclip.io.roi_table import find_file, lies_below

_RECORD = "own-indexes.txt"
_MOST_BYTES = 1 << 24  # a quarter of a million indexes


@dataclass(frozen=True)
class SliceFolders:
    """Where the slices of an index may be read.

    Attributes:
        folders: Folders that relative paths start from, in the order in which they are tried.
        anywhere: Whether absolute paths, and paths that lead out of the folders, are read, too: an index that was made
            here names the files that its user named.
    """

    folders: tuple[Path, ...]
    anywhere: bool

    def allows(self, dicom_path: str) -> bool:
        """Return whether a file that a row names may be read; links are followed."""
        if self.anywhere:
            return True
        folders = [folder.resolve() for folder in self.folders]
        return bool(folders) and lies_below(find_file(dicom_path, self.folders), folders)


def choose_slice_folders(index: Index, given: Sequence[Path], *, accepted: bool = False) -> SliceFolders:
    """Choose where the slices of an index may be read.

    Args:
        index: The index.
        given: Folders that the user named; none = those that the index names, if it was made here.
        accepted: Whether the user agreed to the folders of an index that was made elsewhere.
    """
    own = is_own_index(index)
    if given:
        return SliceFolders(tuple(given), own)
    named = tuple(map(Path, index.manifest.dicom_roots))
    return SliceFolders(named if own or accepted else (), own)


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
    """Return whether `remember_index` was called for this index: the same manifest, and rows of the same files."""
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
    """Return a hash of the manifest and of the files that the rows name: the manifest of a store does not bind them."""
    manifest = {**asdict(index.manifest), "model": to_mapping(index.manifest.model)}
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True, default=str).encode())
    paths = index.read_columns([schema.DICOM_PATH])[schema.DICOM_PATH]
    for start in range(0, len(paths), 1 << 16):
        digest.update(json.dumps(paths[start : start + (1 << 16)].to_list()).encode())
    return digest.hexdigest()
