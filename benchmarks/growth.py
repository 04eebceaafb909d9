"""How `embed` grows with the collection: `python benchmarks/growth.py OUT [ROWS ...]`.

Makes phantoms, repeats their slices under new names until there are ROWS rows at four a slice, and embeds them twice
with the bundled model: with nothing in the cache, and with all crops; then queries the index. Prints seconds, rows a
second, and the largest resident memory of a process.
"""

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import polars as pl

ROWS = (1_000, 10_000, 100_000)


def run(*arguments: object) -> tuple[float, float]:
    """Run a command of the tool: seconds, and the peak of its resident memory in MB."""
    command = [sys.executable, "-m", "noduleclip", *map(str, arguments)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(said)
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def make_collection(phantoms: pl.DataFrame, folder: Path, rows: int) -> Path:
    """Link the phantoms' slices under new names and write their table."""
    folder.mkdir(parents=True)
    of_slice = phantoms.partition_by("dicom_path", maintain_order=True)
    parts, made = [], 0
    for number, part in enumerate(itertools.cycle(of_slice)):
        name = folder / f"{number // 1000}" / f"{number}.dcm"
        name.parent.mkdir(exist_ok=True)
        os.link(part[0, "dicom_path"], name)
        four = part[[at % part.height for at in range(min(4, rows - made))]]
        at = pl.int_range(pl.len())  # each row is a nodule of its own, at a place of its own
        moved = [pl.col(f"bbox_{edge}") + at for edge in ("xmin", "xmax")]
        own = {
            "dicom_path": pl.lit(str(name.relative_to(folder))),
            "patient_id": pl.lit(f"growth-{number}"),
            "nodule_id": at,
        }
        parts.append(four.with_columns(*moved, **own))
        made += four.height
        if made == rows:
            break
    table = pl.concat(parts)
    table.drop("points_json", strict=False).write_csv(folder / "rois.csv")
    return folder / "rois.csv"


def make_repeated(out: Path, folder: Path, rows: int) -> Path:
    """Make a collection of the phantoms in OUT."""
    phantoms = out / "phantoms"
    frame = pl.read_csv(phantoms / "roi_with_diam.csv")
    placed = pl.lit(f"{phantoms}/").add(pl.col("dicom_path")).alias("dicom_path")
    return make_collection(frame.with_columns(placed), folder, rows)


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("rows", type=int, nargs="*", default=ROWS)
    options = parser.parse_args()
    out: Path = options.out
    if not (out / "phantoms").exists():
        run("phantom", "--out", out / "phantoms", "--patients", 30)
    print("| rows | cut and embed, s | rows/s | embed from the cache, s | rows/s | query, s | largest process, MB |")
    print("|---|---|---|---|---|---|---|")
    for rows in options.rows:
        folder = out / f"rows{rows}"
        shutil.rmtree(folder, ignore_errors=True)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # a command's peak counts that of its parent
            csv = pool.submit(make_repeated, out, folder, rows).result()
        index, cache = folder / "index", folder / "cache"
        command = ("embed", "--roi-csv", csv, "--out-dir", index, "--cache-dir", cache, "--overwrite")
        cold, peak_cold = run(*command)
        warm, peak_warm = run(*command)
        answer, peak_query = run("query", index, "a spiculated nodule > 10 mm")
        print(
            f"| {rows:,} | {cold:.1f} | {rows / cold:.0f} | {warm:.1f} | {rows / warm:.0f} | {answer:.2f} "
            f"| {max(peak_cold, peak_warm, peak_query):.0f} |",
            flush=True,
        )
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
