"""Checks of every slice's header without its pixels: rejected rows, and transfer syntaxes."""

import functools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.errors import RejectCode, SliceError
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.job_pool import WorkerCrashed, run_jobs
from noduleclip.io.slice_crops import CutSettings, Reject, SliceJob, lies_inside, reconcile_spacing, reject_outside


@dataclass(frozen=True)
class HeaderCheck:
    """Results of the checks of a table's rows.

    Attributes:
        slices: Slices that the rows lie on.
        rejects: Rows that `embed` and `train` cannot use, as far as headers tell, by row.
        syntaxes: Usable slices by transfer syntax and decoder ("" for pixels that are not compressed).
        spacings_yx_mm: Distance of rows, then of columns, by row; rows that are rejected have none.
    """

    slices: int
    rejects: list[Reject]
    syntaxes: Counter[tuple[str, str]]
    spacings_yx_mm: dict[int, tuple[float, float]]

    def add_spacings(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the spacing that headers and table agree on."""
        pairs = [self.spacings_yx_mm.get(row, (None, None)) for row in range(frame.height)]
        sides = zip((schema.SPACING_ROW, schema.SPACING_COL), zip(*pairs, strict=True), strict=True)
        return frame.with_columns(pl.Series(name, side, pl.Float64) for name, side in sides)


@dataclass(frozen=True)
class _JobCheck:
    """Result of the check of one slice's header."""

    rejects: list[Reject]
    syntax: tuple[str, str] | None = None
    spacing_yx_mm: tuple[float, float] | None = None


def check_headers(cache: CropCache, workers: int, on_slice: Callable[[], None] = lambda: None) -> HeaderCheck:
    """Read the header of every slice, and make every check of cutting that needs no pixels.

    Args:
        cache: The rows, and how they would be cut; nothing is.
        workers: Processes that read.
        on_slice: Called once for each slice.
    """
    check = HeaderCheck(cache.slices, [], Counter(), {})
    for job, checked in run_jobs(functools.partial(_check_job, settings=cache.settings), cache.jobs, workers):
        on_slice()
        if isinstance(checked, WorkerCrashed):
            checked = _reject_all(job, RejectCode.BAD_HEADER, f"{job.name}: reading it ended the process")
        check.rejects.extend(checked.rejects)
        if checked.syntax is not None and checked.spacing_yx_mm is not None:
            check.syntaxes[checked.syntax] += 1
            check.spacings_yx_mm.update(dict.fromkeys(job.rows, checked.spacing_yx_mm))
    check.rejects.sort(key=lambda reject: reject.row)
    return check


def _check_job(job: SliceJob, settings: CutSettings) -> _JobCheck:
    from noduleclip.io.dicom.slice import check_ct_slice

    try:
        layout, of_header = check_ct_slice(
            Path(job.path), frame=job.frame, max_pixels=settings.max_pixels, assume_hu=settings.assume_hu
        )
        spacing_yx_mm = reconcile_spacing(job, of_header)
    except SliceError as error:
        return _reject_all(job, error.code, str(error))
    outside = [
        reject_outside(job, at)
        for at, center in enumerate(job.centers_xy_px)
        if not lies_inside(center, layout.rows, layout.columns)
    ]
    return _JobCheck(outside, (layout.syntax.name, layout.plugin), spacing_yx_mm)


def _reject_all(job: SliceJob, code: RejectCode, reason: str) -> _JobCheck:
    return _JobCheck([Reject(row, code, reason) for row in job.rows])
