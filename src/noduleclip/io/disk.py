"""Disk space and write errors: checked before work starts, and explained in one line when a write fails."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from noduleclip.errors import NoduleclipError, OutputError

_PROBE_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 12
_UNITS = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6))
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_FORBIDDEN = {
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "there is no permission to write there",
    errno.EPERM: "there is no permission to write there",
}
_MORE_SPACE = "free some space, or write to another disk"


@contextlib.contextmanager
def translate_write_errors(path: Path, part: Path, size_bytes: int | None = None) -> Iterator[None]:
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
    """Refuse to begin what cannot be written; see `require_room`."""
    require_room({path: size_bytes})


def require_room(needs: Mapping[Path, int]) -> None:
    """Refuse to begin work whose files do not all fit on the file systems that they go to.

    Args:
        needs: Bytes that will be written at, or below, each path, before anything that lies there is removed.

    Raises:
        OutputError: Fewer are free on one of the file systems.
    """
    by_disk: dict[object, list[Path]] = {}
    for path, size_bytes in needs.items():
        if size_bytes > 0:
            by_disk.setdefault(_identify_disk(path), []).append(path)
    for paths in by_disk.values():
        size_bytes, free = sum(needs[path] for path in paths), _measure_free(paths[0])
        if free is not None and free < size_bytes:
            named = " and ".join(map(str, paths))
            need = "needs" if len(paths) == 1 else "together need"
            raise OutputError(
                f"{named}: {need} {describe_bytes(size_bytes, up=True)}, {_describe_free(free)}; {_MORE_SPACE}"
            )


def round_to_blocks(size_bytes: int) -> int:
    """Return what a file of a size takes on a disk with blocks of 4 kB."""
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES


def describe_bytes(size_bytes: int, *, up: bool = False) -> str:
    """Return a size for people, in bytes below a megabyte; rounded down, or `up`."""
    for unit, scale in _UNITS:
        if size_bytes >= scale:
            hundredths = -(-size_bytes * 100 // scale) if up else size_bytes * 100 // scale
            return f"{hundredths / 100:,.2f} {unit}"
    return f"{size_bytes:,} bytes"


def _describe_free(free_bytes: int) -> str:
    return f"{describe_bytes(free_bytes)} are free there" if free_bytes else "nothing is free there"


def measure_bytes(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 where there is nothing."""
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
    """Return the system's error behind one that a library raised while it wrote; None where it is of another kind.

    numpy, polars and torch drop the error number of a full disk or quota, so another 64 kB is written to see it: the
    free space that the system reports does not show a quota.
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
    """Return the reason and the remedy."""
    if cause.errno in _FULL:
        known = []
        if size_bytes is not None or written:
            known.append(
                f"it needs {describe_bytes(size_bytes, up=True)}"
                if size_bytes is not None
                else f"it needs over {describe_bytes(written)}"
            )
        free = _measure_free(path)
        if free is not None:
            known.append(_describe_free(free + written))  # without the part, soon to be removed
        facts = f": {', '.join(known)}" if known else ""
        return f"{_FULL[cause.errno]}{facts}; {_MORE_SPACE}"
    if cause.errno in _FORBIDDEN:
        return f"{_FORBIDDEN[cause.errno]}; write to another folder"
    return f"{cause.strerror or cause}; write to another folder"


def _find_folder(path: Path) -> Path | None:
    """Return the folder, or the nearest one above it that exists, in which a path is or will be."""
    place = path.absolute()
    return next((folder for folder in (place, *place.parents) if folder.is_dir()), None)


def _identify_disk(path: Path) -> object:
    """Return an identifier of the file system of a path."""
    folder = _find_folder(path)
    try:
        return None if folder is None else folder.stat().st_dev
    except OSError:
        return folder


def _measure_free(path: Path) -> int | None:
    """Return the bytes free where a file will be; None where the file system does not say."""
    folder = _find_folder(path)
    if folder is None:
        return None
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.total else None
