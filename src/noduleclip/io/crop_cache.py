"""Crops on disk: each slice is decoded once, its ROIs are cut, and one small file keeps them for every later run.

An entry's name is a hash of all that makes its crops: the slice file (path, size, time of change), the frame of it,
the centres, the spacing from the table, and the geometry. Entries appear whole, so processes may share a cache
without locks.
"""

import functools
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import platformdirs
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.config import MAX_PIXELS, MAX_SPACING_MM, MIN_SPACING_MM, CropConfig
from noduleclip.errors import RejectCode, SliceError, UsageError
from noduleclip.io.artefacts import replacing
from noduleclip.io.disk import round_to_blocks
from noduleclip.io.job_pool import WorkerCrashed, run_jobs

_ENTRY_VERSION = 3
_CHECKSUM_BYTES = 4
_ENTRY_OVERHEAD_BYTES = 128 + _CHECKSUM_BYTES  # numpy's header and the checksum
_OUTSIDE_HU = -32768  # marks a ROI whose centre lies outside its slice; no crop holds less than air
_SPACING_TOLERANCE = 0.01

Failure = tuple[RejectCode, str] | None


@dataclass(frozen=True)
class CutSettings:
    """All but the slice that decides what a cached crop holds.

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
        frame: Number of the frame, from 1, that the table gives, or None.
        spacing_yx_mm: Spacing that the table gives, or None.
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
        """What messages call the slice."""
        return Path(self.path).name + ("" if self.frame is None else f", frame {self.frame:g}")


@dataclass(frozen=True)
class Reject:
    """A row that cannot be used, and why."""

    row: int
    code: RejectCode
    reason: str


def default_cache_folder() -> Path:
    """Return the folder where crops are kept unless the user names another.

    Raises:
        UsageError: The user has no home folder, as in some containers.
    """
    try:
        return Path(platformdirs.user_cache_dir("noduleclip", appauthor=False)).expanduser() / "crops"
    except (RuntimeError, KeyError) as error:
        raise UsageError("there is no home folder for the cache of crops; name a folder with --cache-dir") from error


def make_jobs(frame: pl.DataFrame, settings: CutSettings) -> list[SliceJob]:
    """Gather the rows of a checked ROI frame by slice, in order of first appearance."""
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
    made_of = [_ENTRY_VERSION, identity, spacing_yx_mm, centers, asdict(settings), *numbered]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return SliceJob(path, frame, spacing_yx_mm, centers, rows, f"{digest[:2]}/{digest}.npy")


def cut_slice(job: SliceJob, settings: CutSettings) -> NDArray[np.int16]:
    """Decode a slice and cut its ROIs.

    Returns:
        (R, Y, X) HU, rounded; a ROI whose centre lies outside the slice is filled with a mark.

    Raises:
        SliceError: The file gives no slice in HU, or its spacing contradicts the table's.
    """
    from noduleclip.io.crops import AIR_HU, find_rows, make_crop
    from noduleclip.io.dicom.slice import read_ct_slice

    ct = read_ct_slice(Path(job.path), frame=job.frame, max_pixels=settings.max_pixels, assume_hu=settings.assume_hu)
    spacing = agree_on_spacing(job, ct.spacing_yx_mm)
    height, width = ct.stored.shape
    crops = np.full((len(job.rows), settings.size_px, settings.size_px), _OUTSIDE_HU, np.int16)
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
    """Cut one crop of a slice file that no table names: (Y, X) HU, rounded.

    Raises:
        SliceError: The file gives no slice in HU, or the centre lies outside it.
    """
    job = SliceJob(str(path), None, None, (center_xy_px,), (0,), "")
    crop: NDArray[np.int16] = cut_slice(job, settings)[0]
    if crop[0, 0] == _OUTSIDE_HU:
        raise SliceError(RejectCode.OUTSIDE, f"{job.name}: the centre {center_xy_px} lies outside the slice")
    return crop


def lies_inside(center_xy_px: tuple[float, float], height: int, width: int) -> bool:
    """Return whether a centre lies on one of the pixels of a slice."""
    x, y = center_xy_px
    return -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5


def explain_outside(job: SliceJob, at: int) -> Reject:
    """Return the reject of a job's ROI whose centre lies outside the slice."""
    reason = f"{job.name}: the box's centre {job.centers_xy_px[at]} lies outside the slice"
    return Reject(job.rows[at], RejectCode.OUTSIDE, reason)


