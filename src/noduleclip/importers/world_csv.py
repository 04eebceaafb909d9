"""Tables of centers and diameters in patient coordinates, such as LUNA16's `annotations.csv`, as spheres."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError, RejectCode
from noduleclip.importers.annotations import LAST_RATING, RejectedAnnotation, Sphere
from noduleclip.io.roi_table import MAX_DIAMETER_MM
from noduleclip.io.text_table import parse_numbers, read_text_frame

AXES: Final = ("x", "y", "z")
_ALIASES: Final = {
    **{alias: axis for axis in AXES for alias in (axis, f"coord{axis}", f"{axis}_mm", f"coord_{axis}")},
    **dict.fromkeys((schema.DIAMETER_MM, "diameter"), schema.DIAMETER_MM),
    **dict.fromkeys(("seriesuid", schema.SERIES_UID, "seriesinstanceuid", "series_instance_uid"), schema.SERIES_UID),
    **dict.fromkeys((schema.PATIENT_ID, "patientid"), schema.PATIENT_ID),
    **{name: name for name in (schema.NODULE_ID, schema.READER, *schema.RATING_COLUMNS)},
}
_NEEDED: Final = (*AXES, schema.DIAMETER_MM, schema.SERIES_UID)


class Coordinates(StrEnum):
    """Direction of the axes of world coordinates.

    In DICOM and ITK they point to the patient's left, back and head; in NIfTI to the right, front and head.
    """

    LPS = "lps"
    RAS = "ras"

    def to_lps(self, point_mm: Sequence[float]) -> tuple[float, float, float]:
        """Return (x, y, z) in DICOM's patient coordinates, LPS."""
        x, y, z = point_mm
        return (-x, -y, z) if self is Coordinates.RAS else (x, y, z)


def read_world_csv(
    path: Path, coordinates: Coordinates = Coordinates.LPS
) -> tuple[list[Sphere], list[RejectedAnnotation]]:
    """Read a table with a row for each nodule, or for each reader of one.

    Columns, in any case: x, y, z or coordX, coordY, coordZ in mm; diameter_mm; seriesuid or series_uid. Values of
    patient_id, nodule_id, reader and the rating columns are kept; other columns are left out.

    Args:
        path: CSV in UTF-8, separated by commas.
        coordinates: Direction of the axes.

    Returns:
        The spheres in file order, each named after its row ("row 1"), and the rows that give none.

    Raises:
        InputError: The file is not such a table; the message names row and column.
    """
    raw = read_text_frame(path, "table of nodules", (*AXES, "coordX", "seriesuid", schema.SERIES_UID))
    frame = _name_columns(raw, path)
    frame = frame.with_row_index(schema.CSV_ROW, offset=1).filter(~pl.all_horizontal(pl.col(frame.columns).is_null()))
    if frame.height == 0:
        raise InputError(f"{path}: has a header but no rows")
    numbers = [name for name in (*AXES, schema.DIAMETER_MM, *schema.RATING_COLUMNS) if name in frame.columns]
    for name in numbers:
        frame = parse_numbers(frame, name, path)
    spheres: list[Sphere] = []
    rejected: list[RejectedAnnotation] = []
    for row in frame.iter_rows(named=True):
        parsed = _parse_row(row, path, coordinates)
        if isinstance(parsed, Sphere):
            spheres.append(parsed)
        else:
            rejected.append(parsed)
    return spheres, rejected


def _name_columns(raw: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return the known columns under their standard names."""
    names: dict[str, str] = {}
    for column in raw.columns:
        name = _ALIASES.get(column.casefold())
        if name is None:
            continue
        if name in names.values():
            other = next(known for known, given in names.items() if given == name)
            raise InputError(f"{path}: columns {other!r} and {column!r} mean the same; leave one of them out")
        names[column] = name
    missing = [name for name in _NEEDED if name not in names.values()]
    if missing:
        raise InputError(
            f"{path}: no column for {missing[0]}; needed are x, y, z (or coordX, coordY, coordZ), diameter_mm and "
            f"seriesuid; found {', '.join(raw.columns[:12])}"
        )
    return raw.select(pl.col(column).alias(name) for column, name in names.items())


def _parse_row(row: dict[str, object], path: Path, coordinates: Coordinates) -> Sphere | RejectedAnnotation:
    number = row[schema.CSV_ROW]
    where = f"{path}: row {number}"
    center, diameter = [row[axis] for axis in AXES], row[schema.DIAMETER_MM]
    if not all(isinstance(part, float) and abs(part) < 1e5 for part in center):
        found = ", ".join("empty" if part is None else f"{part:g}" for part in center)
        return RejectedAnnotation(path, RejectCode.OUTSIDE, f"{where}: x, y, z are {found}, no place in mm")
    if not (isinstance(diameter, float) and 0 < diameter <= MAX_DIAMETER_MM):
        found = "empty" if diameter is None else f"{diameter:g}"
        reason = f"{where}: {schema.DIAMETER_MM} is {found}, where a number in (0, {MAX_DIAMETER_MM:g}] mm is needed"
        return RejectedAnnotation(path, RejectCode.NO_DIAMETER, reason)
    series_uid = _text(row, schema.SERIES_UID)
    if not series_uid:
        return RejectedAnnotation(path, RejectCode.NO_SERIES, f"{where}: names no series")
    return Sphere(
        series_uid=series_uid,
        center_mm=coordinates.to_lps([part for part in center if isinstance(part, float)]),
        diameter_mm=diameter,
        reader=_text(row, schema.READER),
        name=f"row {number}",
        ratings=_parse_ratings(row, where),
        patient_id=_text(row, schema.PATIENT_ID),
        nodule_id=_text(row, schema.NODULE_ID),
    )


def _text(row: dict[str, object], name: str) -> str:
    return str(row.get(name) or "").strip()


def _parse_ratings(row: dict[str, object], where: str) -> dict[str, int]:
    """Return the ratings of a row; none where its cell is empty.

    Raises:
        InputError: One is not a whole number on its scale: a mean of readers is no reader's rating.
    """
    ratings: dict[str, int] = {}
    for name, last in LAST_RATING.items():
        rating = row.get(name)
        if not isinstance(rating, float):
            continue
        if not (rating.is_integer() and 1 <= rating <= last):
            raise InputError(
                f"{where}, column {name}: {rating:g} is no rating; they are whole numbers from 1 to {last}"
            )
        ratings[name] = int(rating)
    return ratings
