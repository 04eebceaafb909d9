"""Output folders: results that are refused, locks, and what killed processes left behind."""

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from noduleclip.errors import UsageError
from noduleclip.io.artefacts import name_part, write_text
from noduleclip.io.output_folders import find_other, locking, refuse_results


def test_results_are_refused_by_name(tmp_path: Path) -> None:
    refuse_results(tmp_path / "new", ("a.csv",), "--overwrite replaces them")
    refuse_results(tmp_path, ("a.csv",), "--overwrite replaces them")
    (tmp_path / "other.csv").touch()
    refuse_results(tmp_path, ("a.csv",), "--overwrite replaces them")
    (tmp_path / "b.csv").touch()
    with pytest.raises(UsageError, match=r"already holds b\.csv; --overwrite replaces them$"):
        refuse_results(tmp_path, ("a.csv", "b.csv"), "--overwrite replaces them")
    with pytest.raises(UsageError, match=r"b\.csv: is a file, a folder is needed"):
        refuse_results(tmp_path / "b.csv", ("a.csv",), "--overwrite replaces them")


HOLDER = """
import sys
from pathlib import Path
from noduleclip.io.output_folders import locking
with locking(Path(sys.argv[1]), print, whole=sys.argv[2] == "True"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_by_another(folder: Path, whole: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Hold the lock of a folder in another process while the block runs."""
    arguments = [sys.executable, "-c", HOLDER, str(folder), str(whole)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("whole", [False, True])
def test_a_folder_is_written_by_one_process_at_a_time(tmp_path: Path, whole: bool) -> None:
    folder = tmp_path / "out"

    def lock() -> None:
        with locking(folder, pytest.fail, whole=whole):
            assert [path.name for path in tmp_path.rglob("*.lock")] == [".out.lock" if whole else ".lock"]

    with held_by_another(folder, whole) as other:
        with pytest.raises(UsageError, match=r"out: another noduleclip is writing there; wait until it has ended, or"):
            lock()
        other.kill()
        other.wait()
        lock()  # a killed process holds nothing
    lock()
    assert not [path for path in tmp_path.rglob("*") if path != folder]


def test_a_lock_that_ends_lets_the_next_one_in(tmp_path: Path) -> None:
    with held_by_another(tmp_path / "out") as other:
        other.communicate("")
        assert other.returncode == 0
        assert list(tmp_path.iterdir()) == [], "the folder held nothing but the lock"
        with locking(tmp_path / "out", pytest.fail):
            pass


@pytest.mark.parametrize("whole", [False, True])
def test_what_killed_processes_left_is_removed(tmp_path: Path, whole: bool) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    name_part(folder / "a.csv").write_text("half")
    name_part(folder).mkdir()
    kept = [folder / "a.csv", folder / ".a.csv.part", name_part(tmp_path / "other")]
    for path in kept:
        path.touch()
    with locking(folder, pytest.fail, whole=whole):
        pass
    assert {path for path in tmp_path.rglob("*.part")} - {*kept} == {
        path for path in tmp_path.rglob("*.part") if path.is_dir() != whole and path not in kept
    }
    assert all(path.exists() for path in kept)


def test_a_tool_takes_for_its_own_only_files_of_its_making(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in (".lock", "inner/.lock", "a.csv", ".a.csv.0123456789ab.part"):
        (tmp_path / name).touch()
    assert find_other(tmp_path, (r"a\.csv",)) is None
    (tmp_path / "inner" / ".lock").write_text("mine")
    assert find_other(tmp_path, (r"a\.csv",)) == tmp_path / "inner" / ".lock"
    (tmp_path / "inner" / ".lock").write_text("4242\nmachine\n1234567\n")  # of filelock, where there is no flock
    assert find_other(tmp_path, (r"a\.csv",)) is None
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.csv").symlink_to(tmp_path / "inner")
    assert find_other(tmp_path, (r"a\.csv",)) == tmp_path / "a.csv"


@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    messages: list[str] = []
    part = name_part(tmp_path / "a.csv")
    part.touch()  # of a process that is alive, for all that is known
    with locking(tmp_path, messages.append):
        write_text(tmp_path / "a", "b")
    if code != errno.ENOSYS:  # there filelock has a way of its own
        assert messages == [f"{tmp_path}: its file system has no locks; let no other noduleclip write there meanwhile"]
        assert part.exists()
    assert (tmp_path / "a").read_text() == "b"