def agree_on_spacing(job: SliceJob, of_header: tuple[float, float] | None) -> tuple[float, float]:
    """Return the spacing that header and table agree on, rows before columns, in mm.

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


def _cut_into(job: SliceJob, settings: CutSettings, folder: str) -> Failure:
    """Cut one slice and keep its crops; give (code, reason) where it cannot be cut. Runs in worker processes."""
    try:
        crops = cut_slice(job, settings)
    except SliceError as error:
        return error.code, str(error)
    _write_entry(Path(folder) / job.entry, crops)
    return None


def _write_entry(path: Path, crops: NDArray[np.int16]) -> None:
    """Write crops and a checksum over them; it tells what a power cut left behind, and the disk is not waited for."""
    file = io.BytesIO()
    np.save(file, crops)
    content = file.getvalue()
    content += _checksum(content)
    with replacing(path, size_bytes=len(content), flush=False) as temporary:
        temporary.write_bytes(content)


def _read_entry(path: Path) -> NDArray[np.int16]:
    """Read what `_write_entry` wrote.

    Raises:
        ValueError: It is not that.
    """
    content = path.read_bytes()
    if _checksum(content[:-_CHECKSUM_BYTES]) != content[-_CHECKSUM_BYTES:]:
        raise ValueError(f"{path}: is broken")
    crops: NDArray[np.int16] = np.load(io.BytesIO(content), allow_pickle=False)
    return crops


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES)


class CropCache:
    """The crops of one frame's rows, cut at most once.

    Attributes:
        folder: Where the crops are kept.
        settings: What decides the crops.
        rejects: Rows that have no crop, once `fill` has run, by row.
        jobs: The slices, in order of first appearance.
    """

    def __init__(self, folder: Path, frame: pl.DataFrame, settings: CutSettings) -> None:
        self.settings = settings
        self.rejects: list[Reject] = []
        self.folder = folder
        self.jobs = make_jobs(frame, settings)
        self._place = {row: (number, at) for number, job in enumerate(self.jobs) for at, row in enumerate(job.rows)}
        self._read_entry = functools.lru_cache(maxsize=64)(self._read_or_cut)

    @property
    def slices(self) -> int:
        """Slices that the rows lie on."""
        return len(self.jobs)

    def fingerprint(self) -> str:
        """Return a hash of all that makes the crops."""
        return hashlib.sha256("".join(job.entry for job in self.jobs).encode()).hexdigest()

    def find_missing(self) -> list[SliceJob]:
        """Find the slices that the cache does not hold yet."""
        return [job for job in self.jobs if not (self.folder / job.entry).exists()]

    def measure(self, jobs: Sequence[SliceJob]) -> int:
        """Return the bytes of disk that the crops of some slices take."""
        crop_bytes = np.dtype(np.int16).itemsize * self.settings.size_px**2
        return sum(round_to_blocks(len(job.rows) * crop_bytes + _ENTRY_OVERHEAD_BYTES) for job in jobs)

    def fill(self, workers: int, on_slice: Callable[[], None] = lambda: None, *, apart: bool = False) -> int:
        """Cut what the cache does not hold yet.

        Args:
            workers: Processes that decode; a few slices are decoded in this one.
            on_slice: Called once for each slice, cached or cut.
            apart: Decode nothing in this process: one of the slices may end it.

        Returns:
            Slices that were decoded.
        """
        missing = self.find_missing()
        for _ in range(len(self.jobs) - len(missing)):
            on_slice()
        failures: dict[str, tuple[RejectCode, str]] = {}
        work = functools.partial(_cut_into, settings=self.settings, folder=str(self.folder))
        for job, failure in run_jobs(work, missing, workers, apart=apart):
            on_slice()
            if isinstance(failure, WorkerCrashed):
                failures[job.entry] = RejectCode.DECODE_FAILED, f"{job.name}: its decoder ended the process"
            elif failure is not None:
                failures[job.entry] = failure
        self.rejects = sorted(self._find_rejects(failures), key=lambda reject: reject.row)
        return len(missing)

    def _find_rejects(self, failures: dict[str, tuple[RejectCode, str]]) -> Iterator[Reject]:
        for number, job in enumerate(self.jobs):
            if job.entry in failures:
                yield from (Reject(row, *failures[job.entry]) for row in job.rows)
                continue
            try:
                crops = self._read_entry(number)
            except SliceError as error:  # its entry was broken, and the slice can no longer be read
                yield from (Reject(row, error.code, str(error)) for row in job.rows)
                continue
            yield from (explain_outside(job, at) for at, crop in enumerate(crops) if crop[0, 0] == _OUTSIDE_HU)

    def _read_or_cut(self, number: int) -> NDArray[np.int16]:
        """Read an entry; cut and write it anew where it is missing or broken."""
        job = self.jobs[number]
        path = self.folder / job.entry
        try:
            crops = _read_entry(path)
            if crops.shape != (len(job.rows), self.settings.size_px, self.settings.size_px) or crops.dtype != np.int16:
                raise ValueError(f"{path}: holds {crops.dtype} {crops.shape}")
        except Exception:  # numpy's parser of headers raises whatever it runs into
            crops = cut_slice(job, self.settings)
            _write_entry(path, crops)
        return crops

    def read(self, rows: Sequence[int]) -> NDArray[np.int16]:
        """Read the crops of some rows, none of them rejected.

        Returns:
            (B, Y, X) HU in the order asked for.
        """
        size = self.settings.size_px
        crops = np.empty((len(rows), size, size), np.int16)
        for crop, row in zip(crops, rows, strict=True):
            number, at = self._place[row]
            crop[:] = self._read_entry(number)[at]
        return crops
