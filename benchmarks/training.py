"""What a training step is made of, and how soon it ranks like a reader: `python benchmarks/training.py DATA OUT`.

Trains the defaults of `train` on the training patients of `split --seed 0`, for fewer epochs (--epochs) so that the
learning rate has come down by then, validates after each epoch, and prints the seconds of training after which the
validation mean AP was that of a second reader; then takes an epoch's steps apart.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import noduleclip.engine.train as engine
from noduleclip.cli.training import _load_samples
from noduleclip.config import ModelConfig, TrainConfig
from noduleclip.engine.runtime import keep_freed_memory
from noduleclip.evaluation.metrics import draw_readers, mean_average_precisions, rank_by_diameter
from noduleclip.io.nodules import group_nodules
from noduleclip.io.roi_table import read_roi_table
from noduleclip.language import EVALUATION_QUERIES, parse_intervals
from noduleclip.workflows.roi_crops import TableRequest

PARTS = ("augment", "sample_sentences", "reading_targets")


class Silent:
    """Watches a training and says nothing."""

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Hear of a step."""

    def on_epoch(self, record: dict[str, Any], is_best: bool) -> None:
        """Hear of an epoch."""


def judge_second_reader(csv: Path, patients: Path) -> float:
    """Return the mean AP of a second reader on the nodules of some patients that two have read."""
    held = patients.read_text(encoding="utf-8").split()
    nodules = group_nodules(read_roi_table(csv).frame.filter(pl.col("patient_id").is_in(held)))
    several = nodules.diameters_mm[np.isfinite(nodules.diameters_mm).sum(axis=1) >= 2]
    drawn, intervals = draw_readers(several, 50), parse_intervals(EVALUATION_QUERIES)
    scores = np.stack([rank_by_diameter(interval, drawn.second_mm) for interval in intervals])
    return float(np.nanmean(mean_average_precisions(scores, intervals, drawn.truth_mm)))


def take_apart(csv: Path, patients: Path, cache: Path, out: Path) -> None:
    """Print the share of a step's time that goes into what is not the encoders."""
    spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            result = function(*arguments, **options)
            spent[name] += time.perf_counter() - started
            return result

        return run

    for name in PARTS:
        setattr(engine, name, timed(name, getattr(engine, name)))
    model = ModelConfig()
    (samples,), fingerprint, _ = _load_samples(TableRequest(csv, cache_dir=cache), [patients], model.crop, out)
    keep_freed_memory()
    training = engine.Training(
        samples, None, model, TrainConfig(), out, device=torch.device("cpu"), amp=None, fingerprint=fingerprint
    )
    started = time.perf_counter()
    training._run_epoch(Silent())
    whole = time.perf_counter() - started
    print(f"\n| a step of {training.config.bs} nodules, {whole / training.steps * 1e3:.0f} ms | share |\n|---|---|")
    for name, seconds in spent.items():
        print(f"| {name} | {seconds / whole:.1%} |")
    print(f"\n{len(samples.crops_hu) / whole:.0f} nodules/s on {torch.get_num_threads()} threads")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=14)
    options = parser.parse_args()
    csv, lists, run = options.data / "lidc_crops" / "rois_all_readers.csv", options.out / "split", options.out / "run"
    tool, cache = [sys.executable, "-m", "noduleclip"], options.out / "cache"
    if not lists.exists():
        subprocess.run([*tool, "split", "--roi-csv", csv, "--out", lists, "--seed", "0"], check=True)
    train, val = lists / "train_patients.txt", lists / "val_patients.txt"
    reader = judge_second_reader(csv, val)
    subprocess.run(
        [*tool, "train", "--roi-csv", csv, "--train-patients", train, "--val-patients", val, "--out", run,
         "--epochs", str(options.epochs), "--cooldown-epochs", "1", "--cache-dir", cache, "--overwrite"], check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    seconds, reached = 0.0, None
    for line in lines:
        seconds += line["train_seconds"]
        if reached is None and line["val_map"] >= reader:
            reached = f"epoch {line['epoch']}, after {seconds:.0f} s of training"
    print(f"second reader, validation nodules that two have read: mean AP {reader:.3f}")
    print(f"reached: {reached or 'never'}; at the end, after {seconds:.0f} s: {lines[-1]['val_map']:.3f}")
    take_apart(csv, train, cache, options.out / "apart")


if __name__ == "__main__":
    main()
