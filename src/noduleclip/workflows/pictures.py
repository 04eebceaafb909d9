"""Pictures of hits, cut from their slices."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from noduleclip import schema
from noduleclip.errors import RejectCode, SliceError
from noduleclip.io.index.base import Index
from noduleclip.io.own_indexes import SliceFolders

if TYPE_CHECKING:  # a query without pictures does not load the libraries that they need
    from noduleclip.io.outlines import SliceOutlines
    from noduleclip.io.pictures import Picture

_PLACE = (schema.CENTER_X, schema.CENTER_Y, *schema.BOX_COLUMNS)
PICTURE_COLUMNS = (
    schema.ROW, schema.DICOM_PATH, schema.FRAME, schema.Z_MM, schema.SPACING_ROW, schema.SPACING_COL, *_PLACE,
)  # fmt: skip
"""Columns that `load_nodule` and `with_key_slice` read of a row: a tenth of all, and of the time to read it."""


@dataclass(frozen=True)
class NodulePictures:
    """A nodule on the slices on which readers outlined it.

    Attributes:
        slices: A picture per slice, in the order of the index; slices that cannot be read are left out.
        outlined: Where these slices lie, and their outlines.
        numbers: Which of the nodule's slices they are, from 1.
        key: Place, in all three, of the slice that was embedded.
        count: Slices of the nodule.
    """

    slices: tuple[Picture, ...]
    outlined: tuple[SliceOutlines, ...]
    numbers: tuple[int, ...]
    key: int
    count: int

    @property
    def picture(self) -> Picture:
        """The picture of the slice that was embedded."""
        return self.slices[self.key]


def load_pictures(
    index: Index,
    hits: pl.DataFrame,
    folders: SliceFolders,
    *,
    fov_mm: float,
    size_px: int,
    most_slices: int = 1,
    on_picture: Callable[[int], None] = lambda _: None,
) -> list[NodulePictures | SliceError]:
    """Cut the pictures of each hit from its slices.

    Args:
        index: The index of the hits.
        hits: Rows with all metadata that the index holds of them; a row that occurs several times is read once.
        folders: Where the slices may be read.
        fov_mm: Side of a picture in mm.
        size_px: Side of a picture in pixels.
        most_slices: Most slices of a nodule, spread over it; 1 = the one that was embedded.
        on_picture: Called with 1 after each hit.

    Returns:
        The pictures of each hit, or the reason why there are none.

    Raises:
        UsageError: The index holds no boxes.
    """
    index.require_columns(_PLACE)
    rows = hits.unique(schema.ROW, maintain_order=True)
    outlined = index.read_slices(rows[schema.ROW].to_numpy())
    pictures: dict[int, NodulePictures | SliceError] = {}
    for row, slices in zip(rows.iter_rows(named=True), outlined, strict=True):
        number = row[schema.ROW]
        try:
            pictures[number] = load_nodule(
                index, row, slices, folders, fov_mm=fov_mm, size_px=size_px, most_slices=most_slices
            )
        except SliceError as error:
            pictures[number] = error
        on_picture(1)
    return [pictures[number] for number in hits[schema.ROW]]


def load_nodule(
    index: Index,
    row: Mapping[str, Any],
    outlined: Sequence[SliceOutlines],
    folders: SliceFolders,
    *,
    fov_mm: float,
    size_px: int,
    most_slices: int = 1,
) -> NodulePictures:
    """Cut the pictures of one row from its slices.

    Args:
        index: The index of the row.
        row: All metadata that the index holds of it.
        outlined: Its slices with their outlines.
        folders: Where the slices may be read.
        fov_mm: Side of a picture in mm.
        size_px: Side of a picture in pixels.
        most_slices: Most slices, spread over the nodule; 1 = the one that was embedded.

    Raises:
        SliceError: The row has no box, or the slice that was embedded cannot or may not be read.
    """
    from noduleclip.io.pictures import read_picture

    name = f"row {row[schema.ROW]} of {index.location}"
    if not all(row.get(column) is not None and math.isfinite(row[column]) for column in _PLACE):
        raise SliceError(RejectCode.OUTSIDE, f"{name} has no box")

    def read(one: SliceOutlines) -> Picture:
        place = {**row, schema.DICOM_PATH: one.dicom_path, schema.FRAME: one.frame}
        check_slice_allowed(index, place, folders)
        return read_picture(place, folders.folders, one.outlines, fov_mm=fov_mm, size_px=size_px)

    slices, key = with_key_slice(row, outlined)
    shown = {key: read(slices[key])}
    for at in _spread(len(slices), key, most_slices):
        with contextlib.suppress(SliceError):
            shown[at] = shown[at] if at in shown else read(slices[at])
    places = sorted(shown)
    return NodulePictures(
        slices=tuple(shown[at] for at in places),
        outlined=tuple(slices[at] for at in places),
        numbers=tuple(at + 1 for at in places),
        key=places.index(key),
        count=len(slices),
    )


def read_place(row: Mapping[str, Any], *, fov_mm: float, size_px: int) -> NodulePictures:
    """Cut the picture of a nodule that is in no index from its slice.

    Args:
        row: Its slice, its centre, and a box of its own.
        fov_mm: Side of the picture in mm.
        size_px: Side of the picture in pixels.

    Raises:
        SliceError: The slice cannot be read.
    """
    from noduleclip.io.pictures import read_picture

    (own,), _ = with_key_slice(row, ())
    return NodulePictures((read_picture(row, (), (), fov_mm=fov_mm, size_px=size_px),), (own,), (1,), 0, 1)


def with_key_slice(row: Mapping[str, Any], outlined: Sequence[SliceOutlines]) -> tuple[tuple[SliceOutlines, ...], int]:
    """Return the slices of a row and the place of the embedded one, which is added where it is not outlined.

    Slices in another folder are left out: the record of the user's own indexes is of the files that rows name, and the
    texts of outlines in a store could name others.
    """
    from noduleclip.io.outlines import SliceOutlines

    path, frame = str(row[schema.DICOM_PATH]), row.get(schema.FRAME)
    folder = PureWindowsPath(path).parent  # of paths with / or \
    slices = tuple(one for one in outlined if PureWindowsPath(one.dicom_path).parent == folder)
    key = next((at for at, one in enumerate(slices) if (one.dicom_path, one.frame) == (path, frame)), None)
    if key is not None:
        return slices, key
    own = SliceOutlines(path, None if frame is None else int(frame), row.get(schema.Z_MM), ())
    return (*slices, own), len(slices)


def _spread(count: int, key: int, most: int) -> list[int]:
    """Return at most `most` of `count` places, spread evenly, `key` among them."""
    if count <= most:
        return list(range(count))
    places = np.linspace(0, count - 1, most).round().astype(int).tolist() if most > 1 else [key]
    nearest = min(range(len(places)), key=lambda at: abs(places[at] - key))
    places[nearest] = key
    return places


def check_slice_allowed(index: Index, row: Mapping[str, Any], folders: SliceFolders) -> None:
    """Check that the slice of a row may be read.

    Raises:
        SliceError: It lies outside the folders that may be read.
    """
    if not folders.allows(str(row[schema.DICOM_PATH])):
        outside = f"row {row[schema.ROW]} of {index.location}: its slice lies outside the DICOM folders"
        raise SliceError(RejectCode.OUTSIDE, f"{outside}; name its folder with --dicom-root")
