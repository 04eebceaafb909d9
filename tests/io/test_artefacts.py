"""A file is the old one or the new one, whatever happens in between."""

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noduleclip.errors import ArtefactError, OutputError
from noduleclip.io import artefacts
from noduleclip.io.artefacts import hash_file, read_json, replacing, write_json, write_text, write_together

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
