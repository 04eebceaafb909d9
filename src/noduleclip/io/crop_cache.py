"""Crops on disk: each slice is decoded once, its ROIs are cut, and one small file keeps them for every later run.

An entry's name is a hash of all that decides its crops: the slice file (path, size, time of change), the frame of it,
the centres, the spacing from the table, and the geometry. Entries appear whole, so processes may share a cache
without locks.
"""

import functools
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import platformdirs
import polars as pl
from numpy.typing import NDArray

from noduleclip.errors import RejectCode, SliceError, UsageError
from noduleclip.io.artefacts import replacing
from noduleclip.io.disk import round_to_blocks
from noduleclip.io.job_pool import WorkerCrashed, run_jobs
from noduleclip.io.slice_crops import OUTSIDE_HU, CutSettings, Reject, SliceJob, cut_slice, make_jobs, reject_outside

_CHECKSUM_BYTES = 4
_ENTRY_OVERHEAD_BYTES = 128 + _CHECKSUM_BYTES  # numpy's header and the checksum

Failure = tuple[RejectCode, str] | None


def default_cache_folder() -> Path:
    """Return the folder where crops are kept unless the user names another.

    Raises:
        UsageError: The user has no home folder, as in some containers.
    """
    try:
        return Path(platformdirs.user_cache_dir("noduleclip", appauthor=False)).expanduser() / "crops"
    except (RuntimeError, KeyError) as error:
        raise UsageError("there is no home folder for the cache of crops; name a folder with --cache-dir") from error


def _cut_into(job: SliceJob, settings: CutSettings, folder: str) -> Failure:
    """Cut one slice and keep its crops; return (code, reason) where it cannot be cut. Runs in worker processes."""
    try:
        crops = cut_slice(job, settings)
    except SliceError as error:
        return error.code, str(error)
    _write_entry(Path(folder) / job.entry, crops)
    return None


def _write_entry(path: Path, crops: NDArray[np.int16]) -> None:
    """Write crops with a checksum, which detects what a power cut left behind; so the file is not flushed."""
    file = io.BytesIO()
    np.save(file, crops)
    content = file.getvalue()
    content += _checksum(content)
    with replacing(path, size_bytes=len(content), flush=False) as temporary:
        temporary.write_bytes(content)


def _read_entry(path: Path, shape: tuple[int, int, int]) -> NDArray[np.int16]:
    """Read what `_write_entry` wrote.

    Raises:
        ValueError: It is broken, or has another shape.
    """
    content, header = path.read_bytes(), _format_header(shape)
    if not content.startswith(header) or _checksum(content[:-_CHECKSUM_BYTES]) != content[-_CHECKSUM_BYTES:]:
        raise ValueError(f"{path}: is broken, or not of {shape}")
    return np.frombuffer(content[len(header) : -_CHECKSUM_BYTES], "<i2").reshape(shape)


@functools.cache
def _format_header(shape: tuple[int, int, int]) -> bytes:
    """Return the header of the .npy file of an entry; to compare it is faster than to parse it."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": shape})
    return file.getvalue()


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES)


class CropCache:
    """The crops of one frame's rows, cut at most once.

    Attributes:
        folder: Where the crops are kept.
        settings: Geometry and limits of the crops.
        rejects: Rows that have no crop, once `fill` has run, by row.
        unreadable: Slices that could not be decoded, once `fill` has run.
        jobs: The slices, in order of first appearance.
    """

    def __init__(self, folder: Path, frame: pl.DataFrame, settings: CutSettings) -> None:
        self.settings = settings
        self.rejects: list[Reject] = []
        self.unreadable = 0
        self.folder = folder
        self.jobs = make_jobs(frame, settings)
        self._place = {row: (number, at) for number, job in enumerate(self.jobs) for at, row in enumerate(job.rows)}
        self._read_entry = functools.lru_cache(maxsize=64)(self._read_or_cut)

    @property
    def slices(self) -> int:
        """Slices that the rows lie on."""
        return len(self.jobs)

    def fingerprint(self) -> str:
        """Return a hash of all that decides the crops."""
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
            Slices that were decoded; `unreadable` counts those that could not be.
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
        self.unreadable = len(failures)
        self.rejects = sorted(self._find_rejects(failures), key=lambda reject: reject.row)
        return len(missing) - len(failures)

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
            yield from (reject_outside(job, at) for at, crop in enumerate(crops) if crop[0, 0] == OUTSIDE_HU)

    def _read_or_cut(self, number: int) -> NDArray[np.int16]:
        """Read an entry; cut and write it anew where it is missing or broken."""
        job = self.jobs[number]
        path = self.folder / job.entry
        try:
            return _read_entry(path, (len(job.rows), self.settings.size_px, self.settings.size_px))
        except (OSError, ValueError):
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
