"""`train` by several processes, as torchrun and srun start them: one speaks, one writes, and all end alike."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import Collection, Command, train_arguments
from noduleclip import schema
from noduleclip.cli import together
from noduleclip.models.checkpoint import load_model, read_checkpoint

pytestmark = pytest.mark.slow

SINGLE = 0.01  # AdamW's first steps turn rounding into steps; tests/engine/test_distributed.py is exact


def test_a_process_that_met_others_ends_without_pythons_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    """In which gloo's threads aborted one run in four, after all was written."""
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with pytest.raises(SystemExit, match="2"):
        together.leave_process(2)
    monkeypatch.setattr(together, "_has_met_the_others", True)
    with pytest.raises(SystemExit, match="3"):  # the real one would not have come back
        together.leave_process(3)
    assert ended == [3]


def find_port() -> str:
    code = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip()


def start_as_srun_does(arguments: list[object], size: int = 2) -> "list[subprocess.Popen[str]]":
    met = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": find_port(), "OMP_NUM_THREADS": "1", "TERM": "dumb"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "noduleclip", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, **met, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank),
                 "SLURM_STEP_NUM_TASKS": str(size)},
        )
        for rank in range(size)
    ]  # fmt: skip


def test_torchrun_gives_the_run_of_one_process(collection: Collection, checkpoint: Path, tmp_path: Path) -> None:
    arguments = [str(argument) for argument in train_arguments(collection, tmp_path / "run")]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = subprocess.run(
        [*command, "noduleclip", *arguments], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch   1/2") == done.stderr.count("device: cpu") == 1, done.stderr
    assert "Warning" not in done.stderr
    record = json.loads((tmp_path / "run" / schema.RUN_RECORD).read_text())
    assert record["processes"] == 2
    one, two = (
        [json.loads(line) for line in (folder / schema.METRICS_LOG).read_text().splitlines()]
        for folder in (checkpoint.parent, tmp_path / "run")
    )
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=SINGLE)
    models = [load_model(folder / schema.BEST_CHECKPOINT) for folder in (checkpoint.parent, tmp_path / "run")]
    assert models[0].state_dict().keys() == models[1].state_dict().keys()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in checkpoint.parent.iterdir()}


def test_what_one_process_may_not_ends_all_in_one_message(
    collection: Collection, checkpoint: Path, tmp_path: Path
) -> None:
    processes = start_as_srun_does(train_arguments(collection, checkpoint.parent))
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2], said
    assert said[0].splitlines()[-1].endswith("--resume goes on from it, --overwrite starts again")
    assert said[1] == ""


def test_a_dry_run_is_told_once_and_writes_nothing(collection: Collection, tmp_path: Path) -> None:
    processes = start_as_srun_does(train_arguments(collection, tmp_path / "run", "--dry-run"))
    first, second = (process.communicate(timeout=120) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], (first, second)
    assert "training" in first[0]
    assert "all 84 rows can be used" in first[1]
    assert second == ("", "")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupt_of_one_process_ends_all(collection: Collection, tmp_path: Path) -> None:
    processes = start_as_srun_does(train_arguments(collection, tmp_path / "run", "--epochs", 200))
    last = tmp_path / "run" / schema.LAST_CHECKPOINT
    deadline = time.monotonic() + 120
    while not last.exists() and processes[0].poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGINT)
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [130, 130], said
    assert "".join(said).count("error: ") == 1, said
    assert said[1].startswith("error: interrupted; what was finished is kept"), said
    assert read_checkpoint(last)["progress"]["epoch"] >= 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_process_ends_the_others_with_a_line(collection: Collection, tmp_path: Path) -> None:
    processes = start_as_srun_does(train_arguments(collection, tmp_path / "run", "--epochs", 200))
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / schema.LAST_CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    processes[1].kill()
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert processes[0].returncode == 3, said
    assert said[0].splitlines()[-1].startswith("error: another of the processes that train together has gone"), said


def test_a_command_line_that_all_read_is_refused_once(collection: Collection, tmp_path: Path) -> None:
    processes = start_as_srun_does(train_arguments(collection, tmp_path / "run", "--epochs", "many"))
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    assert "'many' is not a valid int" in said[0]
    assert said[1] == ""


@pytest.mark.parametrize(
    "task", [{"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "16", "SLURM_LOCALID": "3"}, {"RANK": "1"}]
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "--roi-csv", "gone.csv", "--out-dir", "idx", "--shard", "4/16"),
        ("merge", "--out-dir", "gone"),
        ("query", "--emb-dir", "gone", "--query", "> 6 mm"),
        ("train", "--roi-csv", "gone.csv", "--train-patients", "gone.txt", "--out", "run"),
        ("query", "--no-such-option"),
    ],
)
def test_a_task_that_is_alone_tells_its_errors(
    noduleclip: Command, monkeypatch: pytest.MonkeyPatch, task: dict[str, str], arguments: tuple[str, ...]
) -> None:
    for name, value in task.items():
        monkeypatch.setenv(name, value)
    done = noduleclip(*arguments)
    assert done.code in (2, 3, 4)
    assert done.err.splitlines()[-1].startswith("error: ")


def test_the_first_of_another_machine_tells_what_is_wrong_there(
    noduleclip: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "8"}
    for name, value in {**met, "RANK": "4", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    arguments = (
        "train",
        "--config",
        "gone.toml",
        "--roi-csv",
        "rois.csv",
        "--train-patients",
        "all.txt",
        "--out",
        "run",
    )
    assert "gone.toml" in noduleclip(*arguments).err
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert noduleclip(*arguments).err == ""
