"""A folder of DICOM as a table of slices, from headers alone: where each lies in the patient. Knows no nodules."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from noduleclip import schema
from noduleclip.config import MAX_PIXELS
from noduleclip.errors import InputError, RejectCode, SliceError, make_encodable
from noduleclip.importers.files import Walk, walk_files
from noduleclip.importers.planes import SLACK_MM, Plane
from noduleclip.io.artefacts import replacing
from noduleclip.io.dicom.checks import check_orientation, parse_spacing
from noduleclip.io.dicom.header import COPY_AGAIN, Header, read_header
from noduleclip.io.dicom.slice import no_warnings
from noduleclip.io.disk import require_space
from noduleclip.io.job_pool import WorkerCrashed, run_jobs

PATH: Final = "path"
MODALITY: Final = "modality"
STUDY_UID: Final = "study_uid"
POSITION: Final = ("position_x_mm", "position_y_mm", "position_z_mm")
ORIENTATION: Final = ("row_x", "row_y", "row_z", "column_x", "column_y", "column_z")
ROWS: Final = "rows"
COLUMNS: Final = "columns"
_GEOMETRY: Final = (*POSITION, *ORIENTATION, schema.SPACING_ROW, schema.SPACING_COL, ROWS, COLUMNS)
_SIZE = "size_bytes"
_MTIME = "modified_ns"
_KNOWN_BY = (PATH, _SIZE, _MTIME)
SLICE_COLUMNS: Final = {
    PATH: pl.String,
    _SIZE: pl.Int64,
    _MTIME: pl.Int64,
    MODALITY: pl.String,  # null where the file is no readable DICOM
    schema.SOP_UID: pl.String,
    schema.SERIES_UID: pl.String,
    STUDY_UID: pl.String,
    schema.PATIENT_ID: pl.String,
    schema.SPACING_ROW: pl.Float64,
    schema.SPACING_COL: pl.Float64,
    **dict.fromkeys((*POSITION, *ORIENTATION), pl.Float64),
    ROWS: pl.Int64,
    COLUMNS: pl.Int64,
    schema.SLICE_THICKNESS: pl.Float64,
    schema.MANUFACTURER: pl.String,
    schema.REJECT_CODE: pl.String,
    schema.REJECT_REASON: pl.String,
}
_TAGS: Final = (
    *("Modality", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"),
    *("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
    *("SliceThickness", "Manufacturer"),
)
_OTHER_SUFFIXES: Final = frozenset(
    [
        *(".xml", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".toml", ".yaml", ".md", ".html", ".pdf", ".xls", ".xlsx"),
        *(".zip", ".gz", ".tar", ".tcia", ".mhd", ".mha", ".raw", ".zraw", ".nii", ".nrrd", ".npy", ".npz", ".png"),
        *(".svg", ".jpg", ".jpeg", ".db", ".sqlite", ".parquet", ".py", ".ipynb", ".log", ".lock", ".part"),
    ]
)
_DICOM_SUFFIXES: Final = frozenset((".dcm", ".dicom", ".ima"))
_CT_CLASSES: Final = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_CATALOGUE: Final = "catalogue.parquet"
_PART: Final = "part-*.parquet"
_FILES_A_JOB: Final = 16
_ROW_BYTES: Final = 100  # of a file in a catalogue, at least
_FILES_A_PART: Final = 2_000
_SAME_PLACE_MM: Final = 0.01
_LOST: Final = "it or one of its neighbours ends the process that reads it; leave the file out"
_MAY_PASS: Final = (RejectCode.UNREADABLE_FILE, RejectCode.MISSING_FILE)


def _as_plane(row: Sequence[float]) -> Plane:
    """Make the plane of a slice of its values in the order of `_GEOMETRY`."""
    return Plane((row[0], row[1], row[2]), tuple(row[3:9]), (row[9], row[10]), (int(row[11]), int(row[12])))


@dataclass(frozen=True)
class SeriesSlices:
    """The slices of one series, upwards.

    Attributes:
        frame: Rows of the catalogue, ascending along the normal of the planes; of those at one place the first by path.
        heights_mm: (N,) positions along that normal.
    """

    frame: pl.DataFrame
    heights_mm: NDArray[np.float64]

    @property
    def gap_mm(self) -> float:
        """The median distance of neighbouring slices; NaN where there is one slice."""
        gaps_mm = np.diff(self.heights_mm)
        return float(np.median(gaps_mm)) if len(gaps_mm) else math.nan

    @property
    def largest_gap_mm(self) -> float:
        """The largest distance of neighbouring slices; NaN where there is one slice."""
        return float(np.diff(self.heights_mm).max()) if len(self.heights_mm) > 1 else math.nan

    @functools.cached_property
    def planes(self) -> tuple[Plane, ...]:
        """Where each slice lies."""
        return tuple(map(_as_plane, self.frame.select(_GEOMETRY).iter_rows()))

    def find_height(self, z_mm: float) -> int | None:
        """Find the slice at a height as a table gives it, the z of its first pixel (LPS).

        Returns:
            Its number; None where none lies nearer than half the distance of slices.
        """
        away_mm = np.abs(self.frame[POSITION[2]].to_numpy() - z_mm)
        nearest = int(np.argmin(away_mm))
        reach_mm = (self.gap_mm / 2 if len(away_mm) > 1 else 0.0) + SLACK_MM
        return nearest if away_mm[nearest] <= reach_mm else None


@dataclass(frozen=True)
class Catalogue:
    """The DICOM files of a folder.

    Attributes:
        root: The folder.
        slices: One row per CT slice with a place in its patient, sorted by series and path; of slices with one SOP
            Instance UID the first.
        others: One row per DICOM file of another modality, such as segmentations, reports and chest X-rays; of those
            with one SOP Instance UID the first.
        rejects: One row per file that is no usable DICOM, and per folder that cannot be opened, with code and reason.
        copies: Files left out because another one has their SOP Instance UID.
        not_dicom: Files that are something else.
        was_read: Whether files were looked at; else slices are as a source describes them, and maybe not all.
        paths_from: Folder that relative paths start from, where it is not `root`.
    """

    root: Path
    slices: pl.DataFrame
    others: pl.DataFrame
    rejects: pl.DataFrame
    copies: int
    not_dicom: int
    was_read: bool = True
    paths_from: Path | None = None
    _opened: dict[str, SeriesSlices] = field(default_factory=dict)

    @property
    def start(self) -> Path:
        """The folder that relative paths start from, for `--dicom-root`."""
        return self.paths_from or self.root

    @functools.cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        """First row and number of rows of each series."""
        lengths = self.slices.group_by(schema.SERIES_UID, maintain_order=True).len().rows()
        starts = np.cumsum([0, *(length for _, length in lengths)]).tolist()
        return {uid: (start, length) for (uid, length), start in zip(lengths, starts, strict=False)}

    @functools.cached_property
    def _series_of_sop(self) -> dict[str, int]:
        return dict(zip(self.slices[schema.SOP_UID], range(self.slices.height), strict=True))

    def series_uids(self) -> list[str]:
        """The series that have slices."""
        return list(self._places)

    def find_series(self, series_uid: str) -> SeriesSlices | None:
        """Return the slices of a series; None where there are none."""
        if series_uid not in self._places:
            return None
        if series_uid not in self._opened:
            self._opened.clear()  # they are asked for series by series
            self._opened[series_uid] = _order(self.slices.slice(*self._places[series_uid]))
        return self._opened[series_uid]

    def find_sop(self, sop_uid: str) -> dict[str, Any] | None:
        """Return the row of a slice; None where there is none."""
        row = self._series_of_sop.get(sop_uid)
        return None if row is None else self.slices.row(row, named=True)

    def find_plane(self, sop_uid: str) -> Plane | None:
        """Return where a slice lies; None where there is no such slice."""
        found = self.find_sop(sop_uid)
        return None if found is None else _as_plane([found[name] for name in _GEOMETRY])

    def list_other(self, modality: str) -> list[Path]:
        """Return the files of another modality."""
        return [Path(path) for path in self.others.filter(pl.col(MODALITY) == modality)[PATH]]

    def count_modalities(self) -> Counter[str]:
        """Count the files of other modalities."""
        return Counter(self.others[MODALITY].to_list())


def read_catalogue(
    root: Path,
    keep: Path,
    *,
    workers: int,
    max_pixels: int = MAX_PIXELS,
    is_left_out: Callable[[str], bool] = lambda _: False,
    on_start: Callable[[int, int], Callable[[int], None]] = lambda _files, _known: lambda _: None,
) -> Catalogue:
    """Read the headers of all DICOM files below a folder.

    What was read is kept, so that a killed run goes on, and a later one reads new and changed files only.

    Args:
        root: The folder; links to folders are not followed, links to files are.
        keep: Folder for what was read.
        workers: Processes.
        max_pixels: Largest slice; it bounds what a broken file can take.
        is_left_out: Says of a folder whether it is none of the collection's.
        on_start: Called with the files to read and those known; gives what to call with files read.

    Raises:
        InputError: The folder is none, or holds no CT slice.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of DICOM files")
    walk = Walk()
    found = _list_files(root, walk, is_left_out)
    known, lost = _read_kept(keep)
    fresh = found.join(known, on=_KNOWN_BY, how="anti", maintain_order="left")
    require_space(keep, _ROW_BYTES * (fresh.height + found.height))  # in parts, and whole
    told = on_start(fresh.height, found.height - fresh.height)
    parts = _Parts(keep)
    try:
        for rows in _read_jobs(fresh, lost, workers, max_pixels, told):
            parts.add(rows)
    finally:
        parts.close()
    table = (
        pl.concat([known, *parts.frames])
        .join(found, on=_KNOWN_BY, how="semi")
        .sort(schema.SERIES_UID, PATH, nulls_last=True)
    )
    if fresh.height or table.height != known.height:
        _keep(keep / _CATALOGUE, table)
        for path in keep.glob(_PART):
            path.unlink()
    closed = [_describe((make_encodable(str(one.path)), 0, 0), one.code, one.reason) for one in walk.rejected]
    return _sort_out(root, pl.concat([table, _as_frame(closed)]), walk.hint)


