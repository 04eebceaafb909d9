"""Several processes are one: the same curve, weights and batch statistics, on a store of this machine."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from noduleclip.engine.distributed import Team
from noduleclip.errors import UsageError
from noduleclip.machine import Launch, find_launch
from noduleclip.models.shared_norm import share_statistics

pytestmark = pytest.mark.slow

WORKER = Path(__file__).parents[1] / "team_worker.py"
DOUBLE = 1e-8  # over a dozen steps of AdamW, in double precision; a wrong weight of a share shows at 1e-2


@pytest.fixture(scope="module")
def free_port() -> int:
    """A port of this machine that nobody listens at."""
    code = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


@pytest.fixture(scope="module")
def seen(free_port: int, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes, one process, and changes between them came to."""
    folder = tmp_path_factory.mktemp("team")
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(folder)], stderr=subprocess.PIPE, text=True,
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [worker.communicate(timeout=300)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert said == ["", ""]
    values: dict[str, Any] = torch.load(folder / "seen.pt", weights_only=True)
    return values


@pytest.mark.parametrize("run", ["together", "1 to 2", "2 to 1"])
def test_two_processes_give_curve_and_weights_of_one(run: str, seen: dict[str, Any]) -> None:
    """From the start, and resumed half way with another number of processes."""
    assert seen[run]["loss"] == pytest.approx(seen["alone"]["loss"], abs=2e-6)
    assert seen[run]["val_map"] == pytest.approx(seen["alone"]["val_map"], abs=2e-6)
    for part in ("model", "averaged"):
        assert seen[run][part].keys() == seen["alone"][part].keys()
        for name, tensor in seen["alone"][part].items():
            torch.testing.assert_close(seen[run][part][name], tensor, rtol=DOUBLE, atol=DOUBLE)


def test_batch_statistics_are_those_of_all_processes(seen: dict[str, Any]) -> None:
    """Values, gradients, running statistics and what they give in evaluation, of two samples here and one there."""
    one, two = seen["norm"]["one"], seen["norm"]["two"]
    assert list(one["state"]) == list(two["state"])
    for name in ("made", "grad", "weights", "evaluated"):
        torch.testing.assert_close(two[name], one[name], rtol=1e-10, atol=1e-10)
    for name, tensor in one["state"].items():
        torch.testing.assert_close(two["state"][name], tensor, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", [(6, 3), (6, 3, 4, 5)])
def test_the_own_normalisation_is_torchs(shape: tuple[int, ...], momentum: float | None) -> None:
    """Where there is nobody to sum with; memory stays in the order that it came in."""
    kind = nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d
    theirs, ours = (nn.Sequential(kind(3, momentum=momentum).double()) for _ in range(2))
    share_statistics(ours, lambda values: values)
    values = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5 + 2
    if len(shape) == 4:
        values = values.to(memory_format=torch.channels_last)
    for _ in range(2):
        given = [values.clone().requires_grad_() for _ in range(2)]
        made = [norm(one) for norm, one in zip((theirs, ours), given, strict=True)]
        for one in made:
            one.pow(3).sum().backward()
        torch.testing.assert_close(made[1], made[0])
        torch.testing.assert_close(given[1].grad, given[0].grad)
        assert made[1].stride() == made[0].stride()
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(values), theirs.eval()(values))


def test_what_is_dealt_out_is_everything_once() -> None:
    samples = torch.arange(7)
    for size in (1, 2, 3, 9):
        shares = [_place(rank, size).take(samples) for rank in range(size)]
        assert torch.cat(shares).tolist() == list(range(7))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def _place(rank: int, size: int) -> Team:
    team = Team()
    team.launch = Launch(rank, size, rank)
    return team


def test_a_launch_is_found_where_a_launcher_left_it() -> None:
    met = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    slurm = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"}
    assert find_launch({}) == Launch()
    assert find_launch({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", **met, **slurm}) == Launch(3, 4, 1)
    assert find_launch({**slurm, **met}) == Launch(3, 4, 1)
    assert find_launch(slurm) == Launch()
    assert find_launch({**met, "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) == Launch()


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, "RANK=0, WORLD_SIZE=2, LOCAL_RANK=; a launcher sets all three to numbers"),
        ({"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"}, "0 <= LOCAL_RANK <= RANK < WORLD_SIZE is needed"),
        ({"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}, "but not MASTER_ADDR and MASTER_PORT"),
    ],
)
def test_half_a_launch_is_refused(environment: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        find_launch(environment)


def test_each_process_of_a_machine_takes_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    team = _place(1, 2)
    team._turns = [0, 2]
    for cards, wanted, name in ((2, "auto", "cuda:1"), (2, "cuda", "cuda:1"), (0, "auto", "cpu"), (2, "cpu", "cpu")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda cards=cards: cards)
        assert team.choose_device_name(wanted) == name
    with pytest.raises(UsageError, match="several processes take auto, cuda or cpu"):
        team.choose_device_name("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match=r"process 2 of its machine sees 1 card\(s\); start one for each"):
        team.choose_device_name("auto")
