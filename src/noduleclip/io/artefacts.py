"""Atomic files: written beside their place, flushed, then moved into it."""

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

from noduleclip.errors import ArtefactError
from noduleclip.io.disk import require_space, round_to_blocks, translate_write_errors

_MOST_JSON_BYTES = 1 << 24
_HASHED_AT_ONCE = 1 << 20


@contextlib.contextmanager
def replacing(path: Path, *, size_bytes: int | None = None, flush: bool = True) -> Iterator[Path]:
    """Return a temporary path in the folder of `path`; move it onto `path` once the block has ended well.

    Whatever ends the block early leaves the file that was there before, or none, and no temporary one. The new file
    has the permissions of the one that it replaces.

    Args:
        path: The file to write.
        size_bytes: What will be written, where that is known, for the message of a full disk.
        flush: Wait until the disk has it, so that it is whole after a power cut, too.

    Raises:
        OutputError: The disk is full, or writing is not allowed.
    """
    temporary = name_part(path)
    try:
        with translate_write_errors(path, temporary, size_bytes):
            path.parent.mkdir(parents=True, exist_ok=True)
            mode = _read_mode(path)
            if mode is None:
                temporary.touch(exist_ok=False)  # with the mode that the umask leaves
            else:
                temporary.touch(stat.S_IRUSR | stat.S_IWUSR, exist_ok=False)  # never open to more people than the old
            yield temporary
            if flush:
                flush_file(temporary)
            if mode is not None:
                with contextlib.suppress(OSError):  # file systems without permissions
                    temporary.chmod(mode)
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _read_mode(path: Path) -> int | None:
    """Return the permission bits of a regular file, or None where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_mode & 0o777 if stat.S_ISREG(found.st_mode) else None


def name_part(path: Path) -> Path:
    """Return the path beside `path` where it is written until it is whole: hidden, and of no other process."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")


def flush_file(path: Path) -> None:
    """Wait until the disk has a file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all, with line feeds."""
    content = text.encode()
    with replacing(path, size_bytes=len(content)) as temporary:
        temporary.write_bytes(content)


def write_together(texts: Mapping[Path, str], stale: Iterable[Path] = ()) -> None:
    """Write UTF-8 files that belong together.

    Whatever ends it early leaves all old files, or some of the old ones, or some of the new ones: never a mixture.

    Args:
        texts: What each file will hold.
        stale: Files of an earlier time that are to go, if they are there.
    """
    contents = {path: text.encode() for path, text in texts.items()}
    if contents:
        require_space(next(iter(contents)), sum(round_to_blocks(len(content)) for content in contents.values()))
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            temporary = stack.enter_context(replacing(path, size_bytes=len(content)))
            temporary.write_bytes(content)
            flush_file(temporary)
        for path in (*texts, *stale):
            path.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, indented, whole or not at all."""
    write_text(path, format_json(values))


def format_json(values: Mapping[str, Any]) -> str:
    """Return indented JSON text."""
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ArtefactError: The file is missing or is no JSON object.
    """
    return _check_object(read_json_value(path), path)


def read_json_value(path: Path, most_bytes: int = _MOST_JSON_BYTES) -> object:
    """Read a JSON file of any content.

    Args:
        path: The file.
        most_bytes: Largest size.

    Raises:
        ArtefactError: The file is missing, too large or no JSON.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening: a pipe would wait for a writer
            raise ArtefactError(f"{path}: not readable as JSON (it is not a regular file)")
        with path.open("rb") as file:
            return _parse_json(file, path, most_bytes)
    except FileNotFoundError as error:
        raise ArtefactError(f"{path}: no such file") from error
    except OSError as error:
        raise ArtefactError(f"{path}: not readable as JSON ({error})") from error


def parse_json(file: BufferedReader, path: Path) -> dict[str, Any]:
    """Parse an open file as a JSON object.

    Args:
        file: At its beginning.
        path: Its path, for messages.

    Raises:
        ArtefactError: It is too large, or no JSON object.
    """
    return _check_object(_parse_json(file, path, _MOST_JSON_BYTES), path)


def _parse_json(file: BufferedReader, path: Path, most_bytes: int) -> object:
    content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ArtefactError(f"{path}: is larger than the {most_bytes:,} bytes that such a file may have")
    try:
        values: object = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: not readable as JSON ({error})") from error
    return values


def _check_object(values: object, path: Path) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ArtefactError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def hash_file(path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Return the SHA-256 of a file's bytes as hex digits.

    Args:
        path: The file.
        on_bytes: Called with the bytes read since the last call.
    """
    with path.open("rb") as file:
        return hash_open_file(file, on_bytes)


def hash_open_file(file: BufferedReader, on_bytes: Callable[[int], None] = lambda _: None) -> str:
    """Return the SHA-256 of all bytes of an open file as hex digits; its position is 0 afterwards."""
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(_HASHED_AT_ONCE):
        digest.update(block)
        on_bytes(len(block))
    file.seek(0)
    return digest.hexdigest()
