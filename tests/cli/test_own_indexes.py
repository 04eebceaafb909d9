"""The folders that an index names are looked into if it was made here; from elsewhere it could name any file."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.cli.pictures import PictureOptions, read_pictures
from noduleclip.cli.slice_folders import settle_slice_folders
from noduleclip.errors import SliceError, UsageError
from noduleclip.io.artefacts import hash_file
from noduleclip.io.index.open import open_index
from noduleclip.io.own_indexes import choose_slice_folders, is_own_index
from noduleclip.web.slices import SliceReader
from noduleclip.workflows.pictures import NodulePictures


def forge(index: Path, out: Path, *, path: str | None = None, roots: Sequence[str] | None = None) -> Path:
    """Copy an index with other paths or other folders, and a manifest that says nothing is wrong."""
    shutil.copytree(index, out)
    manifest = json.loads((out / schema.INDEX_MANIFEST).read_text())
    if path is not None:
        meta = out / schema.META
        pl.read_parquet(meta).with_columns(pl.lit(path).alias(schema.DICOM_PATH)).write_parquet(meta)
        manifest["files"][schema.META] = {"sha256": hash_file(meta), "bytes": meta.stat().st_size}
    if roots is not None:
        manifest["dicom_roots"] = list(roots)
    (out / schema.INDEX_MANIFEST).write_text(json.dumps(manifest))
    return out


def try_picture(index: Path, options: PictureOptions | None = None) -> NodulePictures | SliceError:
    opened = open_index(index)
    return read_pictures(opened, opened.read_rows([0]), options or PictureOptions(), fov_mm=40, size_px=20)[0]


def test_what_embed_made_shows_its_slices_and_so_does_a_copy(index: Path, tmp_path: Path) -> None:
    assert is_own_index(open_index(index))
    assert isinstance(try_picture(index), NodulePictures)
    assert isinstance(try_picture(shutil.copytree(index, tmp_path / "copy")), NodulePictures)


@pytest.mark.parametrize("kind", ["all folders", "a path in them", "an absolute path", "another user's record"])
def test_an_index_from_elsewhere_shows_none(
    index: Path, collection: Collection, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = collection.roi_csv.parent / open_index(index).read_rows([0])[schema.DICOM_PATH][0]
    other = open_index(index).read_rows([40])[schema.DICOM_PATH][0]
    if kind == "all folders":
        strange = forge(index, tmp_path / "x", path=str(secret).removeprefix("/"), roots=["/"])
    elif kind == "a path in them":
        strange = forge(index, tmp_path / "x", path=other)
    elif kind == "an absolute path":
        strange = forge(index, tmp_path / "x", path=str(secret))
    else:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        strange = index
    opened = open_index(strange)
    refused = try_picture(strange)
    assert isinstance(refused, SliceError)
    assert "lies outside the DICOM folders; name its folder with --dicom-root" in str(refused)
    assert choose_slice_folders(opened, ()).folders == ()
    with pytest.raises(Exception, match="name its folder with --dicom-root"):
        SliceReader(opened, choose_slice_folders(opened, ())).read(0)
    elsewhere = try_picture(strange, PictureOptions(tmp_path))
    assert isinstance(elsewhere, SliceError)
    root = Path("/") if kind == "all folders" else collection.roi_csv.parent
    assert isinstance(try_picture(strange, PictureOptions(root)), NodulePictures)


def test_a_page_of_hits_says_what_is_missing(index: Path, tmp_path: Path, noduleclip: Command) -> None:
    strange = forge(index, tmp_path / "strange", roots=[*open_index(index).manifest.dicom_roots, "/"])
    page = tmp_path / "hits.html"
    done = noduleclip("query", "--emb-dir", strange, "--query", "> 4 mm", "--html", page)
    assert done.code == 0
    assert done.err.count("was not made here: slices are not read from the folders that it names") == 1
    assert "--dicom-root" in done.err
    assert "data:image" not in page.read_text()
    done = noduleclip("query", "--emb-dir", index, "--query", "> 4 mm", "--html", tmp_path / "own.html")
    assert "not made here" not in done.err
    assert "data:image" in (tmp_path / "own.html").read_text()


def test_like_looks_for_files_in_no_folder_of_a_stranger(
    index: Path, collection: Collection, tmp_path: Path, noduleclip: Command
) -> None:
    (tmp_path / "hidden").mkdir()
    shutil.copy(
        collection.roi_csv.parent / open_index(index).read_rows([0])[schema.DICOM_PATH][0], tmp_path / "hidden/x"
    )
    strange = forge(index, tmp_path / "strange", roots=[str(tmp_path / "hidden")])
    done = noduleclip("query", "--emb-dir", strange, "--like", "x:20,20")
    assert (done.code, "there is no such file" in done.err) == (2, True)


@pytest.mark.parametrize("answer", [True, False])
def test_a_terminal_is_asked(index: Path, tmp_path: Path, answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = [*open_index(index).manifest.dicom_roots, "/a\x1b[2J"]
    strange = open_index(forge(index, tmp_path / "strange", roots=roots))
    asked: list[str] = []

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return answer

    monkeypatch.setattr("typer.confirm", confirm)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    shown: list[str] = []
    monkeypatch.setattr("noduleclip.cli.slice_folders.log_info", shown.append)
    console = SimpleNamespace(is_terminal=True)
    monkeypatch.setattr("noduleclip.cli.slice_folders.message_console", lambda: console)
    found = settle_slice_folders(strange, ())
    assert len(asked) == 1
    own = Path(roots[0]) / open_index(index).read_rows([0])[schema.DICOM_PATH][0]
    assert str(own.parent.parent) in "".join(shown)
    assert "\x1b" not in "".join(shown)
    assert found.folders == (tuple(map(Path, roots)) if answer else ())
    assert found.allows(str(own)) == answer
    assert not found.allows("/etc/hostname")
    assert settle_slice_folders(strange, (), ask=False).folders == ()
    assert len(asked) == 1


def test_merge_knows_shards_that_were_made_here(
    index: Path, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path, noduleclip: Command
) -> None:
    def embed(out: Path) -> None:
        for shard in ("1/2", "2/2"):
            done = noduleclip("embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--out-dir", out,
                              "--device", "cpu", "--shard", shard)  # fmt: skip
            assert done.code == 0, done.err

    embed(tmp_path / "own")
    assert noduleclip("merge", "--out-dir", tmp_path / "own").code == 0
    assert is_own_index(open_index(tmp_path / "own"))
    embed(tmp_path / "strange")
    shard = next((tmp_path / "strange" / schema.SHARDS_FOLDER).glob("2-of-2")) / schema.INDEX_MANIFEST
    shard.write_text(json.dumps({**json.loads(shard.read_text()), "dicom_roots": ["/"]}))
    bound = shard.with_name(schema.SHARD_MANIFEST)
    bound.write_text(json.dumps({**json.loads(bound.read_text()), "index_sha256": hash_file(shard)}))
    assert noduleclip("merge", "--out-dir", tmp_path / "strange").code == 0
    assert not is_own_index(open_index(tmp_path / "strange"))


def test_a_store_is_known_by_its_rows(index: Path, tmp_path: Path, noduleclip: Command) -> None:
    lance = pytest.importorskip("lance")
    store = f"lance://{tmp_path / 'store'}"
    work = shutil.copytree(index, tmp_path / "work")
    done = noduleclip("merge", "--out-dir", work, "--store", store)
    assert done.code == 0, done.err
    assert is_own_index(open_index(store))
    rows = lance.dataset(str(tmp_path / "store" / "rows.lance"))
    rows.update({schema.DICOM_PATH: "'/etc/hostname'"})
    import pyarrow as pa

    binding = str(tmp_path / "store" / "index.lance")
    table = lance.dataset(binding).to_table()
    (row,) = table.to_pylist()
    rebound = {**row, "rows_version": lance.dataset(str(tmp_path / "store" / "rows.lance")).version}
    lance.write_dataset(pa.Table.from_pylist([rebound], table.schema), binding, mode="overwrite")
    forged = open_index(store)
    assert forged.read_rows([0])[schema.DICOM_PATH][0] == "/etc/hostname"
    assert not is_own_index(forged)


def test_a_state_folder_that_is_not_writable_is_told(
    collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path, noduleclip: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "state").write_text("a file, where a folder is needed")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    done = noduleclip("embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--out-dir", tmp_path / "out",
                      "--device", "cpu")  # fmt: skip
    assert done.code == 0
    assert "will need --dicom-root" in done.err


def test_a_user_without_a_home_folder_has_no_record(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name)

    def fail(*_: object, **__: object) -> str:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("platformdirs.user_state_dir", fail)
    monkeypatch.setattr("platformdirs.user_cache_dir", fail)
    made = ("embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--out-dir", tmp_path / "index")
    refused = noduleclip(*made, "--device", "cpu")
    assert (refused.code, refused.err.splitlines()[-1]) == (
        2, "error: there is no home folder for the cache of crops; name a folder with --cache-dir",
    )  # fmt: skip
    done = noduleclip(*made, "--device", "cpu", "--cache-dir", exported)
    assert done.code == 0, done.err
    assert "will need --dicom-root" in done.err
    page = noduleclip(
        "query", "--emb-dir", tmp_path / "index", "--query", "> 6 mm", "--html", tmp_path / "hits.html",
        "--dicom-root", collection.roi_csv.parent,
    )  # fmt: skip
    assert page.code == 0, page.err


def test_a_folder_of_slices_that_is_not_there_is_refused(index: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--dicom-root .*gone: no such folder"):
        settle_slice_folders(open_index(index), [tmp_path, tmp_path / "gone"])
