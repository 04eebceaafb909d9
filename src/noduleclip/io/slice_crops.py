"""Crops of a slice: its ROIs grouped into one job, decoded once, and cut."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.config import MAX_PIXELS, MAX_SPACING_MM, MIN_SPACING_MM, CropConfig
from noduleclip.errors import RejectCode, SliceError

ENTRY_VERSION = 3
OUTSIDE_HU = -32768  # marks a ROI whose centre lies outside its slice; no crop holds less than air
_SPACING_TOLERANCE = 0.01


@dataclass(frozen=True)
class CutSettings:
    """Geometry and limits of a crop: with the slice, all that decides its content.

    Attributes:
        fov_mm: Side of the cached square in millimetres, margin included.
        size_px: Side of the cached square in pixels, margin included.
        assume_hu: Take stored values as HU where a header has no rescale.
        max_pixels: Largest slice that is decoded.
    """

    fov_mm: float
    size_px: int
    assume_hu: bool = False
    max_pixels: int = MAX_PIXELS

    @classmethod
    def for_crop(
        cls, crop: CropConfig, margin_px: int = 0, assume_hu: bool = False, max_pixels: int = MAX_PIXELS
    ) -> "CutSettings":
        """Widen a crop by `margin_px` on each side at the same pixel size."""
        size_px = crop.size_px + 2 * margin_px
        return cls(fov_mm=crop.pixel_mm * size_px, size_px=size_px, assume_hu=assume_hu, max_pixels=max_pixels)


@dataclass(frozen=True)
class SliceJob:
    """One slice file and the ROIs to cut from it.

    Attributes:
        path: The DICOM file.
        frame: Number of the frame, from 1, from the table, or None.
        spacing_yx_mm: Spacing from the table, or None.
        centers_xy_px: Centre of each ROI.
        rows: Row of each ROI in the frame that the jobs were made from.
        entry: File name of the cache entry.
    """

    path: str
    frame: float | None
    spacing_yx_mm: tuple[float, float] | None
    centers_xy_px: tuple[tuple[float, float], ...]
    rows: tuple[int, ...]
    entry: str

    @property
    def name(self) -> str:
        """The slice's name in messages."""
        return Path(self.path).name + ("" if self.frame is None else f", frame {self.frame:g}")


@dataclass(frozen=True)
class Reject:
    """A row that cannot be used, and why."""

    row: int
    code: RejectCode
    reason: str


def make_jobs(frame: pl.DataFrame, settings: CutSettings) -> list[SliceJob]:
    """Group the rows of a checked ROI frame by slice, in order of first appearance."""
    optional = (schema.FRAME, schema.SPACING_ROW, schema.SPACING_COL)
    given = [pl.col(name) if name in frame.columns else pl.lit(None, pl.Float64).alias(name) for name in optional]
    slices = (
        frame.with_row_index(schema.ROW)
        .select(schema.ROW, schema.ABSOLUTE_PATH, schema.CENTER_X, schema.CENTER_Y, *given)
        .group_by(schema.ABSOLUTE_PATH, *optional, maintain_order=True)
        .agg(schema.ROW, schema.CENTER_X, schema.CENTER_Y)
    )
    return [
        _make_job(path, number, (row_mm, col_mm), tuple(zip(xs, ys, strict=True)), tuple(rows), settings)
        for path, number, row_mm, col_mm, rows, xs, ys in slices.iter_rows()
    ]


def _make_job(
    path: str,
    frame: float | None,
    spacing: tuple[float | None, float | None],
    centers: tuple[tuple[float, float], ...],
    rows: tuple[int, ...],
    settings: CutSettings,
) -> SliceJob:
    row_mm, col_mm = spacing
    spacing_yx_mm = None if row_mm is None or col_mm is None else (row_mm, col_mm)
    try:
        status = Path(path).stat()
        identity = [path, status.st_size, status.st_mtime_ns]
    except (OSError, ValueError):  # ValueError: a NUL in the path
        identity = [path, -1, -1]
    numbered = [] if frame is None else [frame]  # a table without frames keeps the entries it has
    made_of = [ENTRY_VERSION, identity, spacing_yx_mm, centers, asdict(settings), *numbered]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return SliceJob(path, frame, spacing_yx_mm, centers, rows, f"{digest[:2]}/{digest}.npy")


