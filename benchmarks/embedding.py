"""`embed` in all its ways: `python benchmarks/embedding.py DATA OUT [--rows N] [--rounds N] [--before SRC]`.

The crops of DATA's nodules, repeated with their centres moved until there are N, are cut first. Then whole processes of
`noduleclip embed` with the bundled model take turns: each precision with each number of views, and the code of an
earlier checkout (SRC, its folder `src`) where one is given. At last, a first `embed` of 64 rows with an empty cache
beside a second one.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from noduleclip.config import FLOAT32, INT8
from noduleclip.engine.encoders import open_encoders
from noduleclip.io.bundled_model import find_checkpoint
from noduleclip.io.slice_crops import CutSettings
from noduleclip.phantom.crops import draw_crops
from noduleclip.workflows.roi_crops import TableRequest, cut_crops, load_table

SOURCE = Path(__file__).resolve().parents[1] / "src"
WAYS = tuple((precision, views) for precision in (FLOAT32, INT8) for views in (8, 4, 2, 1))
EDGES = ("bbox_xmin", "bbox_xmax")
FIRST_ROWS, COMPARED_CROPS = 64, 256


def repeat_rows(data: Path, rows: int, out: Path) -> Path:
    """Write a table of `rows` rows, each a nodule with a centre of its own."""
    table = pl.read_csv(data / "lidc_crops" / "rois_all_readers.csv", infer_schema_length=None)
    root = pl.lit(f"{data.resolve() / 'lidc_crops'}/")
    table = table.with_columns((root + pl.col("dicom_path")).alias("dicom_path")).drop("points_json", "nodule_id")
    rounds = -(-rows // table.height)
    moved = [table.with_columns(*(pl.col(edge) + step for edge in EDGES)) for step in range(rounds)]
    pl.concat(moved).head(rows).sort("dicom_path", maintain_order=True).write_csv(out / "rois.csv")
    return out / "rois.csv"


def embed(csv: Path, cache: Path, out: Path, source: Path, more: Sequence[object] = ()) -> float:
    """Run `noduleclip embed` with the code of a source folder, and return its seconds."""
    command = [sys.executable, "-m", "noduleclip", "embed", "--roi-csv", csv, "--cache-dir", cache, "--out-dir", out]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    started = time.perf_counter()
    arguments = [*map(str, command), "--device", "cpu", *map(str, more)]
    subprocess.run(arguments, check=True, env=environment, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    return seconds


def compare(cache: Path) -> dict[tuple[str, int], float]:
    """Return the median cosine of each way's embeddings of phantoms with those of eight views in float32."""
    encoders = {
        (precision, views): open_encoders(
            find_checkpoint(Path("lidc")), cache, "cpu", views=views, precision=precision
        ).image
        for precision, views in WAYS
    }
    crops = draw_crops(COMPARED_CROPS, encoders[FLOAT32, 8].config.crop, seed=1)
    exact = encoders[FLOAT32, 8].encode(crops)
    return {way: float(np.median((encoder.encode(crops) * exact).sum(axis=1))) for way, encoder in encoders.items()}


def measure_first_use(csv: Path, out: Path, source: Path) -> tuple[float, float]:
    """Return the seconds of a first `embed` of a few rows, and of a second one with other crops."""
    cache = out / "first-cache"
    first = embed(csv, cache, out / "first", source, ("--limit", FIRST_ROWS))
    for entry in [path for path in cache.iterdir() if path.name != "encoders"]:
        shutil.rmtree(entry)
    second = embed(csv, cache, out / "first", source, ("--limit", FIRST_ROWS))
    shutil.rmtree(cache)
    return first, second


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="folder src of an earlier checkout")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    csv, cache = repeat_rows(options.data, options.rows, options.out), options.out / "cache"
    table = TableRequest(csv, cache_dir=cache)
    config = open_encoders(find_checkpoint(Path("lidc")), cache, "cpu", precision=FLOAT32).image.config
    cut_crops(load_table(table).frame, CutSettings.for_crop(config.crop), table)
    runs = {
        f"{precision}, {views} view(s)": (SOURCE, ("--precision", precision, "--views", views))
        for precision, views in WAYS
    }
    if options.before is not None:
        runs = {"before": (options.before, ()), **runs}
        embed(csv, cache, options.out / "index", options.before, ("--limit", FIRST_ROWS))  # exports its encoders
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, (source, more) in runs.items():
            seconds[name].append(embed(csv, cache, options.out / "index", source, more))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    slowest = next(iter(medians.values()))
    print(f"| {options.rows:,} crops of {config.crop.size_px} px, {os.cpu_count()} cores | s | crops/s | | cosine |")
    print("|---|---|---|---|---|")
    cosines = {f"{precision}, {views} view(s)": cosine for (precision, views), cosine in compare(cache).items()}
    for name, value in medians.items():
        cosine = f"{cosines[name]:.5f}" if name in cosines else ""
        print(f"| {name} | {value:.1f} | {options.rows / value:.0f} | {slowest / value:.1f} x | {cosine} |")
    print(f"\n| `embed` of {FIRST_ROWS} rows | first, s | then, s |\n|---|---|---|")
    for name, source in (("before", options.before), ("now", SOURCE)):
        if source is not None:
            first, second = measure_first_use(csv, options.out, source)
            print(f"| {name} | {first:.1f} | {second:.1f} |")


if __name__ == "__main__":
    main()
