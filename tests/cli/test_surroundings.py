"""Odd places to run in: locales, closed streams, no home, folders with strange names, clocks that are wrong."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.io.index.open import open_index

pytestmark = pytest.mark.slow

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command in a process with a bare environment, which a test adds to."""

    def start(*arguments: object, close: int | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        environment = kept | {"HOME": str(tmp_path / "home")} | variables
        command = [sys.executable, "-m", "noduleclip", *map(str, arguments)]
        shell = ["sh", "-c", f'exec "$@" {close}>&-', "sh"] if close is not None else []
        return subprocess.run([*shell, *command], capture_output=True, text=True, env=environment, check=False)

    return start


def test_nothing_is_told_to_the_maker_of_a_library(
    run: Run, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    """ONNX Runtime keeps an id of the machine where it sends telemetry; without CI in the environment it would."""
    (tmp_path / "home").mkdir()
    made = ("--out-dir", tmp_path / "index", "--cache-dir", exported, "--device", "cpu")
    done = run("embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, *made)
    assert done.returncode == 0, done.stderr
    written = [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert written == ["own-indexes.txt"]  # io/own_indexes.py; no id of the machine


def test_a_locale_of_few_characters(run: Run, index: Path) -> None:
    bare = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run("query", "--emb-dir", index, "--query", ">= 6 mm", "--format", "table", **bare)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    refused = run("query", "--emb-dir", index, "--query", "≥ 6 mm", **bare)
    assert refused.returncode == 2
    assert "characters that this locale cannot read; set LC_ALL=C.UTF-8" in refused.stderr
    assert run("query", "--emb-dir", index, "--query", "≥ 6 mm", LC_ALL="C").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [(("--help",), 1), (("doctor",), 1), (("query", "--format", "csv"), 1), (("query", "--format", "table"), 2)],
)
def test_closed_streams(run: Run, index: Path, arguments: tuple[str, ...], closed: int) -> None:
    more = ("--emb-dir", index, "--query", "> 6 mm") if arguments[0] == "query" else ()
    done = run(*arguments, *more, close=closed)
    assert done.returncode == 0
    assert "Traceback" not in done.stdout + done.stderr


def test_no_home_to_keep_crops_in(run: Run, collection: Collection, tmp_path: Path) -> None:
    done = run("embed", "--roi-csv", collection.roi_csv, "--out-dir", tmp_path / "index", HOME="/dev/null/x")
    assert done.returncode == 3
    assert "/dev/null/x/.cache/noduleclip/crops: crops cannot be kept there (Not a directory)" in done.stderr
    assert done.stderr.endswith("name another folder with --cache-dir\n")


def test_a_full_output_is_told(index: Path) -> None:
    command = [sys.executable, "-m", "noduleclip", "query", "--emb-dir", str(index), "--query", "> 6 mm"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "error: the output: No space left on device"


NAMES = [
    "with space", "quote's \"both\"", "ünïcödé ä 结节", "-dash", "n" * 200 + "/" + "m" * 100, "a;b|c&d$e", "[bold]*[/]",
]  # fmt: skip


def copy_collection(collection: Collection, folder: Path) -> int:
    """Copy the phantoms' slices and their table into one folder: give the number of slices."""
    frame = pl.read_csv(collection.roi_csv)
    names = {path: f"{at}.dcm" for at, path in enumerate(frame[schema.DICOM_PATH].unique(maintain_order=True))}
    for path, name in names.items():
        (folder / name).write_bytes((collection.roi_csv.parent / path).read_bytes())
    frame.with_columns(pl.col(schema.DICOM_PATH).replace_strict(names)).write_csv(folder / "rois.csv")
    return len(names)


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:12])
def test_folders_with_strange_names(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    (folder / "in").mkdir(parents=True)
    copy_collection(collection, folder / "in")
    done = noduleclip(
        "embed", "--roi-csv", folder / "in" / "rois.csv", "--model", checkpoint, "--out-dir", folder / "index",
        "--cache-dir", exported,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert f"in {folder / 'index'}" in done.err
    found = noduleclip("fuse", "--emb-dir", folder / "index", "--query", "> 6 mm", "--out", folder / "hits")
    assert found.code == 0, found.err
    assert pl.read_csv(folder / "hits" / schema.TOP_K_CSV, glob=False).height == 10


def test_files_from_the_future_and_a_clock_set_back(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    """Nothing compares a file's time with the clock: a slice of 2099 is cut once and found again in 1971."""
    slices = copy_collection(collection, tmp_path)
    for path in tmp_path.glob("*.dcm"):
        os.utime(path, (4_070_908_800, 4_070_908_800))
    arguments = ("embed", "--roi-csv", tmp_path / "rois.csv", "--model", checkpoint, "--cache-dir", exported)
    first = noduleclip(*arguments, "--out-dir", tmp_path / "one")
    assert f"{slices} decoded, 0 from the cache" in first.err
    for path in exported.rglob("*"):
        os.utime(path, (31_536_000, 31_536_000))
    second = noduleclip(*arguments, "--out-dir", tmp_path / "two")
    assert f"0 decoded, {slices} from the cache" in second.err
    assert (open_index(tmp_path / "one").embeddings == open_index(tmp_path / "two").embeddings).all()


def test_used_up_memory_is_one_line(noduleclip: Command, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def use_up(_folder: Path) -> None:
        raise MemoryError

    monkeypatch.setattr("noduleclip.workflows.stored_index.open_index", use_up)
    done = noduleclip("query", "--emb-dir", index, "--query", "> 6 mm")
    assert done.code == 3
    assert done.err.startswith("error: the memory is used up; try fewer --workers")


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_window_of_no_width_still_gets_a_table(run: Run, index: Path, columns: str) -> None:
    done = run("query", "--emb-dir", index, "--query", "> 6 mm", "--format", "table", COLUMNS=columns)
    assert done.returncode == 0, done.stderr
    assert "probability" in done.stdout
    assert done.stdout.count("✓") + done.stdout.count("✗") == 10


@pytest.mark.parametrize("threads", ["0", "many", "-1"])
def test_a_number_of_threads_that_polars_does_not_take_is_one_line(run: Run, index: Path, threads: str) -> None:
    done = run("query", "--emb-dir", index, "--query", "> 6 mm", POLARS_MAX_THREADS=threads)
    assert done.returncode == 2
    assert done.stderr == f"error: the environment has POLARS_MAX_THREADS={threads}; a number from 1 is needed\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a working folder from being deleted")
def test_a_deleted_working_folder_is_named(index: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = f"{shlex.quote(sys.executable)} -m noduleclip query --emb-dir {index} --query '> 6 mm' --out out"
    done = subprocess.run(
        ["sh", "-c", f"rmdir ../gone && {command}"], cwd=tmp_path / "gone", capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stderr.endswith("error: the working folder is no longer there; change to another one\n")


def test_an_unreadable_slice_is_not_counted_as_decoded(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    slices = copy_collection(collection, tmp_path)
    next(tmp_path.glob("*.dcm")).write_bytes(b"no DICOM")
    arguments = ("embed", "--roi-csv", tmp_path / "rois.csv", "--model", checkpoint, "--cache-dir", exported)
    done = noduleclip(*arguments, "--out-dir", tmp_path / "index", "--max-rejects", "0.5")
    assert done.code == 0, done.err
    assert f"{slices - 1} decoded, 0 from the cache, 1 unreadable" in done.err
