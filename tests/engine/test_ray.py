"""Ray's actors make the index that one process makes, also when one of them is killed (`nox -s ray`)."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.engine import ray_engine
from noduleclip.io.index.open import open_index

pytestmark = pytest.mark.slow

BOX = ("bbox_xmin", "bbox_xmax")


@pytest.fixture
def with_ray(pytestconfig: pytest.Config) -> None:
    """What starts Ray is left out unless it is asked for."""
    if not pytestconfig.getoption("--ray"):
        pytest.skip("takes minutes: with --ray")
    pytest.importorskip("ray")


@pytest.fixture(scope="module")
def table(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms' ROIs moved about, on several chunks, some of them without a slice."""
    frame = pl.read_csv(collection.roi_csv)
    root = pl.lit(f"{collection.roi_csv.parent}/")
    frame = frame.with_columns((root + pl.col(schema.DICOM_PATH)).alias(schema.DICOM_PATH))
    moved = [frame.with_columns(pl.col(name) + step / 50 for name in BOX) for step in range(-(-4500 // frame.height))]
    rows = pl.concat(moved).head(4500).with_row_index(schema.ROW)
    lost = pl.col(schema.ROW).is_in([5, 1500, 4499])
    path = pl.when(lost).then(pl.lit("gone.dcm")).otherwise(pl.col(schema.DICOM_PATH)).alias(schema.DICOM_PATH)
    out = tmp_path_factory.mktemp("table") / "rois.csv"
    rows.with_columns(path).drop(schema.ROW).write_csv(out)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def find_workers(parent: int) -> list[int]:
    """Find Ray's actors that make chunks, among the processes that a process started, directly or not."""
    told = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 2) for line in told.splitlines()[1:]]
    parents = {int(pid): int(ppid) for pid, ppid, _ in lines}

    def is_ours(pid: int) -> bool:
        while pid in parents and pid != parent:
            pid = parents[pid]
        return pid == parent

    return [int(pid) for pid, _, name in lines if name.startswith("ray::MapWorker") and is_ours(int(pid))]


@pytest.mark.usefixtures("with_ray")
def test_a_killed_worker_costs_nothing(
    table: Path, checkpoint: Path, exported: Path, noduleclip: Command, tmp_path: Path
) -> None:
    arguments = [
        "embed", "--roi-csv", table, "--model", checkpoint, "--device", "cpu", "--cache-dir", exported, "--bs", 7,
    ]  # fmt: skip
    done = noduleclip(*arguments, "--out-dir", tmp_path / "whole")
    assert done.code == 0, done.err
    command = [sys.executable, "-m", "noduleclip", *map(str, arguments), "--out-dir", str(tmp_path / "ray")]
    command += ["--engine", "ray", "--workers", "2", "--cache-dir", str(tmp_path / "cache")]
    killed: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            if not killed and any((tmp_path / "ray" / ".pieces").glob("*.npy")):
                killed = find_workers(process.pid)[:1]
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert killed, "no worker was found to kill"
    assert out == ""
    assert contents(tmp_path / "ray") == contents(tmp_path / "whole")
    assert pl.read_csv(tmp_path / "ray" / schema.REJECTS_CSV)[schema.CSV_ROW].to_list() == [6, 1501, 4500]


@pytest.mark.usefixtures("with_ray")
def test_actors_write_the_fragments_of_a_store(
    table: Path, checkpoint: Path, exported: Path, noduleclip: Command, tmp_path: Path
) -> None:
    pytest.importorskip("lance")
    arguments = [
        "embed", "--roi-csv", table, "--model", checkpoint, "--device", "cpu", "--cache-dir", exported, "--bs", 7,
    ]  # fmt: skip
    done = noduleclip(*arguments, "--store", f"lance://{tmp_path / 'whole'}")
    assert done.code == 0, done.err
    command = [sys.executable, "-m", "noduleclip", *map(str, arguments), "--store", f"lance://{tmp_path / 'ray'}"]
    run = subprocess.run([*command, "--engine", "ray", "--workers", "2"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    one, many = (open_index(f"lance://{tmp_path / name}") for name in ("whole", "ray"))
    assert one.manifest == many.manifest
    assert (one.embeddings[0 : len(one.embeddings)] == many.embeddings[0 : len(many.embeddings)]).all()
    assert one.collect(one.scan()).equals(many.collect(many.scan()))
    assert one.read_outlines(range(20)) == many.read_outlines(range(20))


def in_process(
    actor: type, arguments: tuple[object, ...], items: Sequence[dict[str, int]], *_: object
) -> Iterator[dict[str, Any]]:
    """What Ray's actors do, by one of them in this process."""
    made = actor(*arguments)
    for item in items:
        done = made({name: np.array([value]) for name, value in item.items()})
        yield {name: values[0] for name, values in done.items()}


def test_an_actor_writes_what_a_process_writes(
    table: Path, checkpoint: Path, exported: Path, noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimates of a nodule, too, are those of one process; Ray itself is not needed."""
    pytest.importorskip("lance")
    monkeypatch.setattr(ray_engine, "_map", in_process)
    arguments = [
        "embed", "--roi-csv", table, "--model", checkpoint, "--device", "cpu", "--cache-dir", exported, "--bs", 7,
        "--unit", "outline",
    ]  # fmt: skip
    for name, engine in (("whole", "local"), ("ray", "ray")):
        store = f"lance://{tmp_path / name}"
        done = noduleclip(*arguments, "--engine", engine, "--store", store, "--workers", 1)
        assert done.code == 0, done.err
    one, many = (open_index(f"lance://{tmp_path / name}") for name in ("whole", "ray"))
    assert schema.ESTIMATED_DIAMETER in one.scan().collect_schema().names()
    assert one.collect(one.scan()).equals(many.collect(many.scan()))
    assert (one.embeddings[0 : len(one.embeddings)] == many.embeddings[0 : len(many.embeddings)]).all()


DEADLY_SLICE = """
import os
import noduleclip.io.crop_cache as module

cut = module.cut_slice

def cut_or_die(job, settings):
    if os.path.basename(job.path) == {name!r}:
        os._exit(1)
    return cut(job, settings)

module.cut_slice = cut_or_die
"""


@pytest.fixture
def ray_embed(
    collection: Collection, checkpoint: Path, exported: Path, with_ray: None
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`embed --engine ray` as a user starts it, with more in its environment."""

    def run(*more: object, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        arguments = [
            "embed", "--model", checkpoint, "--device", "cpu", "--cache-dir", exported, "--engine", "ray",
            "--workers", 1, *more,
        ]  # fmt: skip
        command = [sys.executable, "-m", "noduleclip", *map(str, arguments)]
        environ = {**os.environ, **(environment or {})}
        return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=240, check=False)

    return run


def test_a_slice_that_crashes_every_worker_rejects_its_rows(
    ray_embed: Callable[..., "subprocess.CompletedProcess[str]"], collection: Collection, tmp_path: Path
) -> None:
    frame = pl.read_csv(collection.roi_csv)
    deadly = tmp_path / "deadly.dcm"
    shutil.copyfile(collection.roi_csv.parent / frame[0, schema.DICOM_PATH], deadly)
    paths = [str(collection.roi_csv.parent / path) for path in frame[schema.DICOM_PATH]]
    paths[2] = str(deadly)
    frame.with_columns(pl.Series(schema.DICOM_PATH, paths)).write_csv(tmp_path / "rois.csv")
    (tmp_path / "sitecustomize.py").write_text(DEADLY_SLICE.format(name=deadly.name))
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = ray_embed(
        "--roi-csv", tmp_path / "rois.csv", "--out-dir", tmp_path / "out", "--max-rejects", 0.1,
        environment={"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rejects = pl.read_csv(tmp_path / "out" / schema.REJECTS_CSV)
    assert rejects[schema.CSV_ROW].to_list() == [3]
    assert rejects[0, schema.REJECT_REASON] == f"{deadly.name}: its decoder ended the process"


def test_a_failed_start_of_ray_is_an_error_of_one_line(
    ray_embed: Callable[..., "subprocess.CompletedProcess[str]"], collection: Collection, tmp_path: Path
) -> None:
    arguments = ["--roi-csv", collection.roi_csv, "--out-dir", tmp_path / "out"]
    long = tmp_path / ("a" * 60) / ("b" * 60)
    long.mkdir(parents=True)
    done = ray_embed(*arguments, environment={"TMPDIR": str(long)})
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"error: {long}: is too long a name for Ray's sockets; give it a shorter folder with RAY_TMPDIR=/tmp"
    )
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"):
        done = ray_embed(*arguments, "--ray-address", address)
        assert done.returncode == 2, done.stderr
        assert f"error: --ray-address {address}: no cluster answers there" in done.stderr


def test_without_ray_it_says_what_to_install(
    collection: Collection, checkpoint: Path, exported: Path, noduleclip: Command, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", None)
    done = noduleclip(
        "embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--device", "cpu", "--cache-dir", exported,
        "--out-dir", tmp_path / "ray", "--engine", "ray",
    )  # fmt: skip
    assert done.code == 2
    assert '--engine ray needs Ray: pip install "noduleclip[ray]"' in done.err
    assert importlib.util.find_spec("noduleclip.engine.ray_engine") is not None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--engine", "ray", "--shard", "1/2"], "--shard and --engine ray both divide the work"),
        (["--ray-address", "auto"], "--ray-address auto is of no use without --engine ray"),
    ],
)
def test_options_that_contradict_each_other(
    collection: Collection, noduleclip: Command, tmp_path: Path, more: list[str], said: str
) -> None:
    done = noduleclip("embed", "--roi-csv", collection.roi_csv, "--out-dir", tmp_path / "x", *more)
    assert done.code == 2
    assert said in done.err
