"""Pictures of hits, cut from their slices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from noduleclip import schema
from noduleclip.errors import RejectCode, SliceError
from noduleclip.io.index.base import Index
from noduleclip.io.own_indexes import SliceFolders

if TYPE_CHECKING:  # a query without pictures does not load the libraries that they need
    from noduleclip.io.pictures import Picture

_PLACE = (schema.CENTER_X, schema.CENTER_Y, *schema.BOX_COLUMNS)


def load_pictures(
    index: Index,
    hits: pl.DataFrame,
    folders: SliceFolders,
    *,
    fov_mm: float,
    size_px: int,
    on_picture: Callable[[int], None] = lambda _: None,
) -> list[Picture | SliceError]:
    """Cut the picture of each hit from its slice.

    Args:
        index: The index of the hits.
        hits: Rows with all metadata that the index holds of them; a row that occurs several times is read once.
        folders: Where the slices may be read.
        fov_mm: Side of a picture in mm.
        size_px: Side of a picture in pixels.
        on_picture: Called with 1 after each slice.

    Returns:
        A picture per hit, or the reason why there is none.

    Raises:
        UsageError: The index holds no boxes.
    """
    index.require_columns(_PLACE)
    rows = hits.unique(schema.ROW, maintain_order=True)
    outlines = index.read_outlines(rows[schema.ROW].to_numpy())
    pictures: dict[int, Picture | SliceError] = {}
    for row, points_json in zip(rows.iter_rows(named=True), outlines, strict=True):
        try:
            pictures[row[schema.ROW]] = load_picture(index, row, points_json, folders, fov_mm=fov_mm, size_px=size_px)
        except SliceError as error:
            pictures[row[schema.ROW]] = error
        on_picture(1)
    return [pictures[number] for number in hits[schema.ROW]]


def load_picture(
    index: Index,
    row: Mapping[str, Any],
    points_json: str | None,
    folders: SliceFolders,
    *,
    fov_mm: float,
    size_px: int,
) -> Picture:
    """Cut the picture of one row from its slice.

    Args:
        index: The index of the row.
        row: All metadata that the index holds of it.
        points_json: Its outline.
        folders: Where the slices may be read.
        fov_mm: Side of the picture in mm.
        size_px: Side of the picture in pixels.

    Raises:
        SliceError: The row has no box, or its slice cannot or may not be read.
    """
    from noduleclip.io.pictures import read_picture

    name = f"row {row[schema.ROW]} of {index.location}"
    if not all(row.get(column) is not None and math.isfinite(row[column]) for column in _PLACE):
        raise SliceError(RejectCode.OUTSIDE, f"{name} has no box")
    check_slice_allowed(index, row, folders)
    return read_picture(row, folders.folders, points_json, fov_mm=fov_mm, size_px=size_px)


def check_slice_allowed(index: Index, row: Mapping[str, Any], folders: SliceFolders) -> None:
    """Check that the slice of a row may be read.

    Raises:
        SliceError: It lies outside the folders that may be read.
    """
    if not folders.allows(str(row[schema.DICOM_PATH])):
        outside = f"row {row[schema.ROW]} of {index.location}: its slice lies outside the DICOM folders"
        raise SliceError(RejectCode.OUTSIDE, f"{outside}; name its folder with --dicom-root")