def cut_slice(job: SliceJob, settings: CutSettings) -> NDArray[np.int16]:
    """Decode a slice and cut its ROIs.

    Returns:
        (R, Y, X) HU, rounded; a ROI whose centre lies outside the slice is filled with `OUTSIDE_HU`.

    Raises:
        SliceError: The file is no readable slice in HU, or its spacing contradicts the table's.
    """
    from noduleclip.io.crops import AIR_HU, find_rows, make_crop
    from noduleclip.io.dicom.slice import read_ct_slice

    ct = read_ct_slice(Path(job.path), frame=job.frame, max_pixels=settings.max_pixels, assume_hu=settings.assume_hu)
    spacing = reconcile_spacing(job, ct.spacing_yx_mm)
    height, width = ct.stored.shape
    crops = np.full((len(job.rows), settings.size_px, settings.size_px), OUTSIDE_HU, np.int16)
    inside = [at for at, center in enumerate(job.centers_xy_px) if lies_inside(center, height, width)]
    if inside:
        middles_px = [job.centers_xy_px[at][1] for at in inside]
        rows = find_rows(height, spacing[0], middles_px, fov_mm=settings.fov_mm, size_px=settings.size_px)
        hu = ct.convert_rows(*rows)
    for at in inside:
        cut = make_crop(hu, spacing, job.centers_xy_px[at], fov_mm=settings.fov_mm, size_px=settings.size_px)
        crops[at] = np.clip(np.rint(cut), AIR_HU, 32767)
    return crops


def cut_crop(path: Path, center_xy_px: tuple[float, float], settings: CutSettings) -> NDArray[np.int16]:
    """Cut one crop of a slice file outside any table: (Y, X) HU, rounded.

    Raises:
        SliceError: The file is no readable slice in HU, or the centre lies outside it.
    """
    job = SliceJob(str(path), None, None, (center_xy_px,), (0,), "")
    crop: NDArray[np.int16] = cut_slice(job, settings)[0]
    if crop[0, 0] == OUTSIDE_HU:
        raise SliceError(RejectCode.OUTSIDE, f"{job.name}: the centre {center_xy_px} lies outside the slice")
    return crop


def lies_inside(center_xy_px: tuple[float, float], height: int, width: int) -> bool:
    """Return whether a centre lies on one of the pixels of a slice."""
    x, y = center_xy_px
    return -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5


def reject_outside(job: SliceJob, at: int) -> Reject:
    """Return the reject of a job's ROI whose centre lies outside the slice."""
    reason = f"{job.name}: the box's centre {job.centers_xy_px[at]} lies outside the slice"
    return Reject(job.rows[at], RejectCode.OUTSIDE, reason)


def reconcile_spacing(job: SliceJob, of_header: tuple[float, float] | None) -> tuple[float, float]:
    """Return the spacing that header and table agree on: (row, column) in mm.

    Raises:
        SliceError: They contradict each other, or neither has any.
    """
    of_table = job.spacing_yx_mm
    name = job.name
    if of_table is not None and not all(MIN_SPACING_MM <= mm <= MAX_SPACING_MM for mm in of_table):
        limits = f"[{MIN_SPACING_MM:g}, {MAX_SPACING_MM:g}] mm"
        raise SliceError(RejectCode.BAD_SPACING, f"{name}: the table's pixel spacing {of_table} is not in {limits}")
    if of_header is None and of_table is None:
        raise SliceError(RejectCode.NO_SPACING, f"{name}: no PixelSpacing in the header and none in the table")
    if of_header is None or of_table is None:
        return of_header or of_table  # type: ignore[return-value]  # one of the two is there
    if any(abs(a - b) > _SPACING_TOLERANCE * b for a, b in zip(of_table, of_header, strict=True)):
        raise SliceError(
            RejectCode.SPACING_MISMATCH,
            f"{name}: pixel spacing {of_table} in the table, {of_header} in the header: over 1 % apart",
        )
    return of_header
