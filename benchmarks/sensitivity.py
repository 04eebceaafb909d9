"""What a ranking owes to boxes, scanners and images: `python benchmarks/sensitivity.py DATA LIST OUT`.

Embeds the patients of LIST (a patient list of DATA/lidc_crops) with the model that comes with the package, or with
`--model CHECKPOINT`: with every centre moved 0 to 4 mm in a random direction; with noise added that is as coarse as
that of a reconstruction; at coarser pixels; and, apart, each manufacturer, range of slice thickness and of pixel
spacing. Prints the mean AP of each beside the readers'.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
from PIL import Image
from scipy.ndimage import gaussian_filter

BOX = (("bbox_xmin", "bbox_xmax", "pixel_spacing_col"), ("bbox_ymin", "bbox_ymax", "pixel_spacing_row"))
SIDE_PX = 71
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


def degrade(crops: Path, frame: pl.DataFrame, out: Path, noise_hu: float, coarser: float) -> pl.DataFrame:
    """Write the slices again with noise added or with coarser pixels, and give the table that goes with them.

    The noise is white noise blurred by a Gaussian of one pixel, as a soft reconstruction kernel leaves it, scaled to
    the deviation asked for.
    """
    generator = np.random.default_rng(0)
    for name in frame["dicom_path"].unique(maintain_order=True):
        dataset = pydicom.dcmread(crops / name)
        stored = dataset.pixel_array
        kind = stored.dtype
        values = stored.astype(np.float32)
        if noise_hu:
            blurred = gaussian_filter(generator.normal(0, 1, stored.shape), 1)
            values = values + blurred / blurred.std() * noise_hu / float(dataset.RescaleSlope)
        if coarser > 1:
            side = round(SIDE_PX / coarser)
            values = np.asarray(Image.fromarray(values).resize((side, side), Image.Resampling.BILINEAR))
            dataset.PixelSpacing = [float(mm) * SIDE_PX / side for mm in dataset.PixelSpacing]
            dataset.Rows = dataset.Columns = side
        limits = np.iinfo(kind)
        dataset.PixelData = np.clip(np.rint(values), limits.min, limits.max).astype(kind).tobytes()
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(target)
    if coarser == 1:
        return frame
    scale = SIDE_PX / round(SIDE_PX / coarser)
    places = [((pl.col(name) + 0.5) / scale - 0.5).alias(name) for low, high, _ in BOX for name in (low, high)]
    spacings = [(pl.col(name) * scale).alias(name) for *_, name in BOX]
    return frame.with_columns(*places, *spacings)


def main() -> None:
    """Make the variants, embed and evaluate each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("patients", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="lidc")
    parser.add_argument("--only", default="", help="variants whose name starts so")
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
    for low, high in ((0.0, 0.65), (0.65, 0.75), (0.75, 1.0)):
        variants[f"pixels of {low:g} to {high:g} mm"] = frame.filter(
            (pl.col("pixel_spacing_row") > low) & (pl.col("pixel_spacing_row") <= high)
        )
    roots: dict[str, Path] = {}
    for noise_hu, coarser in ((25.0, 1.0), (50.0, 1.0), (100.0, 1.0), (0.0, 1.5)):
        name = f"noise of {noise_hu:g} HU added" if noise_hu else f"pixels {coarser:g} times as large"
        roots[name] = options.out / f"slices-{noise_hu:g}-{coarser:g}"
        if name.startswith(options.only):
            variants[name] = degrade(crops, frame, roots[name], noise_hu, coarser)
    options.out.mkdir(parents=True, exist_ok=True)
    for number, (name, rows) in enumerate(variants.items()):
        if not name.startswith(options.only):
            continue
        table, index = options.out / f"{number}.csv", options.out / str(number)
        rows.write_csv(table)
        tool = [sys.executable, "-m", "noduleclip"]
        subprocess.run(
            [*tool, "embed", "--roi-csv", table, "--dicom-root", roots.get(name, crops), "--model", options.model,
             "--out-dir", index, "--cache-dir", options.out / "cache", "--overwrite"],
            check=True, capture_output=True,
        )  # fmt: skip
        evaluated = subprocess.run(
            [*tool, "evaluate", "--emb-dir", index, "--format", "json", "--resamples", "100"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        found = json.loads(evaluated.stdout)
        ap = found["readers"]["ap"]
        means = [found["model"]["ap"], *(ap[ranker] for ranker in ("model", "second_reader", "panel"))]
        above = ap["above_panel"]
        cells = [name, found["nodules"], *(f"{value['mean']:.3f}" for value in means)]
        print(
            f"| {' | '.join(map(str, cells))} | {above['mean']:+.3f} [{above['low']:+.3f}, {above['high']:+.3f}] |",
            flush=True,
        )


if __name__ == "__main__":
    main()
