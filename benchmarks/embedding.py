"""`embed` beside the forward pass alone: `python benchmarks/embedding.py DATA OUT [--rows N]`.

The crops of DATA's nodules, repeated with their centres moved until there are N, are cut first. Then, with the
bundled model and on the same crops in memory: the image encoder in torch and in ONNX Runtime, forward pass alone, and
`noduleclip embed` as a process, start-up, reading and writing included.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch

from noduleclip.engine.encoders import open_encoders
from noduleclip.engine.runtime import keep_freed_memory
from noduleclip.engine.torch_encoder import TorchEncoder
from noduleclip.io.bundled_model import find_checkpoint
from noduleclip.io.slice_crops import CutSettings
from noduleclip.models.checkpoint import load_model
from noduleclip.workflows.roi_crops import TableRequest, cut_crops, load_table

BS, BATCHES, ROUNDS = 64, 2, 5
EDGES = ("bbox_xmin", "bbox_xmax")


def repeat_rows(data: Path, rows: int, out: Path) -> Path:
    """Write a table of `rows` rows, each with a centre of its own."""
    table = pl.read_csv(data / "lidc_crops" / "rois_all_readers.csv", infer_schema_length=None)
    root = pl.lit(f"{data.resolve() / 'lidc_crops'}/")
    table = table.with_columns((root + pl.col("dicom_path")).alias("dicom_path")).drop("points_json")
    rounds = -(-rows // table.height)
    moved = [table.with_columns(*(pl.col(edge) + step for edge in EDGES)) for step in range(rounds)]
    pl.concat(moved).head(rows).sort("dicom_path", maintain_order=True).write_csv(out / "rois.csv")
    return out / "rois.csv"


def rate(way: Callable[[], object]) -> float:
    """Return crops a second of a way that does `BS * BATCHES` of them: the median of some rounds."""
    seconds = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - started)
    return BS * BATCHES / statistics.median(seconds[1:])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=10_000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    csv = repeat_rows(options.data, options.rows, options.out)
    checkpoint = find_checkpoint(Path("lidc"))
    table = TableRequest(csv, cache_dir=options.out / "cache")
    started = time.perf_counter()
    in_onnx = open_encoders(checkpoint, options.out / "cache", "cpu").image
    first = time.perf_counter() - started
    cache = cut_crops(load_table(table).frame, CutSettings.for_crop(in_onnx.config.crop), table)
    crops = cache.read(list(range(BS * BATCHES)))
    parts = [crops[start : start + BS] for start in range(0, len(crops), BS)]
    keep_freed_memory()
    in_torch = TorchEncoder(load_model(checkpoint), torch.device("cpu"))
    apart = max(float(np.abs(in_onnx.encode(part) - in_torch.encode(part)).max()) for part in parts)
    rates = {
        "ONNX Runtime": rate(lambda: [in_onnx.encode(part) for part in parts]),
        "torch": rate(lambda: [in_torch.encode(part) for part in parts]),
    }
    command = [sys.executable, "-m", "noduleclip", "embed", "--roi-csv", str(csv), "--cache-dir", str(table.cache_dir)]
    started = time.perf_counter()
    subprocess.run([*command, "--out-dir", str(options.out / "index"), "--overwrite"], check=True, stderr=sys.stderr)
    seconds = time.perf_counter() - started
    alone = options.rows / max(rates.values())
    print(f"| {options.rows:,} crops of {crops.shape[-1]} px, 8 views each, {os.cpu_count()} cores | crops/s | |")
    print("|---|---|---|")
    for name, value in rates.items():
        print(f"| forward pass alone, {name} | {value:.1f} | |")
    whole = f"`noduleclip embed`, whole process, {seconds:.0f} s"
    print(f"| {whole} | {options.rows / seconds:.1f} | {seconds / alone:.2f} x the fastest's time |")
    print(f"\nTo open the encoders for the first time: {first:.1f} s. The runtimes differ by {apart:.1e} at most.")
    shutil.rmtree(options.out / "index")


if __name__ == "__main__":
    main()
