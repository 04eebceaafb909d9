"""`train` by several processes, as torchrun and srun start them."""

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
from noduleclip.models.checkpoint import load_model, read_checkpoint

pytestmark = pytest.mark.slow

BATCH_STATISTICS = 0.1  # on a CPU each process computes its own


def start_as_srun_does(arguments: list[object], size: int = 2) -> "list[subprocess.Popen[str]]":
    code = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"
    port = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.strip()
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1", "TERM": "dumb"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "noduleclip", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, **address, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank),
                 "SLURM_STEP_NUM_TASKS": str(size)},
        )
        for rank in range(size)
    ]  # fmt: skip


def run_by_torchrun(arguments: list[object]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    return subprocess.run(
        [*command, "noduleclip", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb"},
    )  # fmt: skip


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


def test_torchrun_makes_one_run_and_resumes_that_of_one_process(
    collection: Collection, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = run_by_torchrun(train_arguments(collection, out))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch   1/2") == done.stderr.count("device: cpu") == 1, done.stderr
    assert "Warning" not in done.stderr
    assert json.loads((out / schema.RUN_RECORD).read_text())["processes"] == 2
    one, two = (
        [json.loads(line)["loss"] for line in (folder / schema.METRICS_LOG).read_text().splitlines()]
        for folder in (checkpoint.parent, out)
    )
    assert two == pytest.approx(one, rel=BATCH_STATISTICS)
    patients = [read_checkpoint(folder / schema.BEST_CHECKPOINT)["patients"] for folder in (checkpoint.parent, out)]
    assert patients[0] == patients[1] and patients[0] is not None
    models = [load_model(folder / schema.BEST_CHECKPOINT) for folder in (checkpoint.parent, out)]
    assert models[0].state_dict().keys() == models[1].state_dict().keys()
    assert {path.name for path in out.iterdir()} == {path.name for path in checkpoint.parent.iterdir()}
    resumed = run_by_torchrun(train_arguments(collection, out, "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming after epoch 2 of 2" in resumed.stderr


def test_an_error_of_the_main_process_ends_all_with_one_message(collection: Collection, checkpoint: Path) -> None:
    arguments = train_arguments(collection, checkpoint.parent)
    processes = start_as_srun_does(arguments)
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert all(process.returncode for process in processes), errors
    assert "".join(errors).count("error: ") == 1
    assert errors[0].splitlines()[-1].endswith("--resume goes on from it, --overwrite starts again")
    under_torchrun = run_by_torchrun(arguments)
    assert under_torchrun.returncode != 0
    assert under_torchrun.stderr.count("error: ") >= 1


def test_a_dry_run_is_reported_once_and_writes_nothing(collection: Collection, tmp_path: Path) -> None:
    processes = start_as_srun_does(train_arguments(collection, tmp_path / "run", "--dry-run"))
    first, second = (process.communicate(timeout=120) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], (first, second)
    assert "training" in first[0]
    assert "rows can be used" in first[1]
    assert second == ("", "")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("sent", ["SIGKILL", "SIGINT"])
def test_a_process_that_ends_early_ends_the_others(collection: Collection, tmp_path: Path, sent: str) -> None:
    processes = start_as_srun_does(train_arguments(collection, tmp_path / "run", "--epochs", 200))
    last = tmp_path / "run" / schema.LAST_CHECKPOINT
    wait_for(last, processes[0])
    processes[1].send_signal(getattr(signal, sent))
    errors = [process.communicate(timeout=180)[1] for process in processes]
    assert processes[0].returncode == 3, errors
    assert processes[1].returncode in (130, -signal.SIGKILL)
    assert errors[0].splitlines()[-1].startswith("error: another training process ended early"), errors
    assert read_checkpoint(last)["progress"]["epoch"] >= 1


def test_a_wrong_command_line_is_reported_once(collection: Collection, tmp_path: Path) -> None:
    for wrong, message in ((("--epochs", "many"), "'many' is not a valid int"), (("--bs", 3), "--bs must be at least")):
        processes = start_as_srun_does(train_arguments(collection, tmp_path / "run", *wrong))
        errors = [process.communicate(timeout=180)[1] for process in processes]
        assert [process.returncode for process in processes] == [2, 2]
        assert message in errors[0]
        assert errors[1] == ""


@pytest.mark.parametrize(
    "task", [{"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "16", "SLURM_LOCALID": "3"}, {"RANK": "1"}]
)
@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "--roi-csv", "gone.csv", "--out-dir", "idx", "--shard", "4/16"),
        ("query", "--emb-dir", "gone", "--query", "> 6 mm"),
        ("train", "--roi-csv", "gone.csv", "--train-patients", "gone.txt", "--out", "run"),
    ],
)
def test_an_independent_task_reports_its_errors(
    noduleclip: Command, monkeypatch: pytest.MonkeyPatch, task: dict[str, str], arguments: tuple[str, ...]
) -> None:
    for name, value in task.items():
        monkeypatch.setenv(name, value)
    done = noduleclip(*arguments)
    assert done.code in (2, 3, 4)
    assert done.err.splitlines()[-1].startswith("error: ")


def test_the_first_process_of_each_machine_reports_errors(noduleclip: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("train", "--config", "gone.toml", "--roi-csv", "r.csv", "--train-patients", "all.txt", "--out", "run")
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    for rank, local_rank, shown in (("4", "0", True), ("5", "1", False)):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        assert ("gone.toml" in noduleclip(*arguments).err) == shown
