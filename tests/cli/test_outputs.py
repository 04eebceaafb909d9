"""What outputs may not do to files that are there: those of the user, of another command, of an earlier run, inputs."""

import os
import re
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Collection, Command, train_arguments
from importers.lidc_phantoms import write_patients
from noduleclip import schema

if sys.platform == "win32":
    pytest.skip("makes pipes and links", allow_module_level=True)

MINE = "something of mine\n"
PLACES = "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2,0,0,0,5\n"
LISTED = f"{schema.CSV_ROW},{schema.DICOM_PATH},{schema.REJECT_CODE},{schema.REJECT_REASON}\n1,a.dcm,x,y\n"


@pytest.fixture(scope="module")
def commands(
    collection: Collection, checkpoint: Path, exported: Path, index: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    """The commands that write a folder, which comes last."""
    roi_csv = ["--roi-csv", collection.roi_csv]
    train = [
        argument for argument in train_arguments(collection, Path("OUT")) if argument not in ("--out", Path("OUT"))
    ]
    lidc = write_patients(tmp_path_factory.mktemp("outputs") / "LIDC-IDRI")
    prepare = ["prepare", "lidc", "--data-root", lidc]
    return {
        "split": ["split", *roi_csv, "--out"],
        "phantom": ["phantom", "--patients", 3, "--workers", 1, "--out"],
        "check": ["check", *roi_csv, "--workers", 1, "--out"],
        "train": [*train, "--out"],
        "embed": ["embed", *roi_csv, "--model", checkpoint, "--device", "cpu", "--limit", 9, "--out-dir"],
        "query": ["query", "--emb-dir", index, "--query", "> 6 mm", "--out"],
        "fuse": ["fuse", "--emb-dir", index, "--query", "> 6 mm", "--out"],
        "evaluate": ["evaluate", "--emb-dir", index, "--draws", 3, "--resamples", 10, "--out"],
        "prepare": [*prepare, "--workers", 1, "--out"],
        "merge": ["merge", "--out-dir"],
        "demo": ["demo", "--patients", 3, "--workers", 1, "--data-only", "--out"],
    }


COMMANDS = ("split", "phantom", "check", "train", "embed", "query", "fuse", "evaluate", "prepare", "merge", "demo")
WRITTEN = {
    "split": (schema.TRAIN_PATIENTS, schema.VAL_PATIENTS, schema.TEST_PATIENTS),
    "phantom": (schema.ROI_CSV, "anything"),
    "check": (schema.CHECK_REPORT, schema.REJECTS_CSV),
    "train": (
        schema.BEST_CHECKPOINT, schema.LAST_CHECKPOINT, schema.METRICS_LOG, schema.RUN_RECORD, schema.TRAINING_PAGE,
        schema.REJECTS_CSV,
    ),
    "embed": (
        schema.INDEX_MANIFEST, schema.EMBEDDINGS, schema.META, schema.TEXT_TOWER, schema.OUTLINES, schema.REJECTS_CSV,
    ),
    "query": (schema.TOP_K_CSV,),
    "fuse": (schema.TOP_K_CSV,),
    "evaluate": (schema.EVALUATION_JSON, schema.EVALUATION_PAGE),
    "prepare": (
        schema.ROI_CSV, schema.NODULES_CSV, schema.REJECTS_CSV, schema.PREPARE_JSON, schema.PREPARE_PAGE,
        *(f"{schema.SPLITS_FOLDER}/{name}" for name in (schema.TRAIN_PATIENTS, schema.VAL_PATIENTS)),
    ),
    "merge": (schema.INDEX_MANIFEST, schema.EMBEDDINGS, schema.META, schema.OUTLINES, schema.REJECTS_CSV),
    "demo": ("phantoms/mine.txt",),
}  # fmt: skip


@pytest.mark.parametrize(("name", "file"), [(name, file) for name in COMMANDS for file in WRITTEN[name]])
def test_a_file_of_that_name_is_kept_unless_overwrite_is_given(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path, name: str, file: str
) -> None:
    path = tmp_path / "out" / file
    path.parent.mkdir(parents=True)
    path.write_text(MINE)
    done = noduleclip(*commands[name], tmp_path / "out")
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1
    assert path.name in done.err or "phantoms" in done.err or "is not empty" in done.err
    assert path.read_text() == MINE
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == [path]


@pytest.mark.parametrize("name", ["train", "embed", "merge"])
def test_rejects_of_another_kind_are_kept_even_with_overwrite(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path, name: str
) -> None:
    (tmp_path / schema.REJECTS_CSV).write_text(MINE)
    done = noduleclip(*commands[name], tmp_path, "--overwrite")
    assert done.code == 2
    assert "rejects.csv: is not a list of rows that this command wrote; move it, or choose another folder" in done.err
    (tmp_path / schema.REJECTS_CSV).write_text(LISTED)
    (tmp_path / schema.CHECK_REPORT).write_text("{}")
    done = noduleclip(*commands[name], tmp_path)
    assert done.code == 2
    assert f"already holds {schema.REJECTS_CSV}; " in done.err
    assert (tmp_path / schema.REJECTS_CSV).read_text() == LISTED


def test_what_a_failed_run_listed_is_replaced_unasked(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path
) -> None:
    (tmp_path / schema.REJECTS_CSV).write_text(LISTED)
    done = noduleclip(*commands["embed"], tmp_path)
    assert done.code == 0, done.err
    assert not (tmp_path / schema.REJECTS_CSV).exists(), "all rows can be used now"
    again = noduleclip(*commands["embed"], tmp_path)
    assert again.err == f"error: {tmp_path} already holds {schema.INDEX_MANIFEST}; --overwrite replaces it\n"


@pytest.mark.parametrize("suffix", [".csv", ".html", ".parquet", ".JSON"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_is_not_named_like_a_file(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path, name: str, suffix: str
) -> None:
    done = noduleclip(*commands[name], tmp_path / f"topk{suffix}")
    assert done.code == 2
    assert re.search(rf"topk{suffix}: is the name of a file, and a folder is wanted: .+ written into it\n$", done.err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_is_no_folder(noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text(MINE)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place in ("file", "file/out", "file/out/deeper", "pipe", "link/out"):
        done = noduleclip(*commands[name], tmp_path / place)
        assert done.code == 2, done
        assert done.err.endswith("is a file, a folder is needed\n"), done.err
    assert (tmp_path / "file").read_text() == MINE
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_with_a_dot_in_its_name_is_one(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path
) -> None:
    (tmp_path / "there.csv").mkdir()
    for place in ("run.v1", "there.csv"):
        assert noduleclip(*commands["query"], tmp_path / place).code == 0
        assert (tmp_path / place / schema.TOP_K_CSV).is_file()


@pytest.mark.parametrize("name", ["query", "split", "evaluate", "check"])
def test_what_is_no_file_is_not_replaced(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path, name: str
) -> None:
    for kind in ("folder", "pipe"):
        path = tmp_path / kind / WRITTEN[name][0]
        path.parent.mkdir()
        if kind == "folder":
            path.mkdir()
        else:
            os.mkfifo(path)
        done = noduleclip(*commands[name], path.parent, "--overwrite")
        assert done.code == 2
        assert f"{path}: is no regular file and is not replaced" in done.err
        assert path.exists()


INPUTS: dict[str, tuple[str, Callable[[Path, Collection], list[Any]]]] = {
    "the table of prepare": (
        schema.NODULES_CSV,
        lambda file, data: ["prepare", "csv", "--data-root", data.folder, "--table", file, "--out"],
    ),
    "the table of split": (
        schema.TRAIN_PATIENTS,
        lambda file, _: ["split", "--roi-csv", file, "--out"],
    ),
    "a patient list": (
        schema.REJECTS_CSV,
        lambda file, data: ["check", "--roi-csv", data.roi_csv, "--patients-file", data.val, "--patients-file", file,
                            "--out"],
    ),
    "the rows of embed": (
        schema.REJECTS_CSV,
        lambda file, _: ["embed", "--roi-csv", file, "--out-dir"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("link", ["same", "hard link", "symbolic link"])
@pytest.mark.parametrize("name", INPUTS)
def test_no_result_replaces_an_input(
    noduleclip: Command, collection: Collection, tmp_path: Path, name: str, link: str
) -> None:
    file, arguments = INPUTS[name]
    (tmp_path / "out").mkdir()
    path = given = tmp_path / "out" / file
    path.write_text(PLACES)
    if link != "same":
        given = tmp_path / "given.csv"
        (given.hardlink_to if link == "hard link" else given.symlink_to)(path)
    done = noduleclip(*arguments(given, collection), tmp_path / "out", "--overwrite")
    assert done.code == 2
    assert re.search(rf"error: {tmp_path}/out: its {file} would replace --[a-z-]+ {given}; choose another", done.err)
    assert path.read_text() == PLACES


def test_results_do_not_go_among_the_slices(noduleclip: Command, collection: Collection, checkpoint: Path) -> None:
    data = collection.roi_csv.parent
    before = sorted(data.rglob("*"))
    for arguments in (
        ["embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--dicom-root", data, "--out-dir", data],
        ["split", "--roi-csv", collection.roi_csv, "--dicom-root", data / "dicom" / "..", "--out", data],
    ):
        done = noduleclip(*arguments)
        assert done.code == 2
        assert done.err == f"error: {data}: is also the --dicom-root; choose a folder of its own for results\n"
    assert sorted(data.rglob("*")) == before


@pytest.fixture
def search(noduleclip: Command, index: Path) -> Callable[..., Any]:
    """Query the index."""
    return lambda *more: noduleclip("query", "--emb-dir", index, "--query", "> 6 mm", "--topk", 3, *more)


@pytest.mark.parametrize(("option", "name"), [("--html", "hits.html"), ("--contact-sheet", "hits.png")])
def test_a_page_of_hits_replaces_nothing_unasked(
    search: Callable[..., Any], tmp_path: Path, option: str, name: str
) -> None:
    path = tmp_path / name
    path.write_text(MINE)
    done = search(option, path)
    assert (done.code, done.out) == (2, ""), "before the search"
    assert done.err == f"error: {path}: is already there; --overwrite replaces it\n"
    assert path.read_text() == MINE
    wanted = search(option, path, "--overwrite")
    assert wanted.code == 0, wanted.err
    assert path.read_bytes() != MINE.encode()
    (tmp_path / f"link-{name}").symlink_to("nowhere")
    (tmp_path / f"other-{name}").symlink_to(path)
    for link in (f"link-{name}", f"other-{name}"):
        for overwrite in ((), ("--overwrite",)):
            done = search(option, tmp_path / link, *overwrite)
            assert done.code == 2
            assert f"{option} {tmp_path / link}: is a link and is not replaced; give the file that it leads" in done.err
            assert (tmp_path / link).is_symlink()


@pytest.mark.parametrize(("option", "name"), [("--html", "hits.html"), ("--contact-sheet", "hits.png")])
def test_a_page_that_is_replaced_keeps_its_permissions(
    search: Callable[..., Any], tmp_path: Path, option: str, name: str
) -> None:
    (tmp_path / name).write_text(MINE)
    for mode in (0o600, 0o640, 0o444):
        (tmp_path / name).chmod(mode)
        assert search(option, tmp_path / name, "--overwrite").code == 0
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


@pytest.mark.parametrize(("option", "suffix"), [("--html", ".html"), ("--contact-sheet", ".png")])
def test_a_page_of_hits_goes_into_a_file_of_its_kind(
    search: Callable[..., Any], tmp_path: Path, option: str, suffix: str
) -> None:
    (tmp_path / "thesis.docx").write_text(MINE)
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    before = sorted(tmp_path.iterdir())
    refused = {
        tmp_path / "thesis.docx": "must end in ",
        tmp_path / "hits": "must end in ",
        "/dev/stdout": "must end in ",
        tmp_path / f"pipe{suffix}": "is no regular file",
        tmp_path / f"folder{suffix}": "is a folder, a file is needed",
        tmp_path / "thesis.docx" / f"hits{suffix}": "thesis.docx is a file, a folder is needed",
    }
    for path, message in refused.items():
        done = search(option, path, "--overwrite")
        assert (done.code, done.out) == (2, "")
        assert message in done.err
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / f"queries{suffix}").write_text("> 6 mm\n")
    (tmp_path / f"link{suffix}").hardlink_to(tmp_path / f"queries{suffix}")
    sentences = ("--patients-file", tmp_path / f"queries{suffix}")
    for path in (tmp_path / f"queries{suffix}", tmp_path / f"link{suffix}"):
        done = search(*sentences, option, path, "--overwrite")
        assert done.code == 2
        assert f"would replace --patients-file {tmp_path / f'queries{suffix}'}; choose another file" in done.err


def test_merge_removes_nothing_but_shards(
    noduleclip: Command, commands: dict[str, list[Any]], exported: Path, tmp_path: Path
) -> None:
    embedded = noduleclip(*commands["embed"], tmp_path, "--shard", "1/1")
    assert embedded.code == 0, embedded.err
    notes = tmp_path / schema.SHARDS_FOLDER / "1-of-1" / "notes.txt"
    notes.write_text(MINE)
    done = noduleclip("merge", "--out-dir", tmp_path, "--remove-shards")
    assert done.code == 0, done.err
    assert (
        f"warning: {notes}: is not part of a shard; the index is complete, and {notes.parents[1]} is left as it is"
        in done.err
    )
    assert notes.read_text() == MINE
    notes.unlink()
    assert noduleclip("merge", "--out-dir", tmp_path, "--remove-shards", "--overwrite").code == 0
    assert not notes.parents[1].exists()


def test_the_demo_removes_nothing_but_its_own(noduleclip: Command, tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "kept"
    demo = ("demo", "--out", out, "--data-only", "--patients", 3, "--workers", 1, "--overwrite")
    assert noduleclip(*demo).code == 0
    kept.mkdir()
    (kept / schema.ROI_CSV).write_text(MINE)
    for place in ("notes.txt", "dicom/PHANTOM-0001/notes.txt", "link"):
        path = out / "phantoms" / place
        if place == "link":
            path.symlink_to(kept)
        else:
            path.write_text(MINE)
        done = noduleclip(*demo)
        assert done.code == 2
        assert done.err == f"error: {path}: is not of the demo and would be removed; move it, or choose another --out\n"
        assert path.exists()
        path.unlink()
    shutil.move(out / "phantoms", tmp_path / "phantoms")
    (out / "phantoms").symlink_to(kept)
    assert noduleclip(*demo).code == 2
    assert (kept / schema.ROI_CSV).read_text() == MINE
    (out / "phantoms").unlink()
    assert noduleclip(*demo).code == 0
    pieces = out / "index" / schema.CHUNKS_FOLDER
    pieces.mkdir(parents=True)
    for name in ("thesis.tex", ".lock"):
        (pieces / name).write_text(MINE)
        done = noduleclip(*(one for one in demo if one != "--data-only"))
        assert done.code == 2
        assert done.err.startswith(f"error: {pieces / name}: is not of the demo and would be removed")
        assert (pieces / name).read_text() == MINE
        (pieces / name).unlink()
    (out / "cache").symlink_to(kept)
    assert "is a link or no folder" in noduleclip(*(one for one in demo if one != "--data-only")).err


KEY = "0" * 64


@pytest.mark.parametrize(
    "beside",
    [{".lock": ""}, {".pieces/.lock": ""}, {".pieces/notes.txt": MINE}, {".pieces/key": MINE}, {".pieces/0.npy": MINE},
     {".pieces/key": KEY, ".pieces/notes.txt": MINE}, {".pieces/key": KEY, ".pieces/deep/0.npy": MINE}],
    ids=["a lock", "an empty folder", "notes", "another key", "no key", "a key and notes", "a key and folders"],
)  # fmt: skip
def test_files_that_look_like_ours_do_not_make_a_folder_an_unfinished_one(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path, beside: dict[str, str]
) -> None:
    files = {schema.META: MINE, **beside}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = noduleclip(*commands["embed"], tmp_path)
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1
    assert all((tmp_path / name).read_text() == text for name, text in files.items() if text)
    if any(text == MINE for text in beside.values()):  # nor with --overwrite, which is for results
        done = noduleclip(*commands["embed"], tmp_path, "--overwrite")
        assert re.search(r"\.pieces/\S+: is not of embed, which keeps its chunks there; move it, or choose", done.err)
        assert all((tmp_path / name).read_text() == text for name, text in files.items() if text)


def test_what_a_killed_embed_left_is_gone_on_from(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path
) -> None:
    for name in (".lock", ".pieces/key", ".pieces/0.npy", ".pieces/.1024.npy.0123456789ab.part", schema.META):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(KEY if name.endswith("key") else "" if name == ".lock" else "half")
    done = noduleclip(*commands["embed"], tmp_path)
    assert done.code == 0, done.err
    assert not {path.name for path in tmp_path.iterdir()} & {".lock", schema.CHUNKS_FOLDER}


@pytest.mark.parametrize("kind", ["content", "pipe", "folder", "link", "dangling link", "hard link"])
@pytest.mark.parametrize("name", ["query", "phantom"])
def test_a_file_with_the_name_of_a_lock_is_kept(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path, name: str, kind: str
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    lock = tmp_path / ".out.lock" if name == "phantom" else out / ".lock"
    lock.parent.mkdir(exist_ok=True)
    other.touch()
    if kind == "content":
        lock.write_text(MINE)
    elif kind == "pipe":
        os.mkfifo(lock)
    elif kind == "folder":
        lock.mkdir()
    elif kind == "hard link":
        lock.hardlink_to(other)
    else:
        lock.symlink_to(other if kind == "link" else tmp_path / "nowhere")
    before = lock.lstat()
    done = noduleclip(*commands[name], out)
    assert done.code == 2, done
    assert done.err == (
        f"error: {lock}: is no lock of noduleclip, which needs that name; move it, or choose another folder\n"
    )
    assert (lock.lstat().st_ino, lock.lstat().st_size) == (before.st_ino, before.st_size)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("name", "link"),
    [("embed", ".pieces"), ("shard", "shards"), ("shard", "shards/1-of-1"), ("merge", "shards"),
     ("merge", "shards/1-of-1"), ("prepare", ".catalogue"), ("prepare", "splits")],
)  # fmt: skip
def test_no_folder_that_a_command_makes_is_a_link(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path, name: str, link: str
) -> None:
    out, target = tmp_path / "out", tmp_path / "target"
    (out / link).parent.mkdir(parents=True)
    target.mkdir()
    mine = {target / file: MINE for file in ("key", "0.npy", schema.META, ".a.csv.0123456789ab.part")}
    for path, text in mine.items():
        path.write_text(text)
    (out / link).symlink_to(target)
    arguments = [*commands["embed" if name == "shard" else name], out, *(["--shard", "1/1"] if name == "shard" else [])]
    done = noduleclip(*arguments, "--overwrite")
    assert done.code == 2, done
    assert done.err.splitlines()[-1] == (
        f"error: {out / link}: is a link or no folder, and is not written to; move it, or choose another folder"
    )
    assert {path: path.read_text() for path in target.iterdir()} == mine


def test_prepare_removes_no_parts_of_others(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path
) -> None:
    splits = tmp_path / schema.SPLITS_FOLDER
    splits.mkdir()
    (splits / ".film.mkv.part").write_text(MINE)
    (splits / f".{schema.TRAIN_PATIENTS}.0123456789ab.part").write_text("half")
    done = noduleclip(*commands["prepare"], tmp_path)
    assert done.code == 0, done.err
    assert [path.name for path in splits.iterdir() if path.name.startswith(".")] == [".film.mkv.part"]
