"""Training by one process and by two: `python benchmarks/distributed.py ROI_CSV OUT [ROWS] [EPOCHS]`.

Trains on the first rows of the table, twice each: one process with two threads, and two processes with one thread each
(gloo). Prints the median seconds of an epoch, without the first of each run, and the largest difference of the losses.
Then prints the bytes that a step sends on GPUs, counted from the model, and the efficiency for links of known speed,
assuming a ring in which each process sends 2 (n - 1) / n of the bytes, no overlap with computing, and a round trip for
each reduction.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from torch import nn

from noduleclip import schema
from noduleclip.config import ModelConfig
from noduleclip.engine.prompts import make_vocabulary
from noduleclip.io.roi_table import read_roi_table
from noduleclip.models.clip import ClipModel

LINKS = {"NVLink": (300e9, 10e-6), "100 GbE": (12.5e9, 20e-6), "10 GbE": (1.25e9, 40e-6), "1 GbE": (125e6, 80e-6)}
PROCESSES = 8


def run(csv: Path, patients: Path, out: Path, processes: int, rows: int, epochs: int) -> list[dict[str, float]]:
    """Train, and return the log."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [
        sys.executable, *(launcher if processes > 1 else []), "-m", "noduleclip", "train", "--roi-csv", csv,
        "--train-patients", patients, "--out", out, "--limit", str(rows), "--epochs", str(epochs), "--device", "cpu",
        "--cache-dir", out.parent / "cache", "--overwrite",
    ]  # fmt: skip
    threads = str(2 // processes)
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": threads}, stderr=subprocess.DEVNULL)
    return [json.loads(line) for line in (out / schema.METRICS_LOG).read_text(encoding="utf-8").splitlines()]


def count_volume() -> tuple[int, int, int]:
    """Return the bytes of gradients, the bytes of batch statistics, and the number of their reductions in a step."""
    model = ClipModel(ModelConfig(), make_vocabulary())
    gradients = sum(weight.nbytes for weight in model.parameters())
    norms = [norm for norm in model.modules() if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)]
    statistics_bytes = sum(4 * (1 + 2 * norm.num_features + 2 * norm.num_features) for norm in norms)  # float32
    return gradients, statistics_bytes, 2 * len(norms)


def main(csv: Path, out: Path, rows: int = 160, epochs: int = 4) -> None:
    """Measure."""
    out.mkdir(parents=True, exist_ok=True)
    patients = out / "patients.txt"
    ids = read_roi_table(csv).frame[schema.PATIENT_ID].unique(maintain_order=True)
    patients.write_text("\n".join(ids) + "\n", encoding="utf-8")
    seconds: dict[int, list[float]] = {1: [], 2: []}
    losses: dict[int, list[float]] = {}
    for _ in range(2):
        for processes in (1, 2):
            log = run(csv, patients, out / f"run{processes}", processes, rows, epochs)
            seconds[processes] += [line["train_seconds"] for line in log[1:]]
            losses[processes] = [line["loss"] for line in log]
    one, two = (statistics.median(seconds[processes]) for processes in (1, 2))
    apart = max(abs(a - b) / a for a, b in zip(losses[1], losses[2], strict=True))
    print(f"one process of two threads: {one:.2f} s an epoch; two of one: {two:.2f} s, {one / two:.2f} x as fast")
    print(f"losses of the {epochs} epochs: {apart:.1e} apart at most, relative")
    gradients, norms, reductions = count_volume()
    print(
        f"a step: {gradients / 1e6:.2f} MB of gradients, {norms / 1e3:.1f} kB of statistics in {reductions} reductions"
    )
    shares = 2 * (PROCESSES - 1) / PROCESSES
    print(f"| {PROCESSES} machines, step of | " + " | ".join(LINKS) + " |\n|---" + "|---" * len(LINKS) + "|")
    for step in (0.4, 0.1, 0.02):
        sent = [shares * (gradients + norms) / rate + (reductions + 1) * trip for rate, trip in LINKS.values()]
        print(f"| {1e3 * step:.0f} ms | " + " | ".join(f"{step / (step + extra):.0%}" for extra in sent) + " |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *(int(number) for number in sys.argv[3:]))
