"""Slices are shown from the folders that were embedded, wherever they lie, and from no others."""

import json
import os
import re
from pathlib import Path

import polars as pl
import pytest

from conftest import Command, Outcome
from importers.lidc_phantoms import write_patients
from noduleclip import schema
from noduleclip.io.index.open import open_index
from noduleclip.io.own_indexes import choose_slice_folders, find_embedded_folders, is_own_index
from web.conftest import open_client

ADDRESSES = ("/picture/0.png", "/api/slice/0", "/api/slice/0?at=0")


@pytest.fixture
def embedded(
    tmp_path: Path, noduleclip: Command, checkpoint: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An index of LIDC's DICOM and XML as downloaded, which lie in another folder than table, index and terminal."""
    write_patients(tmp_path / "elsewhere" / "LIDC-IDRI")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run(noduleclip, "prepare", "lidc", "--data-root", "../elsewhere/LIDC-IDRI", "--out", "lidc", "--workers", 1)
    run(noduleclip, "embed", "--roi-csv", f"lidc/{schema.ROI_CSV}", "--model", checkpoint, "--out-dir", "lidc/index",
        "--device", "cpu", "--max-rejects", 1)  # fmt: skip
    return tmp_path / "work/lidc/index"


def run(noduleclip: Command, *arguments: object) -> Outcome:
    done = noduleclip(*arguments)
    assert done.code == 0, done.err
    return done


def count_pictures(noduleclip: Command, index: Path, *options: object) -> tuple[int, str]:
    """Return how many pictures the pages of query and fuse hold, together, and what the commands said."""
    found, said = 0, ""
    for command in ("query", "fuse"):
        page = index.parent.parent / f"{command}.html"
        page.unlink(missing_ok=True)
        done = run(noduleclip, command, "--emb-dir", index, "--query", "> 3 mm", "--topk", 2, "--html", page, *options)
        found, said = found + page.read_text(encoding="utf-8").count('src="data:image'), said + done.err
    return found, said


def test_what_was_prepared_elsewhere_is_shown(
    embedded: Path, noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "another").mkdir()
    monkeypatch.chdir(tmp_path / "another")
    client = open_client(embedded)
    assert [client.get(address).status_code for address in ADDRESSES] == [200, 200, 200]
    assert len(client.get("/api/stack/0").json()["slices"]) > 1
    assert 'src="data:image' in client.get("/hits.html?q=%3E+3+mm").text
    found, said = count_pictures(noduleclip, embedded)
    assert found > 3
    assert "not made here" not in said


def test_an_index_made_here_reads_the_embedded_folders_and_no_others(embedded: Path, tmp_path: Path) -> None:
    index = open_index(embedded)
    folders = choose_slice_folders(index, ())
    named = [Path(os.path.normpath(path)) for path in index.read_columns([schema.DICOM_PATH])[schema.DICOM_PATH]]
    assert folders.embedded == {path.parent for path in named}
    assert all(folders.allows(str(path)) for path in named)
    assert folders.allows(str(named[0].parent / "another-slice.dcm"))
    for other in ("/etc/hostname", str(tmp_path / "x.dcm"), str(named[0].parent / "below/x.dcm"),
                  str(named[0].parent / "../../x.dcm"), f"{named[0].parent}-2/x.dcm", "x.dcm", "a\0b"):  # fmt: skip
        assert not folders.allows(other), other
    given = choose_slice_folders(index, (tmp_path / "work",))
    assert given.allows(str(named[0]))
    assert given.allows("x.dcm")
    assert not given.allows("/etc/hostname")


def test_slices_that_are_links_are_shown_as_they_were_embedded(
    embedded: Path, noduleclip: Command, checkpoint: Path, tmp_path: Path
) -> None:
    """As in a folder of DataLad or of links to an archive."""
    links = tmp_path / "links"
    table = pl.read_csv(embedded.parent / schema.ROI_CSV, infer_schema=False)
    for number, path in enumerate(table[schema.DICOM_PATH].unique()):
        (links / str(number)).mkdir(parents=True)
        (links / str(number) / Path(path).name).symlink_to(Path(path).resolve())
        table = table.with_columns(
            pl.col(schema.DICOM_PATH).replace(path, str(links / str(number) / Path(path).name))
        )  # fmt: skip
    table.write_csv(tmp_path / "links.csv")
    run(noduleclip, "embed", "--roi-csv", tmp_path / "links.csv", "--model", checkpoint, "--out-dir",
        tmp_path / "index", "--device", "cpu", "--max-rejects", 1)  # fmt: skip
    assert open_client(tmp_path / "index").get("/picture/0.png").status_code == 200


def test_without_a_record_the_folder_to_allow_is_named_and_helps(
    embedded: Path, noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # of another user
    client = open_client(embedded)
    assert [client.get(address).status_code for address in ADDRESSES] == [404, 404, 404]
    found, said = count_pictures(noduleclip, embedded)
    assert found == 0
    named = re.search(r"allow them with --dicom-root '(.+)'", said)
    assert named is not None, said
    assert named.group(1) == str(tmp_path / "elsewhere/LIDC-IDRI")
    found, said = count_pictures(noduleclip, embedded, "--dicom-root", named.group(1))
    assert found > 3
    assert "not made here" not in said
    client = open_client(embedded, roots=(Path(named.group(1)),))
    assert [client.get(address).status_code for address in ADDRESSES] == [200, 200, 200]


def test_after_a_yes_the_slices_are_shown_and_links_out_of_their_folders_are_not(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    index = open_index(embedded)
    folders = choose_slice_folders(index, (), accepted=True)
    (own, *_) = index.read_columns([schema.DICOM_PATH])[schema.DICOM_PATH]
    assert folders.allows(own)
    assert not folders.allows("/etc/hostname")
    link = Path(own).with_name("link.dcm")
    link.symlink_to("/etc/hostname")
    assert not folders.allows(str(link))


def test_a_new_version_of_the_package_still_knows_the_index(embedded: Path) -> None:
    """A later version may write further fields into the manifest; they say nothing of files."""
    manifest = embedded / schema.INDEX_MANIFEST
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "made_by": "9.9.9", "precision": "float32"}))
    assert is_own_index(open_index(embedded))


def test_folders_are_found_for_relative_and_absolute_paths(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    (second / "a").mkdir(parents=True)
    (second / "a/1.dcm").touch()

    paths = pl.Series(["a/1.dcm", "b/2.dcm", "a/3.dcm", str(tmp_path / "c/../d/4.dcm")])
    found = find_embedded_folders(paths, (first, second))
    assert found == {second / "a", first / "b", tmp_path / "d"}
