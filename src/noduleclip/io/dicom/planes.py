"""Planes of a series among the files of a folder, in the order in which they lie in the patient."""

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from noduleclip.config import MAX_PIXELS
from noduleclip.errors import SliceError
from noduleclip.io.dicom.checks import check_orientation, is_localizer, parse_spacing
from noduleclip.io.dicom.frames import GROUP_TAGS, pick_frame
from noduleclip.io.dicom.header import Header, read_header
from noduleclip.io.dicom.slice import no_warnings

MOST_FILES: Final = 4096  # of a folder; a larger one is not read
_MOST_FRAMES: Final = 4096
_TAGS: Final = (
    *("Modality", "ImageType", "SeriesInstanceUID", "NumberOfFrames", *GROUP_TAGS),
    *("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
)
_ALIGNED: Final = 1e-3  # largest difference of direction cosines
_SAME_MM: Final = 1e-2


@dataclass(frozen=True)
class Plane:
    """Place of an axial CT image in the patient.

    Attributes:
        path: Its file.
        frame: Number of its frame, from 1; None in a file of one image.
        series_uid: SeriesInstanceUID.
        z_mm: z of ImagePositionPatient.
        along_mm: Distance from the origin along the normal of the plane, towards the head.
        orientation: Direction cosines of a row, then of a column.
        grid: Rows, columns, distance of rows and of columns in mm.
    """

    path: Path
    frame: int | None
    series_uid: str
    z_mm: float
    along_mm: float
    orientation: tuple[float, ...]
    grid: tuple[float, ...]


def read_planes(place: Path, allows: Callable[[str], bool] = lambda _: True) -> tuple[Plane, ...]:
    """Read the places of the planes in a folder, or in a file of several frames; no pixels.

    Args:
        place: Folder, of which neither folders below nor files of several frames are read, or a file.
        allows: Whether a file may be read.

    Returns:
        The planes that have a place, as many as a header each that can be read; none of a folder with more than
        `MOST_FILES` files.
    """
    with no_warnings():
        if place.is_file():
            return tuple(_read_frames(place))
        files = _list_files(place)
        return tuple(plane for file in files if allows(file) for plane in _read_plane(Path(file)))


def find_stack(planes: tuple[Plane, ...], path: Path, frame: int | None) -> list[Plane]:
    """Find the planes of the series of an image that are parallel to it and have its grid, from the feet to the head.

    Args:
        planes: Planes of its folder or file.
        path: File of the image.
        frame: Its frame.

    Returns:
        One plane per position, the image itself among them; none where it is not among `planes`.
    """
    own = next((plane for plane in planes if (plane.path, plane.frame or 1) == (path, frame or 1)), None)
    if own is None:
        return []
    stack: list[Plane] = []
    for plane in sorted((one for one in planes if _is_parallel(one, own)), key=lambda one: one.along_mm):
        if not stack or plane.along_mm - stack[-1].along_mm > _SAME_MM:
            stack.append(plane)
        elif plane is own:
            stack[-1] = own
    return stack


def _list_files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            files = [entry.path for entry in itertools.islice(entries, MOST_FILES + 1) if entry.is_file()]
    except OSError:
        return []
    return sorted(files) if len(files) <= MOST_FILES else []


def _read_plane(path: Path) -> Iterator[Plane]:
    try:
        header = read_header(path, MAX_PIXELS, _TAGS)
        if header.count("NumberOfFrames", absent=1) == 1:
            yield from _describe(header, None)
    except SliceError:
        return


def _read_frames(path: Path) -> Iterator[Plane]:
    try:
        header = read_header(path, MAX_PIXELS, _TAGS)
        for frame in range(1, min(header.count("NumberOfFrames", absent=1), _MOST_FRAMES) + 1):
            yield from _describe(pick_frame(header, frame), frame)
    except SliceError:
        return


def _describe(header: Header, frame: int | None) -> Iterator[Plane]:
    """Yield the plane of a header; none where it is no axial CT image with a place."""
    position, orientation = header.numbers("ImagePositionPatient"), header.numbers("ImageOrientationPatient")
    spacing, series_uid = parse_spacing(header), header.text("SeriesInstanceUID")
    is_placed = position is not None and len(position) == 3 and bool(orientation) and spacing is not None
    if not is_placed or not series_uid or header.text("Modality") != "CT" or is_localizer(header):
        return
    check_orientation(header)
    assert position is not None and orientation is not None and spacing is not None
    normal = np.cross(orientation[:3], orientation[3:])
    normal *= np.sign(normal[2]) / np.linalg.norm(normal)
    grid = (header.count("Rows"), header.count("Columns"), *spacing)
    yield Plane(header.path, frame, series_uid, position[2], float(normal @ position), tuple(orientation), grid)


def _is_parallel(plane: Plane, own: Plane) -> bool:
    same = plane.series_uid == own.series_uid and np.allclose(plane.grid, own.grid, rtol=1e-3)
    return same and np.allclose(plane.orientation, own.orientation, rtol=0, atol=_ALIGNED)