def describe_slices(source: Path, rows: Iterable[dict[str, Any]]) -> Catalogue:
    """Make a catalogue of slices that a collection describes itself, without any file.

    Args:
        source: What describes them.
        rows: What is known of each slice, by the columns of a catalogue; at least path, series and geometry.
    """
    nothing = _as_frame([])
    return Catalogue(
        source, _as_frame(list(rows)).sort(schema.SERIES_UID, PATH), nothing, nothing, 0, 0, was_read=False
    )


def _sort_out(root: Path, table: pl.DataFrame, hint: str) -> Catalogue:
    is_dicom, is_refused = pl.col(MODALITY).is_not_null(), pl.col(schema.REJECT_CODE).is_not_null()
    ct = table.filter(is_dicom & ~is_refused & (pl.col(MODALITY) == "CT"))
    slices = _drop_copies(ct)
    rejects = table.filter(is_refused)
    if slices.height == 0:
        refused = f"; {rejects.height:,} cannot be used, first: {rejects[0, schema.REJECT_REASON]}"
        raise InputError(
            f"{root}: no CT slice among {table.height:,} files; name the folder that holds the DICOM of the series"
            f"{hint}{refused if rejects.height else ''}"
        )
    not_ct = table.filter(is_dicom & ~is_refused & (pl.col(MODALITY) != "CT"))
    others = _drop_copies(not_ct)
    copies = ct.height - slices.height + not_ct.height - others.height
    return Catalogue(root, slices, others, rejects, copies, table.height - ct.height - not_ct.height - rejects.height)


