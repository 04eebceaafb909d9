"""The files of a collection that are no DICOM, by their names."""

import os
from pathlib import Path


def find_files(root: Path, *suffixes: str) -> list[Path]:
    """Find files below a folder by their endings, in any case.

    Args:
        root: The folder; links to folders are not followed, hidden files and folders are left out.
        suffixes: Endings in lower case, with the dot.

    Returns:
        The files in the order of their paths.
    """
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if name.lower().endswith(suffixes) and not name.startswith(".")]
    return sorted(found)
