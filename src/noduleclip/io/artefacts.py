"""Files that appear whole or not at all: written beside their place, flushed, then moved into it."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from noduleclip.errors import ArtefactError, UsageError


@contextlib.contextmanager
def replacing(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; move it onto `path` once the block has ended well.

    Whatever ends the block early leaves the file that was there before, or none, and no temporary one.

    Args:
        path: The file to write.
        flush: Wait until the disk has it, so that it is whole after a power cut, too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        if flush:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all, with line feeds."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, indented, whole or not at all."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ArtefactError: The file is missing or is no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(values, dict):
        raise ArtefactError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def hash_file(path: Path) -> str:
    """Give the SHA-256 of a file's bytes as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_results(folder: Path, names: tuple[str, ...], remedy: str) -> None:
    """Refuse a folder that already holds results.

    Args:
        folder: Where a command is about to write.
        names: File names that count as results.
        remedy: What the user can do, e.g. "--overwrite replaces them".

    Raises:
        UsageError: One of the files is there, or `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file, a folder is needed")
    for name in names:
        if (folder / name).exists():
            raise UsageError(f"{folder} already holds {name}; {remedy}")