def _drop_copies(files: pl.DataFrame) -> pl.DataFrame:
    """Leave the first of the files with one SOP Instance UID; those without any are all left."""
    name = pl.when(pl.col(schema.SOP_UID) != "").then(schema.SOP_UID).otherwise(PATH)
    return files.filter(name.is_first_distinct())


def _list_files(root: Path, walk: Walk, is_left_out: Callable[[str], bool]) -> pl.DataFrame:
    """List the files that may be DICOM, in the order of their paths; hidden ones and known others are left out."""
    rows: list[tuple[str, int, int]] = []
    for entry in walk_files(root.absolute(), walk, lambda folder: walk.can_name(folder) and not is_left_out(folder)):
        if _is_other(entry.name):
            continue
        try:
            if entry.is_file() and walk.can_name(entry.path):
                status = entry.stat()
                rows.append((entry.path, status.st_size, status.st_mtime_ns))
        except OSError as error:
            walk.add_error(entry.path, error)
    names = {name: SLICE_COLUMNS[name] for name in _KNOWN_BY}
    return pl.DataFrame(sorted(rows), schema=names, orient="row")


def _is_other(name: str) -> bool:
    return Path(name).suffix.lower() in _OTHER_SUFFIXES or name.upper() in ("LICENSE", "README", "DICOMDIR")


