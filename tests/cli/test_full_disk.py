"""What every writing command does on a full disk, and in a folder that another one writes."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Collection, Command, mounted, train_arguments
from noduleclip import schema
from noduleclip.io import disk as disk_module
from noduleclip.io.output_folders import locking

pytestmark = pytest.mark.slow

BLOCK_BYTES = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "24m") as folder:
        yield folder


@pytest.fixture(scope="module")
def commands(collection: Collection, checkpoint: Path, exported: Path, index: Path) -> dict[str, list[Any]]:
    """The writing commands; the folder comes last."""
    train = [
        argument for argument in train_arguments(collection, Path("OUT")) if argument not in ("--out", Path("OUT"))
    ]
    return {
        "split": ["split", "--roi-csv", collection.roi_csv, "--out"],
        "phantom": ["phantom", "--patients", 3, "--workers", 1, "--out"],
        "train": [*train, "--out"],
        "embed": ["embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--device", "cpu", "--out-dir"],
        "query": ["query", "--emb-dir", index, "--query", "> 6 mm", "--out"],
        "fuse": ["fuse", "--emb-dir", index, "--query", "> 6 mm", "--out"],
        "describe": ["describe", "--emb-dir", index, "--out"],
        "evaluate": ["evaluate", "--emb-dir", index, "--draws", 3, "--resamples", 10, "--out"],
        "demo": ["demo", "--patients", 3, "--workers", 1, "--data-only", "--out"],
    }


def _fill(disk: Path, free_bytes: int) -> Path:
    """Leave so many bytes free."""
    filler = disk / "filler"
    filler.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - free_bytes)))
    return filler


def _read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("name", "free_bytes", "named", "fills_up"),
    [
        ("split", 0, schema.TRAIN_PATIENTS, False),
        ("split", 0, schema.TRAIN_PATIENTS, True),
        ("query", 0, schema.TOP_K_CSV, False),
        ("query", 0, schema.TOP_K_CSV, True),
        ("fuse", 0, schema.TOP_K_CSV, False),
        ("describe", 0, schema.ESTIMATES_CSV, False),
        ("evaluate", 5 * BLOCK_BYTES, schema.EVALUATION_PAGE, False),
        ("evaluate", 5 * BLOCK_BYTES, schema.EVALUATION_PAGE, True),
        ("embed", 9 * BLOCK_BYTES, schema.EMBEDDINGS, False),
        ("embed", 9 * BLOCK_BYTES, schema.TEXT_TOWER, True),
        ("embed", 0, schema.EMBEDDINGS, False),
        ("embed", 0, ".pieces/key", True),
        ("train", 99 * BLOCK_BYTES, schema.LAST_CHECKPOINT, False),
    ],
)
def test_a_full_disk_costs_nothing_but_the_run(
    noduleclip: Command,
    commands: dict[str, list[Any]],
    disk: Path,
    name: str,
    free_bytes: int,
    named: str,
    fills_up: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Told before the work; where the disk fills up meanwhile, once it does."""
    arguments = [*commands[name], disk / "out"]
    assert noduleclip(*arguments).code == 0
    old = _read(disk / "out")
    filler = _fill(disk, free_bytes)
    if fills_up:
        monkeypatch.setattr(disk_module, "_measure_free", lambda _: None)
    full = noduleclip(*arguments, "--overwrite")
    assert full.code == 3, full
    if fills_up or name in ("query", "fuse", "describe"):
        _expect_one_line(full.err, f"error: {disk / 'out' / named}: cannot be written, the disk is full")
    else:
        _expect_one_line(full.err, f"error: {disk / 'out' / named}: needs ", "free there; free some space")
        assert "decoded" not in full.err  # before any slice was
    assert " 0 " not in full.err.splitlines()[-1]
    left = _read(disk / "out")
    assert {path: content for path, content in left.items() if not path.startswith(".pieces")} == old
    filler.unlink()
    assert noduleclip(*arguments, "--overwrite").code == 0
    assert _read(disk / "out").keys() == old.keys()


