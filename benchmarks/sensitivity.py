"""What a ranking owes to where a box lies and to the scanner: `python benchmarks/sensitivity.py DATA LIST OUT`.

Embeds the patients of LIST (a patient list of DATA/lidc_crops) with the model that comes with the package, or with
`--model CHECKPOINT`, once with every centre moved 0 to 4 mm in a random direction, and once for each manufacturer and
range of slice thickness; prints the mean AP of each beside the readers'.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

BOX = (("bbox_xmin", "bbox_xmax", "pixel_spacing_col"), ("bbox_ymin", "bbox_ymax", "pixel_spacing_row"))
OFFSETS_MM = (0.0, 1.0, 2.0, 3.0, 4.0)


def move_centers(frame: pl.DataFrame, offset_mm: float) -> pl.DataFrame:
    """Move the boxes of every nodule by a distance in a random direction, the same for all its readers."""
    keys = frame.select("patient_id", "nodule_id").unique(maintain_order=True)
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, keys.height)
    placed = frame.join(
        keys.with_columns(pl.Series("angle", angles)), on=["patient_id", "nodule_id"], maintain_order="left"
    )
    for (low, high, spacing), direction in zip(BOX, (pl.col("angle").cos(), pl.col("angle").sin()), strict=True):
        moved = offset_mm * direction / pl.col(spacing)
        placed = placed.with_columns(pl.col(low) + moved, pl.col(high) + moved)
    return placed.drop("angle")


def main() -> None:
    """Make the variants, embed and evaluate each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("patients", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="lidc")
    options = parser.parse_args()
    crops = options.data / "lidc_crops"
    frame = pl.read_csv(crops / "rois_all_readers.csv", infer_schema_length=None)
    scanners = pl.read_csv(crops / "rois.csv", infer_schema_length=None).select(
        "dicom_path", "manufacturer", "slice_thickness"
    )
    frame = frame.join(scanners, on="dicom_path", how="left", maintain_order="left")
    frame = frame.filter(pl.col("patient_id").is_in(options.patients.read_text(encoding="utf-8").split()))
    variants = {f"centre {mm:g} mm off": move_centers(frame, mm) for mm in OFFSETS_MM}
    for maker in frame["manufacturer"].unique().sort():
        variants[f"manufacturer {maker}"] = frame.filter(pl.col("manufacturer") == maker)
    for low, high in ((0.0, 1.3), (1.3, 2.3), (2.3, 10.0)):
        variants[f"slices of {low:g} to {high:g} mm"] = frame.filter(
            (pl.col("slice_thickness") > low) & (pl.col("slice_thickness") <= high)
        )
    options.out.mkdir(parents=True, exist_ok=True)
    for number, (name, rows) in enumerate(variants.items()):
        table, index = options.out / f"{number}.csv", options.out / str(number)
        rows.write_csv(table)
        tool = [sys.executable, "-m", "noduleclip"]
        subprocess.run(
            [*tool, "embed", "--roi-csv", table, "--dicom-root", crops, "--model", options.model, "--out-dir", index,
             "--cache-dir", options.out / "cache", "--overwrite"],
            check=True, capture_output=True,
        )  # fmt: skip
        judged = subprocess.run(
            [*tool, "evaluate", "--emb-dir", index, "--format", "json", "--resamples", "100"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        found = json.loads(judged.stdout)
        several = found["readers"]
        print(
            f"| {name} | {found['nodules']} | {found['ap']['mean']:.3f} | {several['ap']['mean']:.3f} | "
            f"{several['second_reader']['mean']:.3f} | {several['panel']['mean']:.3f} | "
            f"{several['above_panel']['mean']:+.3f} [{several['above_panel']['low']:+.3f}, "
            f"{several['above_panel']['high']:+.3f}] |",
            flush=True,
        )


if __name__ == "__main__":
    main()
