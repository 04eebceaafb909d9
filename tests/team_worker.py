"""One of several processes that train on discs: `team_worker.py FOLDER`, in the environment that a launcher gives.

In double precision, so that a difference is one of the mathematics. The first process then trains alone, too, and
keeps what both came to in FOLDER/seen.pt.
"""

import math
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from noduleclip import schema
from noduleclip.config import CropConfig, ModelConfig, TrainConfig
from noduleclip.engine.distributed import Team, join
from noduleclip.engine.train import Samples, Training
from noduleclip.machine import find_launch
from noduleclip.models.shared_norm import share_statistics

MODEL = ModelConfig(emb=8, text_width=16, text_layers=1, outline_width=8, crop=CropConfig(size_px=16))
# 26 nodules in batches of 9, 9 and 8, in parts of 5 and 4: no two shares need be alike
CONFIG = TrainConfig(
    epochs=4, bs=9, accumulate=2, prompts=8, rating_prompts=6, lr=1e-3, seed=7, cooldown_epochs=0, warmup_epochs=0.5
)


class Quiet:
    """Watches, and may stop a run after an epoch."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.records: list[dict[str, Any]] = []
        self._stop_after = stop_after

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        if self._stop_after is not None and epoch > self._stop_after:
            raise KeyboardInterrupt

    def on_epoch(self, record: dict[str, Any], is_best: bool) -> None:
        self.records.append(record)


def make_discs(count: int, seed: int) -> Samples:
    """Noisy discs; of every third the outline is not known."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 4 + 24 * torch.rand(count, generator=generator, dtype=torch.float32)
    side = 24
    places = (torch.arange(side) - (side - 1) / 2) * MODEL.crop.pixel_mm
    inside = torch.hypot(places[:, None], places[None, :]) < sizes.view(-1, 1, 1) / 2
    angles = torch.arange(8) * math.pi / 4
    corners = torch.stack([angles.cos(), angles.sin()], dim=1).view(1, 1, 8, 2)
    ratings = torch.randint(1, 6, (count, 1, 1), generator=generator).float()
    noise = 20 * torch.randn(count, side, side, generator=generator, dtype=torch.float32)
    return Samples(
        (torch.where(inside, 40, -900) + noise).to(torch.int16), sizes.unsqueeze(1), inside.to(torch.uint8) * 255,
        torch.arange(count) % 3 > 0, sizes.view(-1, 1, 1, 1) / 2 * corners, ratings, (schema.TEXTURE,),
    )  # fmt: skip


def train(out: Path, team: Team | None, config: TrainConfig = CONFIG, stop_after: int | None = None) -> dict[str, Any]:
    """Train from the start, or from where `out` stands; give curve, weights and averaged weights."""
    out.mkdir(exist_ok=True, parents=True)
    training = Training(
        make_discs(26, 0), make_discs(13, 1), MODEL, config, out, device=torch.device("cpu"), amp=None,
        fingerprint="discs", team=team,
    )  # fmt: skip
    if (out / "last.pth").exists():
        training.resume()
    watcher = Quiet(stop_after)
    try:
        training.run(watcher)
    except KeyboardInterrupt:
        assert stop_after is not None
    history = training.progress.history
    return {
        "loss": [line["loss"] for line in history], "val_map": [line["val_map"] for line in history],
        "model": training.model.state_dict(), "averaged": training.averaged.state_dict(),
    }  # fmt: skip


def normalise(team: Team) -> dict[str, Any]:
    """Return what batch normalisation makes of three samples over the processes, and of the whole."""
    seen: dict[str, Any] = {}
    whole = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(1)) * 3 + 40
    for name, values in (("one", whole), ("two", team.take(whole))):
        model = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())
        if name == "two":
            share_statistics(model, team.sum)
        given = values.clone().requires_grad_()
        made = model(given)
        (made * torch.arange(4.0).view(4, 1, 1)).square().sum().backward()
        weights = torch.cat([weight.grad for weight in model.parameters() if weight.grad is not None])
        first = {"made": made.detach(), "grad": given.grad, "weights": weights, "state": model.state_dict()}
        seen[name] = {**first, "evaluated": model.eval()(values).detach()}
    team.sum(seen["two"]["weights"])
    for part in ("made", "grad", "evaluated"):
        seen["one"][part] = team.take(seen["one"][part])
    return seen


def main(folder: Path) -> None:
    """Train together, then the first process alone."""
    warnings.simplefilter("error")
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]  # single precision is asked for
    team = join(find_launch())
    seen: dict[str, Any] = {"norm": normalise(team), "together": train(folder / "together", team)}
    few = replace(CONFIG, epochs=1, bs=2, accumulate=1)
    if team.size > 2:  # one process has nothing of a batch of two
        seen["few together"] = train(folder / "few_together", team, few)
    train(folder / "more", team, stop_after=2)
    team.share(lambda: train(folder / "fewer", None, stop_after=2) if team.leads else None)
    seen["1 to 2"] = train(folder / "fewer", team)
    end = {name: value for name, value in seen["together"].items() if name != "loss"}
    sums = [float(tensor.double().sum()) for tensor in end["model"].values()]
    assert team.agree(sums), "the processes came to other weights"
    if team.leads:
        seen |= {"alone": train(folder / "alone", None), "2 to 1": train(folder / "more", None)}
        if team.size > 2:
            seen["few alone"] = train(folder / "few_alone", None, few)
        torch.save(seen, folder / "seen.pt")
    team.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
