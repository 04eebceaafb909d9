"""Diameters of masks beside those of LIDC's contours: `python benchmarks/lidc_volumes.py SHARED_DATA OUT`.

Prepares the 240 masks of `lidc_volumes`, and finds each nodule in `lidc_crops`: of the same patient, on a slice within
its mask, and of several the one whose diameter is nearer by at least 2 mm than that of the next. Prints how both
diameters compare, and the average precision of the bundled model by either.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.consensus import select_key_slices
from noduleclip.io.roi_table import read_roi_table

CLEARLY_MM = 2.0
LIDC = "lidc_mm"
EDGES_MM = (6.0, 10.0)


def run(*arguments: object) -> None:
    """Run a command of the tool."""
    subprocess.run([sys.executable, "-m", "noduleclip", *map(str, arguments)], check=True)


def match_nodules(rois: pl.DataFrame, nodules: pl.DataFrame, data: Path) -> pl.DataFrame:
    """Return the nodules of masks with the diameters of LIDC's readers on the nodule's slice, where one is clear."""
    slices = pl.read_csv(data / "lidc_crops" / "rois.csv").select(schema.PATIENT_ID, schema.NODULE_ID, schema.Z_MM)
    readers = pl.read_csv(data / "lidc_crops" / "rois_all_readers.csv")
    means = readers.group_by(schema.PATIENT_ID, schema.NODULE_ID).agg(pl.col(schema.DIAMETER_MM).mean().alias(LIDC))
    known = slices.join(means, on=(schema.PATIENT_ID, schema.NODULE_ID)).rename({schema.NODULE_ID: "lidc_nodule"})
    named = (schema.PATIENT_ID, schema.NODULE_ID)
    reach = rois.group_by(named).agg(
        pl.col(schema.Z_MM).min().alias("lowest"), pl.col(schema.Z_MM).max().alias("highest")
    )
    pairs = (
        nodules.cast({schema.NODULE_ID: pl.String})
        .join(reach, on=named)
        .join(known, on=schema.PATIENT_ID, suffix="_lidc")
        .filter(pl.col("z_mm_lidc").is_between(pl.col("lowest") - 0.1, pl.col("highest") + 0.1))
        .with_columns((pl.col(LIDC) - pl.col(schema.DIAMETER_MM)).abs().alias("away"))
        .sort("away")
        .group_by(named, maintain_order=True)
        .agg(pl.col(schema.DIAMETER_MM, LIDC).first(), pl.col("away").get(1, null_on_oob=True) - pl.col("away").first())
    )
    clear = pairs.filter(pl.col("away").is_null() | (pl.col("away") >= CLEARLY_MM))
    print(f"{nodules.height} nodules, {pairs.height} on slices of LIDC's, {clear.height} of them clearly one")
    return clear


def compare(clear: pl.DataFrame) -> None:
    """Print how the diameters of masks differ from those of contours."""
    own, lidc = clear[schema.DIAMETER_MM].to_numpy(), clear[LIDC].to_numpy()
    away = own - lidc
    print(f"n {len(own)}; mask minus LIDC: median {np.median(away):.2f} mm, mean absolute {np.abs(away).mean():.2f} mm")
    print(f"correlation {np.corrcoef(own, lidc)[0, 1]:.3f}")
    print(f"in the same of the bins <= 6, 6-10 and > 10 mm: {np.mean(_find_bin(own) == _find_bin(lidc)):.3f}")


def _find_bin(sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.digitize(sizes, EDGES_MM, right=True)


def evaluate(rows: pl.DataFrame, out: Path, name: str) -> dict[str, float]:
    """Embed rows with the bundled model, and return the average precision of each sentence by their diameters."""
    rows.write_csv(out / f"{name}.csv")
    run("embed", "--roi-csv", out / f"{name}.csv", "--out-dir", out / name, "--unit", "outline", "--overwrite")
    run("evaluate", "--emb-dir", out / name, "--out", out / f"{name}-evaluation", "--overwrite")
    found = json.loads((out / f"{name}-evaluation" / schema.EVALUATION_JSON).read_text(encoding="utf-8"))
    return {one["query"]: one["model"]["ap"]["mean"] for one in found["queries"] if one["model"]}


def main(data: Path, out: Path) -> None:
    """Prepare, compare, evaluate."""
    folder = data / "lidc_volumes"
    run(
        "prepare", "masks", "--images", folder / "image", "--masks", folder / "mask", "--out", out / "prepared",
        "--min-voxels", 3, "--overwrite",
    )  # fmt: skip
    rois = read_roi_table(out / "prepared" / schema.ROI_CSV).frame
    clear = match_nodules(rois, pl.read_csv(out / "prepared" / schema.NODULES_CSV), data)
    compare(clear)
    named = (schema.PATIENT_ID, schema.NODULE_ID)
    key = select_key_slices(rois).join(clear.select(*named, LIDC), on=named)
    key = key.unique(named, keep="first", maintain_order=True)
    table = key.select(name for name in key.columns if name not in (schema.CSV_ROW, schema.ABSOLUTE_PATH))
    own = evaluate(table.drop(LIDC), out, "own")
    lidc = evaluate(table.with_columns(pl.col(LIDC).alias(schema.DIAMETER_MM)).drop(LIDC), out, "lidc")
    print("average precision: by the mask's diameters, by LIDC's")
    for query in sorted(own.keys() & lidc.keys()):
        print(f"{query}: {own[query]:.3f} {lidc[query]:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
