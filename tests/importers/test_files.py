"""Files by their endings."""

from pathlib import Path

import pytest

from importers.closed_folders import close_folder
from noduleclip.importers.files import Walk, find_files


def test_files_are_found_by_their_endings_and_hidden_ones_are_not(tmp_path: Path) -> None:
    wanted = ["a/2.xml", "a/B.XML", "a/b/1.xml", "z.xml"]
    for name in (*wanted, "a/.xml", "a/.3.xml", ".catalogue/4.xml", "a/5.xml.gz", "xml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert find_files(tmp_path, ".xml") == [tmp_path / name for name in wanted]
    assert find_files(tmp_path, ".mhd", ".gz") == [tmp_path / "a/5.xml.gz"]
    assert find_files(tmp_path / "gone", ".xml") == []


def test_a_folder_that_cannot_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.xml", "b/2.xml", "c/3.xml"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    close_folder(monkeypatch, tmp_path / "b")
    walk = Walk()
    assert find_files(tmp_path, ".xml", walk=walk) == [tmp_path / "a/1.xml", tmp_path / "c/3.xml"]
    assert [one.reason for one in walk.rejected] == [
        f"{tmp_path / 'b'}: cannot be opened (Permission denied); check its permissions"
    ]