def _read_kept(keep: Path) -> tuple[pl.DataFrame, set[str]]:
    """Return what earlier runs read, of which some may have been killed, and the paths that processes ended at.

    What may pass without a change of the file, such as its permissions or a disk that fails, is looked at again.
    """
    frames = [pl.DataFrame(schema=SLICE_COLUMNS)]
    for path in (*sorted(keep.glob(_PART)), keep / _CATALOGUE):
        try:
            frame = pl.read_parquet(path, glob=False)
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
            continue  # not there or broken: its files are read again
        if frame.schema == pl.Schema(SLICE_COLUMNS):
            frames.append(frame)
    kept = pl.concat(frames)
    lost = set(kept.filter(pl.col(schema.REJECT_REASON).str.ends_with(_LOST))[PATH])
    lasting = kept.filter(~pl.col(schema.REJECT_CODE).is_in(_MAY_PASS).fill_null(value=False))
    return lasting.unique(_KNOWN_BY, keep="first", maintain_order=True), lost


class _Parts:
    """What is read, kept in parts: whatever ends the run, what was read before it is known to the next one.

    Attributes:
        frames: The parts so far.
    """

    def __init__(self, keep: Path) -> None:
        self.frames: list[pl.DataFrame] = []
        self._keep = keep
        numbers = (int(path.stem[5:]) for path in keep.glob(_PART) if path.stem[5:].isdecimal())
        self._number = 1 + max(numbers, default=0)
        self._waiting: list[dict[str, Any]] = []

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take rows, and keep a part where there are enough of them."""
        self._waiting += rows
        if len(self._waiting) >= _FILES_A_PART:
            self.close()

    def close(self) -> None:
        """Keep the rows that were taken since the last part."""
        if not self._waiting:
            return
        frame = _as_frame(self._waiting)
        # The disk may take its time: a part that is lost with the power is read again.
        _keep(self._keep / _PART.replace("*", f"{self._number:05}"), frame, flush=False)
        self.frames.append(frame)
        self._number += 1
        self._waiting = []


def _keep(path: Path, frame: pl.DataFrame, *, flush: bool = True) -> None:
    with replacing(path, flush=flush) as temporary:
        frame.write_parquet(temporary)


def _read_jobs(
    files: pl.DataFrame, lost: Collection[str], workers: int, max_pixels: int, told: Callable[[int], None]
) -> Iterator[list[dict[str, Any]]]:
    """Read files, those that a process ended at each by itself and in no process that matters."""
    rows: list[tuple[str, int, int]] = [file for file in files.rows() if file[0] not in lost]
    jobs = [tuple(rows[start : start + _FILES_A_JOB]) for start in range(0, len(rows), _FILES_A_JOB)]
    alone = [(file,) for file in files.rows() if file[0] in lost]
    work = functools.partial(_read_files, max_pixels)
    for job, read in run_jobs(work, [*jobs, *alone], workers, apart=bool(alone)):
        if isinstance(read, WorkerCrashed):
            read = [_describe(file, RejectCode.UNREADABLE_FILE, f"{file[0]}: {_LOST}") for file in job]
        yield read
        told(len(job))


def _as_frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SLICE_COLUMNS, orient="row")


@no_warnings()
def _read_files(max_pixels: int, files: Iterable[tuple[str, int, int]]) -> list[dict[str, Any]]:
    return [_read_file(file, max_pixels) for file in files]


def _read_file(file: tuple[str, int, int], max_pixels: int) -> dict[str, Any]:
    path = Path(file[0])
    try:
        header = read_header(path, max_pixels, _TAGS)
        modality = header.text("Modality")
        row: dict[str, Any] = {
            **dict(zip(_KNOWN_BY, file, strict=True)),
            MODALITY: modality[:16],
            schema.SOP_UID: header.text("SOPInstanceUID"),
            schema.SERIES_UID: header.text("SeriesInstanceUID"),
            STUDY_UID: header.text("StudyInstanceUID"),
            schema.PATIENT_ID: header.text("PatientID"),
        }
        if not modality and _ends_early(header, row[schema.SERIES_UID]):
            fact = "it ends before it says what it is: it has no Modality"
            raise header.reject(RejectCode.TRUNCATED_HEADER, fact, COPY_AGAIN)
        if modality != "CT":
            return row
        for name in (schema.SOP_UID, schema.SERIES_UID):
            if not row[name]:
                raise header.reject(RejectCode.TRUNCATED_HEADER, f"the header has no {name}", COPY_AGAIN)
        check_orientation(header)
        spacing = parse_spacing(header)
        position, orientation = header.numbers("ImagePositionPatient"), header.numbers("ImageOrientationPatient")
        if not position or len(position) != 3 or not orientation:
            fact = "ImagePositionPatient or ImageOrientationPatient is missing: where it lies is not known"
            raise header.reject(RejectCode.BAD_HEADER, fact, "leave the file out")
        if spacing is None:
            raise header.reject(RejectCode.NO_SPACING, "the header has no PixelSpacing", "leave the file out")
        row |= {schema.SPACING_ROW: spacing[0], schema.SPACING_COL: spacing[1]}
        row |= dict(zip((*POSITION, *ORIENTATION), (*position, *orientation), strict=True))
        thickness = header.numbers("SliceThickness")
        row |= {ROWS: header.count("Rows"), COLUMNS: header.count("Columns")}
        row |= {schema.SLICE_THICKNESS: thickness[0] if thickness else None}
        return row | {schema.MANUFACTURER: header.text("Manufacturer") or None}
    except SliceError as error:
        if error.code is RejectCode.NOT_DICOM and path.suffix.lower() not in _DICOM_SUFFIXES:
            return dict(zip(_KNOWN_BY, file, strict=True))
        return _describe(file, error.code, str(error))


def _ends_early(header: Header, series_uid: str) -> bool:
    """Return whether a file without Modality is cut short; directories and hanging protocols have none either."""
    if series_uid:
        return False
    declared = Header(header.path, getattr(header.dataset, "file_meta", Dataset())).text("MediaStorageSOPClassUID")
    sop_class = header.text("SOPClassUID")
    if not sop_class:
        return declared != MediaStorageDirectoryStorage
    return sop_class in _CT_CLASSES or sop_class != (declared or sop_class)


def _describe(file: tuple[str, int, int], code: RejectCode, reason: str) -> dict[str, Any]:
    return {
        **dict(zip(_KNOWN_BY, file, strict=True)),
        schema.REJECT_CODE: str(code),
        schema.REJECT_REASON: reason,
    }


def _order(frame: pl.DataFrame) -> SeriesSlices:
    """Sort the slices of a series along the normal of its first one; z grows upwards."""
    along_row, along_column = frame.select(ORIENTATION).to_numpy()[0].reshape(2, 3)
    normal = np.cross(along_row, along_column)
    normal /= np.linalg.norm(normal)
    origins_mm = frame.select(POSITION).to_numpy()
    heights_mm = origins_mm @ (normal * (1 if normal[2] >= 0 else -1))
    order = np.argsort(heights_mm, kind="stable")
    chosen = order[np.diff(heights_mm[order], prepend=-np.inf) > _SAME_PLACE_MM]
    return SeriesSlices(frame[chosen.tolist()], heights_mm[chosen])