@pytest.mark.parametrize("ending", [".mrk.json", ".json", ".xlsx", ".parquet"])
def test_a_full_disk_leaves_the_earlier_export(noduleclip: Command, index: Path, disk: Path, ending: str) -> None:
    export = ["query", "--emb-dir", index, "--query", "> 6 mm", "--export", disk / f"h{ending}"]
    assert noduleclip(*export, "--topk", 3).code == 0
    old = _read(disk)
    filler = _fill(disk, 0)
    full = noduleclip(*export, "--overwrite")
    assert full.code == 3, full
    _expect_one_line(full.err, f"error: {disk}", "cannot be written, the disk is full")
    assert full.out == ""
    filler.unlink()
    assert _read(disk) == old
    assert noduleclip(*export, "--overwrite").code == 0


def _expect_one_line(err: str, *parts: str) -> None:
    """Expect one line of error behind those that a command says on its way."""
    errors = [line for line in err.splitlines() if "error" in line]
    assert errors == err.splitlines()[-1:]
    assert all(part in errors[0] for part in parts), errors


@pytest.mark.parametrize("name", ["phantom", "embed", "train"])
def test_a_full_disk_leaves_no_half_of_what_is_new(
    noduleclip: Command, commands: dict[str, list[Any]], disk: Path, name: str
) -> None:
    arguments = [*commands[name], disk / "out"]
    filler = _fill(disk, 25 * BLOCK_BYTES)
    full = noduleclip(*arguments)
    assert full.code == 3, full
    _expect_one_line(full.err, f"error: {disk / 'out'}", "are free there; free some space")
    assert not [path for path in _read(disk) if path not in ("filler", "out/.pieces/key")]
    filler.unlink()
    assert noduleclip(*arguments).code == 0


@pytest.mark.parametrize("fills_up", [False, True])
def test_a_full_cache_is_told_of(
    noduleclip: Command,
    commands: dict[str, list[Any]],
    exported: Path,
    disk: Path,
    fills_up: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(exported / "encoders", disk / "cache" / "encoders")
    arguments = [*commands["embed"], disk.with_name("out"), "--cache-dir", disk / "cache"]
    filler = _fill(disk, BLOCK_BYTES)
    if fills_up:
        monkeypatch.setattr(disk_module, "_measure_free", lambda _: None)
    full = noduleclip(*arguments)
    assert full.code == 3, full
    told = "cannot be written, the disk is full: it needs " if fills_up else ": needs "
    _expect_one_line(full.err, f"error: {disk / 'cache'}", told)
    assert not list(disk.rglob("*.part"))
    filler.unlink()
    assert noduleclip(*arguments).code == 0


@pytest.mark.parametrize(
    "name", ["split", "phantom", "train", "embed", "query", "fuse", "describe", "evaluate", "demo"]
)
def test_a_folder_in_use_is_left_alone(
    noduleclip: Command, commands: dict[str, list[Any]], tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    with locking(out, pytest.fail, whole=name == "phantom"):
        before = sorted(tmp_path.rglob("*"))
        refused = noduleclip(*commands[name], out)
        assert sorted(tmp_path.rglob("*")) == before
    assert refused.code == 2
    message = "another noduleclip is writing there; wait until it has ended, or choose another folder"
    assert refused.err == f"error: {out}: {message}\n"


def test_what_goes_to_one_disk_is_summed_before_the_work(
    noduleclip: Command, commands: dict[str, list[Any]], exported: Path, disk: Path
) -> None:
    """The crops fit beside the embeddings alone, and both together do not; nothing is begun."""
    shutil.copytree(exported / "encoders", disk / "cache" / "encoders")
    arguments = [*commands["embed"], disk / "out", "--cache-dir", disk / "cache"]
    _fill(disk, 80 * BLOCK_BYTES)
    before = _read(disk)
    full = noduleclip(*arguments)
    assert full.code == 3, full
    places = f"{disk / 'cache'} and {disk / 'out' / schema.EMBEDDINGS}"
    _expect_one_line(full.err, f"error: {places}: together need ", "327,680 bytes are free there")
    assert _read(disk) == before


def test_merge_and_a_store_are_told_before_the_work(
    noduleclip: Command, commands: dict[str, list[Any]], disk: Path
) -> None:
    out = disk / "out"
    assert noduleclip(*commands["embed"], out, "--shard", "1/1").code == 0
    filler = _fill(disk, BLOCK_BYTES)
    full = noduleclip("merge", "--out-dir", out)
    assert full.code == 3, full
    _expect_one_line(full.err, f"error: {out}: needs ", "4,096 bytes are free there; free some space")
    assert "checking" not in full.err
    filler.unlink()
    assert noduleclip("merge", "--out-dir", out).code == 0
