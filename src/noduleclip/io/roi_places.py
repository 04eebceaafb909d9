"""Places of the rows of a ROI table: boxes of outlines, or points in pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.io.text_table import parse_numbers

_POINTS: Final = ((schema.POINT_X, schema.POINT_Y), (schema.CENTROID_X, schema.CENTROID_Y))
_AT_X, _AT_Y = "at x", "at y"  # place of a point, until the boxes are checked
_LARGEST_PX: Final = 1e7


def choose_point(columns: Sequence[str], keep: Sequence[str], path: Path) -> tuple[str, str] | None:
    """Return the columns of a point; None where the table has none, but a box.

    Raises:
        InputError: It has neither, or lacks another column.
    """
    point = next((names for names in _POINTS if set(names) <= set(columns)), None)
    has_box = any(name in columns for name in schema.BOX_COLUMNS)
    needed = (schema.DICOM_PATH,) if point is not None and not has_box else schema.REQUIRED_COLUMNS
    missing = [name for name in (*needed, *keep) if name not in columns]
    if missing:
        points = " or ".join(", ".join(names) for names in _POINTS)
        advice = f" (or {schema.DICOM_PATH} and a point in pixels: {points})" if missing[0] not in keep else ""
        raise InputError(
            f"{path}: column {missing[0]!r} is missing; needed are {', '.join((*needed, *keep))}{advice}; "
            f"found {', '.join(columns[:12])}"
        )
    return point


def place_points(frame: pl.DataFrame, cells: pl.DataFrame, point: tuple[str, str], path: Path) -> pl.DataFrame:
    """Add the points, and to rows without a box the box of the pixel of their point.

    Args:
        frame: The rows; without the columns of the box where the table has none.
        cells: The same rows as text, with the columns of the point.
        point: Its columns.
        path: The table, for messages.
    """
    places = cells.select(schema.CSV_ROW, *point)
    for name in point:
        places = parse_numbers(places, name, path)
    absent = [pl.lit(None, pl.Float64).alias(name) for name in schema.NUMBER_COLUMNS if name not in frame.columns]
    wanted = {*schema.BOX_COLUMNS, schema.DIAMETER_MM, schema.CENTROID_X, schema.CENTROID_Y}
    frame = frame.with_columns(one for one in absent if one.meta.output_name() in wanted)
    is_point = pl.all_horizontal(pl.col(name).is_null() for name in schema.BOX_COLUMNS)
    at = (_AT_X, _AT_Y)
    return (
        frame.hstack(places.select(pl.col(name).alias(to) for name, to in zip(point, at, strict=True)))
        .with_columns(pl.when(is_point & (pl.col(to).abs() < _LARGEST_PX)).then(pl.col(to)).alias(to) for to in at)
        .with_columns(
            *(
                pl.coalesce(name, (pl.col(to) + 0.5).floor()).alias(name)
                for name, to in zip(schema.BOX_COLUMNS, at * 2, strict=True)
            ),
            pl.coalesce(schema.CENTROID_X, _AT_X).alias(schema.CENTROID_X),
            pl.coalesce(schema.CENTROID_Y, _AT_Y).alias(schema.CENTROID_Y),
        )
    )


def check_boxes(frame: pl.DataFrame, point: tuple[str, str] | None, path: Path) -> pl.DataFrame:
    """Add the centres: of a point itself, also where it has the box of its pixel; else the middle of the box.

    Raises:
        InputError: A box has min > max or is incomplete, or there is no point in its place.
    """
    xmin, ymin, xmax, ymax = (pl.col(name) for name in schema.BOX_COLUMNS)
    finite = pl.all_horizontal(pl.col(name).is_finite().fill_null(False) for name in schema.BOX_COLUMNS)
    broken = frame.filter(~finite | (xmin > xmax) | (ymin > ymax))
    if broken.height:
        row, *box = broken.select(schema.CSV_ROW, *schema.BOX_COLUMNS).row(0)
        if point is not None and None in box:
            raise InputError(f"{path}: row {row}, columns {', '.join(point)}: no place in pixels, and no box")
        raise InputError(
            f"{path}: row {row}, columns {', '.join(schema.BOX_COLUMNS)}: {box} is not a box with min <= max"
        )
    x, y = (xmin + xmax) / 2, (ymin + ymax) / 2
    if schema.CENTROID_X in frame.columns and schema.CENTROID_Y in frame.columns:
        at_x, at_y = pl.col(schema.CENTROID_X), pl.col(schema.CENTROID_Y)
        is_pixel = (xmin == xmax) & (ymin == ymax) & ((at_x - xmin).abs() <= 0.5) & ((at_y - ymin).abs() <= 0.5)
        x, y = pl.when(is_pixel).then(at_x).otherwise(x), pl.when(is_pixel).then(at_y).otherwise(y)
    if point is not None:
        x, y = pl.coalesce(_AT_X, x), pl.coalesce(_AT_Y, y)
    return frame.with_columns(x.alias(schema.CENTER_X), y.alias(schema.CENTER_Y)).drop(_AT_X, _AT_Y, strict=False)
