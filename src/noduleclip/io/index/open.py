"""Opening of an index by its location: a folder or a Lance store."""

from pathlib import Path
from typing import overload

from noduleclip.io.index.base import Index
from noduleclip.io.index.folder import FolderIndex
from noduleclip.io.index.folder_opening import open_folder_index
from noduleclip.io.index.lance_opening import open_lance_index


@overload
def open_index(location: Path, *, check_files: bool = ...) -> FolderIndex: ...
@overload
def open_index(location: str, *, check_files: bool = ...) -> Index: ...
def open_index(location: Path | str, *, check_files: bool = True) -> Index:
    """Open an index and check that its parts belong together.

    Args:
        location: A folder, `lance://DIR` or an address in an object store.
        check_files: Compare files of up to 64 MB with their checksums; without, `find_changed_files` can name all that
            have changed.

    Raises:
        ArtefactError: A part is missing, of another size than the manifest says, or of the wrong kind.
        UsageError: There can be no store at such an address, or Lance is not installed.
    """
    if isinstance(location, str) and "://" in location:
        return open_lance_index(location, check_files=check_files)
    return open_folder_index(Path(location), check_files=check_files)
