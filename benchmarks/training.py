"""Time of a training step by part, and time to rank like a reader: `python benchmarks/training.py DATA OUT`.

Trains with the defaults of `train` on the training patients of `split --seed 0`, for fewer epochs (--epochs), validates
after each epoch, and prints the seconds of training after which the validation mean AP was that of a second reader;
then profiles the steps of one epoch.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import noduleclip as nc
from noduleclip.config import ModelConfig, TrainConfig
from noduleclip.engine import training_loop
from noduleclip.engine.runtime import keep_freed_memory
from noduleclip.engine.training_state import TrainingState
from noduleclip.evaluation.metrics import draw_readers, mean_average_precisions, rank_by_diameter
from noduleclip.io.nodules import group_nodules
from noduleclip.io.roi_table import read_roi_table
from noduleclip.language import EVALUATION_QUERIES, parse_intervals
from noduleclip.workflows.roi_crops import TableRequest
from noduleclip.workflows.training_samples import load_training_samples

PARTS = ("augment", "sample_sentences", "soft_targets")


def evaluate_second_reader(csv: Path, patients: Path) -> float:
    """Return the mean AP of a second reader on the nodules of some patients that two have read."""
    held = patients.read_text(encoding="utf-8").split()
    nodules = group_nodules(read_roi_table(csv).frame.filter(pl.col("patient_id").is_in(held)))
    several = nodules.diameters_mm[np.isfinite(nodules.diameters_mm).sum(axis=1) >= 2]
    drawn, intervals = draw_readers(several, 50), parse_intervals(EVALUATION_QUERIES)
    scores = np.stack([rank_by_diameter(interval, drawn.second_mm) for interval in intervals])
    return float(np.nanmean(mean_average_precisions(scores, intervals, drawn.truth_mm)))


def profile_step(csv: Path, patients: Path, cache: Path, out: Path) -> None:
    """Print the share of a step's time outside the encoders."""
    spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            result = function(*arguments, **options)
            spent[name] += time.perf_counter() - started
            return result

        return run

    for name in PARTS:
        setattr(training_loop, name, timed(name, getattr(training_loop, name)))
    model = ModelConfig()
    (samples,) = load_training_samples(TableRequest(csv, cache_dir=cache), [patients], model.crop, out).sets
    keep_freed_memory()
    device = torch.device("cpu")
    state = TrainingState(model, TrainConfig(), samples, device=device)
    loop = training_loop.TrainingLoop(state, samples, None, out, device=device)
    started = time.perf_counter()
    loop.train_one_epoch()
    whole = time.perf_counter() - started
    print(f"\n| a step of {loop.config.bs} nodules, {whole / loop.steps * 1e3:.0f} ms | share |\n|---|---|")
    for name, seconds in spent.items():
        print(f"| {name} | {seconds / whole:.1%} |")
    print(f"\n{len(samples) / whole:.0f} nodules/s on {torch.get_num_threads()} threads")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=14)
    options = parser.parse_args()
    csv, lists, run = options.data / "lidc_crops" / "rois_all_readers.csv", options.out / "split", options.out / "run"
    cache = options.out / "cache"
    if not lists.exists():
        command = [sys.executable, "-m", "noduleclip", "split", "--roi-csv", csv, "--out", lists, "--seed", "0"]
        subprocess.run(command, check=True)
    train, val = lists / "train_patients.txt", lists / "val_patients.txt"
    reader = evaluate_second_reader(csv, val)
    config = TrainConfig(epochs=options.epochs, cooldown_epochs=1)
    result = nc.train(
        csv, train_patients=train, val_patients=val, out=run, config=config, cache_dir=cache, overwrite=True,
        on_epoch=print,
    )  # fmt: skip
    seconds, reached = 0.0, None
    for line in result.history:
        seconds += line["train_seconds"]
        if reached is None and line["val_map"] >= reader:
            reached = f"epoch {line['epoch']}, after {seconds:.0f} s of training"
    print(f"second reader, validation nodules that two have read: mean AP {reader:.3f}")
    print(f"reached: {reached or 'never'}; at the end, after {seconds:.0f} s: {result.history[-1]['val_map']:.3f}")
    profile_step(csv, train, cache, options.out / "apart")


if __name__ == "__main__":
    main()
