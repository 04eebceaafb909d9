"""Atomic files: written beside their place, flushed, then moved into it; and locks of output folders."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

from noduleclip.errors import ArtefactError, UsageError
from noduleclip.io.disk import remove, require_space, round_to_blocks, translate_write_errors

_PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}\.part")  # as `name_part` returns it
_MOST_JSON_BYTES = 1 << 24
_HASHED_AT_ONCE = 1 << 20
LOCK_FILE = ".lock"  # in a folder that a process of this tool writes to
_SOFT_LOCK = re.compile(rb"\d+\n\S+\n(?:\d+\n)*")  # of filelock, where the file system has no flock
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


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
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening: a pipe would wait for a writer
            raise ArtefactError(f"{path}: not readable as JSON (it is not a regular file)")
        with path.open("rb") as file:
            return parse_json(file, path)
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
    content = file.read(_MOST_JSON_BYTES + 1)
    if len(content) > _MOST_JSON_BYTES:
        raise ArtefactError(f"{path}: is larger than the {_MOST_JSON_BYTES:,} bytes that such a file may have")
    try:
        values = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: not readable as JSON ({error})") from error
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
        if os.path.lexists(folder / name):
            raise UsageError(f"{folder} already holds {name}; {remedy}")


def refuse_link(folder: Path) -> None:
    """Refuse a link, or what is no folder, as a folder that a command makes inside its output folder.

    Raises:
        UsageError: It is one. Nothing there is fine.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder}: is a link or no folder, and is not written to; move it, or choose another folder")


def find_other(folder: Path, patterns: Sequence[str]) -> Path | None:
    """Return the first file, by name, that this tool did not write in a folder that is about to be removed.

    Args:
        folder: The folder; it need not be there.
        patterns: Regular expressions of the files that the tool makes, relative to the folder and with `/`; locks and
            what killed processes leave half written need none. Links, pipes and the like are never the tool's.

    Returns:
        A file or a link, or the folder itself where it is none; None where the tool made all.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return folder
    known = re.compile("|".join([*patterns, rf"(?:.*/)?{_PART.pattern}(?:/.*)?"]))
    for path in sorted(folder.rglob("*")):
        is_known = known.fullmatch(path.relative_to(folder).as_posix()) is not None
        is_ours = is_known or (path.name == LOCK_FILE and _is_lock(path))
        if path.is_symlink() or not (path.is_dir() or (is_ours and path.is_file())):
            return path
    return None


@contextlib.contextmanager
def locking(folder: Path, on_no_locks: Callable[[str], None], *, whole: bool = False) -> Iterator[None]:
    """Keep other processes of this tool from writing a folder while the block runs.

    The lock is the system's: it ends with the process, however that ends. What a killed process left half written
    is removed first. A folder that is still empty after the block is removed again.

    Args:
        folder: Where a command is about to write; made if it is not there.
        on_no_locks: Called with a warning where the file system has no locks; the block then runs without.
        whole: The folder itself will appear whole, so the lock lies beside it, and it is not made.

    Raises:
        UsageError: Another process writes there, `folder` is a file, or a file of the lock's name is none of this tool.
        OutputError: The folder cannot be written to.
    """
    refuse_results(folder, (), "")
    place, file = folder, folder / LOCK_FILE
    if whole:
        place, file = folder.absolute().parent, folder.absolute().with_name(f".{folder.absolute().name}.lock")
    made = not place.exists()
    with translate_write_errors(folder, file):
        place.mkdir(parents=True, exist_ok=True)
        release = _lock(file, folder)
    try:
        if release is None:
            on_no_locks(f"{folder}: its file system has no locks; let no other noduleclip write there meanwhile")
        else:
            remove_parts(place, folder.absolute().name if whole else None)
        yield
    finally:
        if release is not None:
            release()
        if made:
            with contextlib.suppress(OSError):  # it holds something by now
                place.rmdir()


def _lock(file: Path, folder: Path) -> Callable[[], None] | None:
    """Take a lock and return a function that releases it; None where the file system has no locks."""
    from filelock import FileLock, Timeout

    if os.path.lexists(file) and not _is_lock(file):
        raise UsageError(f"{file}: is no lock of noduleclip, which needs that name; move it, or choose another folder")
    lock = FileLock(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it falls back to a lock of another kind
            lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            f"{folder}: another noduleclip is writing there; wait until it has ended, or choose another folder"
        ) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        return None

    def release() -> None:
        with contextlib.suppress(OSError):  # while it is held: who has it open finds that its name is gone
            if _is_lock(file):
                file.unlink(missing_ok=True)
        lock.release()

    return release


def _is_lock(file: Path) -> bool:
    """Return whether a file is a lock of this tool, or none is there: a regular, empty file of one name."""
    try:
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            return False
        return found.st_size == 0 or (found.st_size < 1024 and _SOFT_LOCK.fullmatch(file.read_bytes()) is not None)
    except FileNotFoundError:  # its holder has ended
        return True
    except OSError:
        return False


def remove_parts(place: Path, of: str | None = None) -> None:
    """Remove what killed processes left: files of a folder, or the half-made folders of the name `of`."""
    for path in place.iterdir():
        found = None if path.is_symlink() else _PART.fullmatch(path.name)
        if found is not None and (path.is_file() if of is None else found["name"] == of and path.is_dir()):
            remove(path)
