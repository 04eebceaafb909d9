"""What a disk that cannot be written tells the user, whichever library ran into it."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from noduleclip.errors import NoduleclipError, OutputError

_PROBE_BYTES = 1 << 16
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_FORBIDDEN = {
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "there is no permission to write there",
    errno.EPERM: "there is no permission to write there",
}
_MORE_SPACE = "free some space, or write to another disk"


@contextlib.contextmanager
def telling_write_errors(path: Path, part: Path, size_bytes: int | None = None) -> Iterator[None]:
    """Turn what goes wrong in a block that writes into one line that names the file as the user knows it.

    Args:
        path: What is being written.
        part: Where its bytes go until it is whole: a file, or a folder, which the caller removes.
        size_bytes: The bytes needed, where that is known.

    Raises:
        OutputError: The disk is full, or writing is not allowed. Other errors pass.
    """
    try:
        yield
    except Exception as error:
        cause = None if isinstance(error, NoduleclipError) else _find_write_error(error, path, part)
        if cause is None:
            raise
        written = measure_bytes(part)
        raise OutputError(f"{path}: cannot be written, {_explain(cause, path, size_bytes, written)}") from error


def require_space(path: Path, size_bytes: int) -> None:
    """Refuse to begin what cannot be written.

    Args:
        path: What will be written.
        size_bytes: The bytes needed on its disk.

    Raises:
        OutputError: Fewer are free.
    """
    free = _measure_free(path)
    if free is not None and free < size_bytes:
        raise OutputError(f"{path}: needs {size_bytes:,} bytes, {free:,} are free there; {_MORE_SPACE}")


def measure_bytes(path: Path) -> int:
    """Give the bytes of a file, or of all files in a folder; 0 where there is nothing."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be removed."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _find_write_error(error: Exception, path: Path, part: Path) -> OSError | None:
    """Give the system's error behind one that a library raised while it wrote; None where it is of another kind.

    numpy, polars and torch keep no error number when a disk is full, so one more piece is written to see.
    """
    if isinstance(error, OSError) and error.errno is not None:
        named = [Path(name) for name in (error.filename, error.filename2) if isinstance(name, str | os.PathLike)]
        ours = not named or any(name in (path, *path.parents) or part in (name, *name.parents) for name in named)
        return error if ours or error.errno in _FULL or error.errno == errno.EROFS else None
    try:
        probe = part / "probe" if part.is_dir() else part
        with probe.open("ab") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as found:
        return found
    return None


def _explain(cause: OSError, path: Path, size_bytes: int | None, written: int) -> str:
    """Say why, and what to do."""
    if cause.errno in _FULL:
        need = f"{size_bytes:,}" if size_bytes is not None else f"over {written:,}"
        free = _measure_free(path)
        left = "" if free is None else f", {free + written:,} are free there"  # without the part, soon to be removed
        return f"{_FULL[cause.errno]}: it needs {need} bytes{left}; {_MORE_SPACE}"
    if cause.errno in _FORBIDDEN:
        return f"{_FORBIDDEN[cause.errno]}; write to another folder"
    return f"{cause.strerror or cause}; write to another folder"


def _measure_free(path: Path) -> int | None:
    """Give the bytes free where a file will be; None where the file system does not say."""
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), None)
    if folder is None:
        return None
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.total else None
