"""The pictures of hits: where their slices lie, and what becomes of those that cannot be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from noduleclip import schema
from noduleclip.errors import RejectCode, SliceError, UsageError
from noduleclip.io.index_store import Index
from noduleclip.report.console import counting

if TYPE_CHECKING:  # a query without pictures does without the libraries that they take
    from noduleclip.io.pictures import Picture

_PLACE = (schema.CENTER_X, schema.CENTER_Y, *schema.BOX_COLUMNS)


@dataclass(frozen=True)
class PictureOptions:
    """Whether hits are shown as pictures, and where their slices lie.

    Attributes:
        dicom_root: Folder that relative DICOM paths start from; None = those that the index names.
        preview: Whether the table on a terminal has a picture of each hit.
        html: Page to write.
        contact_sheet: Picture of all hits to write.
        viewer_url: Address of a slice in a viewer, for links in the page.
    """

    dicom_root: Path | None = None
    preview: bool = False
    html: Path | None = None
    contact_sheet: Path | None = None
    viewer_url: str | None = None


def read_pictures(
    index: Index, hits: pl.DataFrame, options: PictureOptions, *, fov_mm: float, size_px: int
) -> list[Picture | SliceError]:
    """Cut the picture of each hit from its slice.

    Args:
        index: Where the hits come from.
        hits: Rows with all metadata that the index holds of them; a row may come up often and is read once.
        options: Where the slices lie.
        fov_mm: Side of a picture in mm.
        size_px: Side of a picture in pixels.

    Returns:
        A picture per hit, or why there is none.

    Raises:
        UsageError: The DICOM root is no folder, or the index holds no boxes.
    """
    from noduleclip.io.pictures import read_picture

    if options.dicom_root is not None and not options.dicom_root.is_dir():
        raise UsageError(f"--dicom-root {options.dicom_root}: no such folder")
    index.require_columns(_PLACE)
    roots = index.manifest.dicom_roots if options.dicom_root is None else (options.dicom_root,)
    rows = hits.unique(schema.ROW, maintain_order=True)
    outlines = index.read_outlines(rows[schema.ROW].to_numpy())
    pictures: dict[int, Picture | SliceError] = {}
    with counting("reading slices", rows.height, "slices") as advance:
        for row, points_json in zip(rows.iter_rows(named=True), outlines, strict=True):
            number = row[schema.ROW]
            try:
                if not all(row[name] is not None and math.isfinite(row[name]) for name in _PLACE):
                    raise SliceError(RejectCode.OUTSIDE, f"row {number} of {index.folder} has no box")
                pictures[number] = read_picture(row, roots, points_json, fov_mm=fov_mm, size_px=size_px)
            except SliceError as error:
                pictures[number] = error
            advance(1)
    return [pictures[number] for number in hits[schema.ROW]]
