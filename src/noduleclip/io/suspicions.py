"""Checks of a ROI table for suspicious values: units, duplicates, missing patient ids. No slice is read."""

from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.io.roi_table import RoiTable

_USUAL_MEDIAN_MM = (1.0, 60.0)
_APART = 3.0


def find_suspicions(table: RoiTable) -> list[str]:
    """Return one sentence for each suspicious property of a table."""
    found = []
    if table.duplicates:
        found.append(f"{table.path}: dropped {table.duplicates} exact duplicate row(s)")
    if table.odd_ratings:
        found.append(f"{table.path}: {table.odd_ratings}")
    nameless = table.frame.filter(pl.col(schema.PATIENT_ID) == "")
    if nameless.height:
        found.append(
            f"{table.path}: {nameless.height} row(s) belong to no known patient, so to no patient list: no "
            f"{schema.PATIENT_ID}, and no header to take it from; first: {nameless[0, schema.DICOM_PATH]}"
        )
    median = table.frame[schema.DIAMETER_MM].median()
    low, high = _USUAL_MEDIAN_MM
    if isinstance(median, float) and not low <= median <= high:
        found.append(f"{table.path}: the median of {schema.DIAMETER_MM} is {median:g}; is it in millimetres?")
    odd = describe_odd_sizes(table.path, table.frame)
    return [*found, *([odd] if odd else [])]


def describe_odd_sizes(path: Path, frame: pl.DataFrame) -> str | None:
    """Describe how many diameters and boxes cannot both be right.

    A diameter is over three times the box's diagonal or under a third of its longer side, less a pixel at each end: an
    outline along the first pixels outside, as of a mask of one voxel, has a box of three. A box of one pixel only marks
    a place.

    Args:
        path: The table, for the message.
        frame: Its rows; without the pixel spacing among them nothing is found.
    """
    if schema.SPACING_ROW not in frame.columns or schema.SPACING_COL not in frame.columns:
        return None
    wide_px = pl.col(schema.BBOX_XMAX) - pl.col(schema.BBOX_XMIN) + 1
    high_px = pl.col(schema.BBOX_YMAX) - pl.col(schema.BBOX_YMIN) + 1
    wide_mm, high_mm = wide_px * pl.col(schema.SPACING_COL), high_px * pl.col(schema.SPACING_ROW)
    side_mm, diagonal_mm = pl.max_horizontal(wide_mm, high_mm), (wide_mm**2 + high_mm**2).sqrt()
    inside_mm = pl.max_horizontal(
        (wide_px - 2) * pl.col(schema.SPACING_COL), (high_px - 2) * pl.col(schema.SPACING_ROW)
    )
    diameter_mm = pl.col(schema.DIAMETER_MM)
    is_odd = (diameter_mm > _APART * diagonal_mm) | (diameter_mm < inside_mm / _APART)
    is_box = pl.max_horizontal(wide_px, high_px) > 1
    odd = frame.filter(is_odd & is_box)
    if odd.height == 0:
        return None
    row, known_mm, longest_mm = odd.select(schema.CSV_ROW, diameter_mm, side_mm.alias(schema.BBOX_XMAX)).row(0)
    return (
        f"{path}: in {odd.height} row(s) {schema.DIAMETER_MM} and the box disagree {_APART:g}-fold; first: "
        f"row {row} has {known_mm:g} mm in a box of {longest_mm:.1f} mm; are both of one nodule, in one unit?"
    )
