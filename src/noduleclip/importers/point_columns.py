"""Columns of a table of places: the names that are known, and those that a user maps to them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from noduleclip import schema
from noduleclip.errors import InputError, UsageError, suggest_names

AXES: Final = (schema.POINT_X, schema.POINT_Y, "z")
SIDES: Final = ("w", "h", "d")
"""Sides of a box, along the same axes."""
NUMBERS: Final = (
    *AXES,
    *SIDES,
    schema.DIAMETER_MM,
    schema.VOLUME_MM3,
    schema.DETECTION_SCORE,
    *schema.RATING_COLUMNS,
)
KNOWN: Final = (*NUMBERS, schema.SERIES_UID, schema.PATIENT_ID, schema.NODULE_ID, schema.READER)
"""The columns that a table of places may have."""
_ALIASES: Final = {
    **{alias: axis for axis in AXES for alias in (axis, f"coord{axis}", f"{axis}_mm", f"coord_{axis}")},
    **dict.fromkeys((schema.DIAMETER_MM, "diameter"), schema.DIAMETER_MM),
    **dict.fromkeys(("seriesuid", schema.SERIES_UID, "seriesinstanceuid", "series_instance_uid"), schema.SERIES_UID),
    **dict.fromkeys((schema.PATIENT_ID, "patientid", "patient-id"), schema.PATIENT_ID),
    **dict.fromkeys((schema.DETECTION_SCORE, schema.SCORE, schema.PROBABILITY, "confidence"), schema.DETECTION_SCORE),
    **{name: name for name in (*SIDES, schema.VOLUME_MM3, schema.NODULE_ID, schema.READER, *schema.RATING_COLUMNS)},
}
USUAL_NAMES: Final = tuple(_ALIASES)
"""All names, case-folded, that are known without a mapping."""
_MOST_NAMED: Final = 16


def parse_column_map(text: str) -> dict[str, str]:
    """Parse `--map`: `diameter_mm=DiamEq_Rad,patient_id=LNDbID`.

    A name of the table may have commas: what has no `=` belongs to the name before.

    Returns:
        The table's column by known column.

    Raises:
        UsageError: A part is no such pair, or its first name is not known.
    """
    pairs: list[list[str]] = []
    for part in text.split(","):
        known, equals, column = part.partition("=")
        if equals:
            name = known.strip().casefold()
            pairs.append([_ALIASES.get(name, name), column])
        elif pairs and part.strip():
            pairs[-1][1] += f",{part}"
        elif part.strip():
            raise UsageError(f"--map: {part.strip()[:40]!r} is no pair; write KNOWN=COLUMN, as in diameter_mm=Size")
    columns: dict[str, str] = {}
    for known, column in pairs:
        if known not in KNOWN:
            raise UsageError(
                f"--map: {known[:40]!r} is no known column{suggest_names(known, KNOWN)}; known are {', '.join(KNOWN)}"
            )
        if not column.strip():
            raise UsageError(f"--map: {known}= names no column of the table")
        if known in columns:
            raise UsageError(f"--map: {known} stands twice")
        columns[known] = column.strip()
    return columns


def parse_names(text: str) -> tuple[str, ...]:
    """Parse `--keep`: names of columns, separated by commas."""
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def find_column(name: str, columns: Sequence[str], path: Path, option: str) -> str:
    """Find a column that an option names, in any case.

    Raises:
        InputError: The table has none of this name.
    """
    if name in columns:
        return name
    alike = [column for column in columns if column.casefold() == name.casefold()]
    if len(alike) == 1:
        return alike[0]
    found = ", ".join(column[:40] for column in columns[:_MOST_NAMED])
    raise InputError(f"{path}: {option}: no column {name[:40]!r}{suggest_names(name, columns)}; found {found}")


def match_columns(columns: Sequence[str], mapped: Mapping[str, str], path: Path) -> dict[str, str]:
    """Find the known columns of a table.

    Args:
        columns: Its names.
        mapped: Its column by known column, for those that have another name.
        path: The table, for messages.

    Returns:
        The table's column by known column.

    Raises:
        InputError: A mapped column is missing, two columns mean the same, or there is no place or no image.
    """
    found = {known: find_column(column, columns, path, f"--map {known}") for known, column in mapped.items()}
    taken = set(found.values())
    for column in columns:
        known = _ALIASES.get(column.casefold())
        if known is None or known in mapped or column in taken:
            continue
        if known in found:
            raise InputError(
                f"{path}: columns {found[known]!r} and {column!r} mean the same; leave one of them out, or choose one: "
                f"--map {known}={column}"
            )
        found[known] = column
    missing = [axis for axis in AXES if axis not in found]
    if not missing and schema.SERIES_UID not in found and schema.PATIENT_ID not in found:
        missing = [schema.SERIES_UID]
    if missing:
        near = _suggest_column(missing[0], [column for column in columns if column not in found.values()])
        listed = ", ".join(column[:40] for column in columns[:_MOST_NAMED])
        raise InputError(
            f"{path}: no column for {missing[0]}{near}; needed are x, y, z (or coordX, coordY, coordZ) and seriesuid "
            f"or {schema.PATIENT_ID}; found {listed}; name them with --map {missing[0]}=COLUMN, or use a --preset"
        )
    return found


def _suggest_column(known: str, columns: Sequence[str]) -> str:
    """Return the end of a message that names a column that may be an axis, or name the series."""
    if known not in AXES:
        return suggest_names("series", columns)
    ends = [
        column
        for column in columns
        if column.casefold().rstrip("]) ").removesuffix("mm").rstrip("_ ([").endswith(known)
    ]
    return f"; did you mean {ends[0][:40]!r}?" if ends else ""
