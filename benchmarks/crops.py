"""From slices to crops: `python benchmarks/crops.py ROI_CSV [SLICES]`, four ROIs a slice.

On one core, taken in turns over the same slices: the way of the published course project (a slice is decoded for each
ROI, the box with 16 px around it, percentiles stretched to [0, 1], scikit-image to 256 px) and `cut_slice`, at the crop
of the shipped model; and what decoding and resampling alone take. Then `CropCache.fill`, with files written, by one
process and by two.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from noduleclip import schema
from noduleclip.config import CropConfig
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.crops import make_crop
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.io.roi_table import read_roi_table
from noduleclip.io.slice_crops import CutSettings, SliceJob, cut_slice, make_jobs

ROIS, SLICES_FOR_A_POOL = 4, 2000
SETTINGS = CutSettings.for_crop(CropConfig(size_px=96))


def four_a_slice(csv: Path, slices: int) -> pl.DataFrame:
    """Return the rows of the table's first slices, moved a little until there are four of each."""
    frame = read_roi_table(csv).frame
    firsts = frame.unique(schema.ABSOLUTE_PATH, keep="first", maintain_order=True).head(slices)
    moved = [firsts.with_columns(pl.col(schema.CENTER_X) + 3 * step) for step in range(ROIS)]
    return pl.concat(moved)


def cut_as_published(job: SliceJob, half_px: int = 12) -> list[np.ndarray]:
    """Decode for each ROI, stretch percentiles, resize."""
    import pydicom
    from skimage.transform import resize  # not at the top: the processes of a pool import this file, too

    crops = []
    for x, y in job.centers_xy_px:
        dataset = pydicom.dcmread(job.path)
        hu = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        left, top = max(0, int(x) - half_px - 16), max(0, int(y) - half_px - 16)
        box = hu[top : int(y) + half_px + 16, left : int(x) + half_px + 16]
        low, high = np.percentile(hu, [1, 99])
        crops.append(resize(np.clip((box - low) / (high - low), 0, 1), (256, 256), anti_aliasing=True))
    return crops


def repeat_slices(frame: pl.DataFrame, folder: Path, slices: int) -> pl.DataFrame:
    """Copy the frame's slices under new names until there are enough for a pool of processes."""
    parts = frame.partition_by(schema.ABSOLUTE_PATH, maintain_order=True)
    copies = []
    for number in range(slices):
        part = parts[number % len(parts)]
        copy = folder / f"{number}.dcm"
        shutil.copyfile(part[0, schema.ABSOLUTE_PATH], copy)
        copies.append(part.with_columns(pl.lit(str(copy)).alias(schema.ABSOLUTE_PATH)))
    return pl.concat(copies)


def main(csv: Path, slices: int) -> None:
    """Measure."""
    frame = four_a_slice(csv, slices)
    jobs = make_jobs(frame, SETTINGS)
    spent: dict[str, list[float]] = {name: [] for name in ("published", "noduleclip", "decode", "resample")}
    for job in jobs:
        marks = [time.perf_counter()]
        cut_as_published(job)
        marks.append(time.perf_counter())
        cut_slice(job, SETTINGS)
        marks.append(time.perf_counter())
        ct = read_ct_slice(Path(job.path))
        marks.append(time.perf_counter())
        for center in job.centers_xy_px:
            make_crop(ct.hu, ct.spacing_yx_mm or (1, 1), center, fov_mm=SETTINGS.fov_mm, size_px=SETTINGS.size_px)
        marks.append(time.perf_counter())
        for name, seconds in zip(spent, np.diff(marks), strict=True):
            spent[name].append(seconds / len(job.rows) * 1e3)
    ms = {name: statistics.median(values) for name, values in spent.items()}
    floor = ms["decode"] + ms["resample"]
    print(
        f"| {len(jobs)} slices of {ct.hu.shape[0]} x {ct.hu.shape[1]}, {ROIS} ROIs each | ms a ROI | |\n|---|---|---|"
    )
    print(f"| the published way | {ms['published']:.2f} | |")
    print(f"| noduleclip, one core | {ms['noduleclip']:.2f} | {ms['published'] / ms['noduleclip']:.1f} x as fast |")
    print(f"| decode / {ROIS} + resample | {floor:.2f} | {ms['noduleclip'] / floor:.2f} x that |")
    rates = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            many = repeat_slices(frame, Path(folder), SLICES_FOR_A_POOL)
            cache = CropCache(Path(folder) / "cache", many, SETTINGS)
            started = time.perf_counter()
            cache.fill(workers)
            rates[workers] = many.height / (time.perf_counter() - started)
    for workers, rate in rates.items():
        print(f"| into the cache, {workers} process(es) | {1e3 / rate:.2f} | {rate / rates[1]:.2f} x one process |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1000)
