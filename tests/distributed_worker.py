"""One process of a distributed run on discs: `distributed_worker.py FOLDER`, in the environment of a launcher.

In double precision and without batch normalisation, so that only a defect can make a difference. The main process then
trains alone, and saves the results of both in FOLDER/seen.pt.
"""

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from discs import make_discs
from noduleclip import schema
from noduleclip.config import CropConfig, ModelConfig, TrainConfig
from noduleclip.engine.distributed import DistributedContext, init_process_group
from noduleclip.engine.training_loop import TrainingLoop
from noduleclip.engine.training_state import TrainingState
from noduleclip.machine import find_process_info

MODEL = ModelConfig(
    backbone="test_vit", emb=8, text_width=16, text_layers=1, outline_width=8, crop=CropConfig(size_px=32)
)
# 26 nodules in batches of 9, 9 and 8, in micro-batches of 5 and 4: shards of unequal length
CONFIG = TrainConfig(
    epochs=2, bs=9, accumulate=2, prompts=8, rating_prompts=6, lr=1e-3, seed=7, cooldown_epochs=0, warmup_epochs=0.5
)


def train(out: Path, context: DistributedContext) -> dict[str, Any]:
    """Train from the start or from `last.pth`; return curve, weights and averaged weights."""
    out.mkdir(exist_ok=True, parents=True)
    device, generator = torch.device("cpu"), torch.Generator().manual_seed(0)
    samples = replace(
        make_discs(26, 0, MODEL.crop),
        outlined=torch.arange(26) % 3 > 0,
        ratings=torch.randint(1, 6, (26, 1, 1), generator=generator).float(),
        attributes=(schema.TEXTURE,),
    )
    state = TrainingState(MODEL, CONFIG, samples, device=device, context=context)
    loop = TrainingLoop(state, samples, make_discs(13, 1, MODEL.crop), out, device=device, context=context)
    if (out / "last.pth").exists():
        state.load(out / "last.pth", context)
    history = loop.run().history
    return {
        "loss": [line["loss"] for line in history], "val_map": [line["val_map"] for line in history],
        "model": state.model.state_dict(), "averaged": state.averaged.state_dict(),
    }  # fmt: skip


def main(folder: Path) -> None:
    """Train with the other processes, then in the main process alone."""
    warnings.simplefilter("error")
    nn.BatchNorm2d = nn.BatchNorm1d = lambda channels: nn.GroupNorm(1, channels)  # type: ignore[misc, assignment]
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]  # the code asks for single precision
    with init_process_group(find_process_info()) as context:
        together = train(folder / "together", context)
        sums = [float(tensor.sum()) for tensor in together["model"].values()]
        assert context.all_equal(sums), "the processes have different weights"
        if context.is_main_process:
            torch.save(
                {"together": together, "alone": train(folder / "alone", DistributedContext())}, folder / "seen.pt"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
