"""Output folders: what they may hold, a lock against other processes, and what killed processes left behind."""

import contextlib
import errno
import os
import re
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from noduleclip.errors import UsageError
from noduleclip.io.disk import remove, translate_write_errors

LOCK_FILE = ".lock"  # in a folder that a process of this tool writes to
_PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{12}\.part")  # as `artefacts.name_part` returns it
_SOFT_LOCK = re.compile(rb"\d+\n\S+\n(?:\d+\n)*")  # of filelock, where the file system has no flock
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}


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
