"""The hidden folder of finished chunks that an interrupted `embed` resumes from."""

import re
import shutil
from pathlib import Path
from typing import Final

from noduleclip.errors import UsageError
from noduleclip.io.output_folders import find_other, refuse_link

KEY_FILE: Final = "key"  # a SHA-256 of what the chunks were made of
CHUNK_PATTERN: Final = r"key|rows\.parquet|\d+\.(?:npy|json|begun)"  # the last three are of Ray
_KEY = re.compile(rb"[0-9a-f]{64}")


def read_key(folder: Path) -> str | None:
    """Return the key of a folder of chunks; None where the folder or its key file is not as `embed` writes it."""
    path = folder / KEY_FILE
    try:
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as file:
            content = file.read(65)
    except OSError:
        return None
    return content.decode() if _KEY.fullmatch(content) else None


def holds_chunks(folder: Path) -> bool:
    """Return whether a folder is of an unfinished run of `embed`: it has a key and no foreign files."""
    return read_key(folder) is not None and find_other(folder, (CHUNK_PATTERN,)) is None


def refuse_foreign_chunks(folder: Path) -> None:
    """Check that a folder of chunks holds no files of others.

    Args:
        folder: The folder; it need not be there.

    Raises:
        UsageError: It is a link or no folder, holds a file of others, or chunks without a key.
    """
    refuse_link(folder)
    other = find_other(folder, (CHUNK_PATTERN,))
    if other is None and read_key(folder) is None:
        other = find_other(folder, ())  # the key is written first and removed last
    if other is not None:
        raise UsageError(f"{other}: is not of embed, which keeps its chunks there; move it, or choose another folder")


def remove_chunks(folder: Path) -> None:
    """Remove a folder of chunks, the key last, so that a partly removed folder is still recognised.

    Raises:
        UsageError: It holds what `embed` did not write there.
    """
    refuse_foreign_chunks(folder)
    if not folder.exists():
        return
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != KEY_FILE:
            path.unlink()
    (folder / KEY_FILE).unlink(missing_ok=True)
    folder.rmdir()
