"""A file is the old one or the new one, whatever happens in between."""

import contextlib
import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noduleclip.errors import ArtefactError, OutputError, UsageError
from noduleclip.io import artefacts
from noduleclip.io.artefacts import hash_file, name_part, read_json, replacing, write_json, write_text, write_together
from noduleclip.io.output_folders import find_other, locking, refuse_results

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_the_folder_is_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "größe.txt"
    write_text(path, "≤ 6 mm\r\n結節\n")
    assert path.read_bytes() == "≤ 6 mm\r\n結節\n".encode()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("ending", [RuntimeError, OSError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_an_exception_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, ending: type[BaseException], old: str | None
) -> None:
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise ending("halfway")

    with pytest.raises(ending, match="halfway"):
        write_half()
    assert [file.read_text() for file in tmp_path.iterdir()] == ([] if old is None else [old])


def test_the_old_file_stands_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent, "a move between file systems is no move"
    assert path.read_text() == "new"


KILLED = """
import os, sys
from pathlib import Path
from noduleclip.io.artefacts import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_a_killed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == -9
    assert path.read_text() == "old"


def test_a_file_that_cannot_be_replaced_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OutputError, match="folder: cannot be written, Is a directory; write to another folder"):
        write_text(path, "text")
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file.txt", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o640


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    for mode in (0o600, 0o400, 0o664):
        path.chmod(mode)
        with replacing(path) as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600, "not open to others while it is written"
            temporary.write_text("new")
        assert stat.S_IMODE(path.stat().st_mode) == mode
        write_together({path: "newer"})
        assert stat.S_IMODE(path.stat().st_mode) == mode


@given(values=st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_json_comes_back(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "values.json"
    write_json(path, values)
    assert read_json(path) == values


def test_json_is_readable_by_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ort": "Köln"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "ort": "Köln"\n}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not readable as JSON"),
        (b'{"a": 1', "not readable as JSON"),
        (b'{"a": "\xe9"}', "not readable as JSON"),
        (b"[" * 200_000, "not readable as JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b"null", "expected a JSON object, found NoneType"),
    ],
    ids=["empty", "cut off", "latin-1", "too deep", "list", "null"],
)
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=rf"a\.json: {message}"):
        read_json(path)


def test_a_missing_json_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"nowhere\.json: no such file"):
        read_json(tmp_path / "nowhere.json")


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = json.dumps(list(range(100_000))).encode()
    (tmp_path / "file").write_bytes(content)
    assert hash_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


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


def test_files_that_belong_together_are_never_mixed(tmp_path: Path) -> None:
    old = {tmp_path / name: "old" for name in ("a", "b", "c")}
    write_together(old)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == old
    (tmp_path / "b").unlink()
    (tmp_path / "b").mkdir()  # what cannot be replaced stands for any error late in the writing
    with pytest.raises(OutputError, match="b: cannot be written, Is a directory"):
        write_together(dict.fromkeys(old, "new"))
    assert {path.read_text() for path in tmp_path.iterdir() if path.is_file()} == {"old"}


def test_what_is_of_an_earlier_time_goes_once_all_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = [tmp_path / name for name in "abc"]
    write_together(dict.fromkeys(old, "old"))

    def fill_up(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(artefacts, "flush_file", fill_up)
        with pytest.raises(OutputError, match="the disk is full"):
            write_together({old[0]: "new"}, old[1:])
    assert [path.read_text() for path in old] == ["old"] * 3
    write_together({old[0]: "new"}, [*old[1:], tmp_path / "never"])
    assert {path: path.read_text() for path in tmp_path.iterdir()} == {old[0]: "new"}


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
    """Let another process hold a folder's lock."""
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
    said: list[str] = []
    part = name_part(tmp_path / "a.csv")
    part.touch()  # of a process that is alive, for all that is known
    with locking(tmp_path, said.append):
        write_text(tmp_path / "a", "b")
    if code != errno.ENOSYS:  # there filelock has a way of its own
        assert said == [f"{tmp_path}: its file system has no locks; let no other noduleclip write there meanwhile"]
        assert part.exists()
    assert (tmp_path / "a").read_text() == "b"
