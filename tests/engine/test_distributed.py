"""Two processes train like one, where nothing depends on batch statistics."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from noduleclip.engine.distributed import DistributedContext
from noduleclip.errors import UsageError
from noduleclip.machine import ProcessInfo, find_process_info

WORKER = Path(__file__).parents[1] / "distributed_worker.py"
DOUBLE = 1e-8  # over six steps of AdamW in double precision; a wrong weight of a shard shows at 1e-2


@pytest.mark.slow
def test_two_processes_reach_the_curve_and_weights_of_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(WORKER)]
    done = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen = torch.load(tmp_path / "seen.pt", weights_only=True)
    together, alone = seen["together"], seen["alone"]
    assert together["loss"] == pytest.approx(alone["loss"], abs=2e-6)
    assert together["val_map"] == pytest.approx(alone["val_map"], abs=2e-6)
    for part in ("model", "averaged"):
        assert together[part].keys() == alone[part].keys()
        for name, tensor in alone[part].items():
            torch.testing.assert_close(together[part][name], tensor, rtol=DOUBLE, atol=DOUBLE)


def test_shards_contain_every_sample_once() -> None:
    samples = torch.arange(7)
    for size in (1, 2, 3):
        shards = [DistributedContext(rank, size).shard(samples) for rank in range(size)]
        assert torch.cat(shards).tolist() == list(range(7))
        assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_the_launcher_is_found_in_the_environment() -> None:
    address = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    slurm = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"}
    assert find_process_info({}) == ProcessInfo()
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    assert find_process_info({**torchrun, **address, **slurm}) == ProcessInfo(3, 4, 1)
    assert find_process_info({**slurm, **address}) == ProcessInfo(3, 4, 1)
    assert find_process_info(slurm) == ProcessInfo()
    assert find_process_info({**address, "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) == ProcessInfo()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"WORLD_SIZE": "2", "RANK": "0"},
            r"RANK=0, WORLD_SIZE=2, LOCAL_RANK=; a launcher \(torchrun, srun\) sets all",
        ),
        ({"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"}, "0 <= LOCAL_RANK <= RANK < WORLD_SIZE is needed"),
        ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}, "but not MASTER_ADDR and MASTER_PORT"),
    ],
)
def test_an_incomplete_environment_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_process_info(environment)


def test_each_process_of_a_machine_has_a_cuda_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    context = DistributedContext(1, 2, 1)
    for count, wanted, name in ((2, "auto", "cuda:1"), (2, "cuda", "cuda:1"), (0, "auto", "cpu"), (2, "cpu", "cpu")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert context.choose_device(wanted) == name
    with pytest.raises(UsageError, match="several processes take auto, cuda or cpu"):
        context.choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert context.choose_device("auto") == "cuda:0"  # srun shows each task its own
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"process 2 of its machine, which has 1 CUDA device\(s\); start one for each"):
        context.choose_device("auto")
