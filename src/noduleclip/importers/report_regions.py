"""Regions of measurement groups: points and curves on an image, or in space."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import pydicom
from numpy.typing import NDArray

from noduleclip.importers.annotations import Contour, Outline
from noduleclip.importers.diameters import DiameterKind, measure_outline
from noduleclip.importers.slice_names import list_frames, parse_reference
from noduleclip.io.slice_plane import SlicePlane

ON_IMAGE, IN_SPACE = "SCOORD", "SCOORD3D"
_LEAST_POINTS: Final = {
    "POINT": 1,
    "MULTIPOINT": 1,
    "CIRCLE": 2,
    "POLYLINE": 2,
    "ELLIPSE": 4,
    "POLYGON": 3,
    "ELLIPSOID": 6,
}
_EXACT: Final = ("CIRCLE", "ELLIPSE", "ELLIPSOID")
_OF_SPACE: Final = ("POLYGON", "ELLIPSOID")
_MOST_NUMBERS: Final = 30_000
_FARTHEST: Final = 1e6  # of a coordinate, in pixels or mm
_SQUARE: Final = 0.01  # cosine of the corners of a rectangle, at most


class BadRegionError(Exception):
    """A region cannot be used; the message says why."""


@dataclass(frozen=True)
class Region:
    """A point or a curve.

    Attributes:
        graphic: Graphic Type.
        points: (V, 2) points (x, y) in pixels of an image, the middle of the first pixel being (0, 0); or (V, 3) points
            in mm, LPS.
        sop_uid: Name of the image (`slice_names`); empty for a region in space.
        names_frame: Whether the reference to the image names a frame, as it has to of a multi-frame file.
        frame_of_reference_uid: Frame of reference of a region in space; else empty.
        is_closed: Whether it is the outline of an area even where its last point is not the first one.
    """

    graphic: str
    points: NDArray[np.float64]
    sop_uid: str = ""
    frame_of_reference_uid: str = ""
    is_closed: bool = False
    names_frame: bool = False


@dataclass(frozen=True)
class Extent:
    """Place and size of a region.

    Attributes:
        center_mm: (3,) its middle, LPS.
        diameter_mm: Largest diameter that follows from it: of a circle, of an ellipse's or ellipsoid's longest axis,
            largest distance of two points of a closed curve, the longer side of a rectangle, the length of a line;
            NaN for points, and for open curves of more than two.
        area_mm2: Its area, as its weight among others; 0 where it has none.
    """

    center_mm: NDArray[np.float64]
    diameter_mm: float
    area_mm2: float


def parse_region(item: pydicom.Dataset, root: pydicom.Dataset, *, is_closed: bool) -> Region:
    """Parse a content item of spatial coordinates.

    Args:
        item: The item, SCOORD or SCOORD3D.
        root: The document, for images that are referred to by their place in it.
        is_closed: Whether a curve is the outline of an area.

    Raises:
        BadRegionError: It has no image or frame of reference, an unknown type, or not the points of its type.

    Source:
        DICOM PS3.3 C.18.6 and C.18.9; in C.18.6.1.1 the middle of the first pixel is (0.5, 0.5).
    """
    is_flat = item.ValueType == ON_IMAGE
    graphic = str(item.get("GraphicType", "")).strip()
    if graphic not in _LEAST_POINTS or (is_flat and graphic in _OF_SPACE):
        raise BadRegionError(f"its region is of the unknown type {graphic[:16]!r}")
    data: object = item.get("GraphicData")
    numbers = np.atleast_1d(np.array([] if data is None else data, np.float64))
    width = 2 if is_flat else 3
    if numbers.size > _MOST_NUMBERS:
        raise BadRegionError(f"its region has over {_MOST_NUMBERS:,} numbers")
    if numbers.size % width or numbers.size < width * _LEAST_POINTS[graphic]:
        raise BadRegionError(f"its {graphic} has {numbers.size} numbers, not {_describe_count(graphic, width)}")
    far = ~(np.abs(numbers) <= _FARTHEST)  # so is NaN
    if far.any():
        raise BadRegionError(f"its {graphic} has the coordinate {numbers[far][0]:g}")
    points = numbers.reshape(-1, width)
    if graphic in _EXACT and len(points) != _LEAST_POINTS[graphic]:
        raise BadRegionError(f"its {graphic} has {numbers.size} numbers, not {_describe_count(graphic, width)}")
    if not is_flat:
        frame_uid = str(item.get("ReferencedFrameOfReferenceUID", "")).strip()
        if not frame_uid:
            raise BadRegionError("its region names no frame of reference")
        return Region(graphic, points, "", frame_uid, is_closed)
    image = _find_image(item, root)
    name, frames = ("", []) if image is None else (parse_reference(image), list_frames(image))
    if not name:
        raise BadRegionError("its region names several frames of an image" if frames else "its region names no image")
    return Region(graphic, points - 0.5, name, "", is_closed, names_frame=bool(frames))


def _describe_count(graphic: str, width: int) -> str:
    count = width * _LEAST_POINTS[graphic]
    return str(count) if graphic in _EXACT else f"a multiple of {width}, at least {count}"


def _find_image(item: pydicom.Dataset, root: pydicom.Dataset) -> pydicom.Dataset | None:
    """Return the reference to the image that a region is selected from, which it holds or refers to."""
    for child in item.get("ContentSequence") or ():
        path = child.get("ReferencedContentItemIdentifier")
        if path is not None:
            child = root
            for number in list(np.atleast_1d(path))[1:]:
                child = child.ContentSequence[int(number) - 1]
        if child.get("ValueType") == "IMAGE":
            reference: pydicom.Dataset = child.ReferencedSOPSequence[0]
            return reference
    return None


def measure_region(region: Region, plane: SlicePlane | None = None) -> Extent:
    """Measure a region.

    Args:
        region: The region.
        plane: Where its image lies; None for one in space.
    """
    points_mm = region.points if plane is None else plane.to_patient(region.points)
    ends_mm = [float(np.linalg.norm(one - other)) for one, other in zip(points_mm[::2], points_mm[1::2], strict=False)]
    middle_mm = points_mm.mean(axis=0)
    match region.graphic:
        case "POINT":  # some writers add the other end of an arrow
            return Extent(points_mm[0], math.nan, 0.0)
        case "MULTIPOINT":
            return Extent(middle_mm, math.nan, 0.0)
        case "CIRCLE":
            return Extent(points_mm[0], _positive(2 * ends_mm[0]), math.pi * ends_mm[0] ** 2)
        case "ELLIPSE":
            return Extent(middle_mm, _positive(max(ends_mm)), math.pi / 4 * ends_mm[0] * ends_mm[1])
        case "ELLIPSOID":
            return Extent(middle_mm, _positive(max(ends_mm)), 0.0)
    is_ring = len(points_mm) > 2 and (region.is_closed or np.allclose(points_mm[0], points_mm[-1], atol=1e-3))
    if len(points_mm) == 2:
        return Extent(middle_mm, _positive(ends_mm[0]), 0.0)
    return _measure_ring(points_mm) if is_ring else Extent(middle_mm, math.nan, 0.0)


def _measure_ring(points_mm: NDArray[np.float64]) -> Extent:
    """Measure a closed curve in its plane: the middle of its area, and its largest diameter."""
    if np.allclose(points_mm[0], points_mm[-1], atol=1e-3):
        points_mm = points_mm[:-1]
    first_mm = points_mm.mean(axis=0)
    arms_mm = points_mm - first_mm
    across_mm2 = np.cross(arms_mm, np.roll(arms_mm, -1, axis=0))
    normal = across_mm2.sum(axis=0)
    doubled_mm2 = float(np.linalg.norm(normal))
    center_mm = first_mm
    if doubled_mm2 > 0:
        shares = across_mm2 @ normal / doubled_mm2**2
        center_mm = first_mm + shares @ (arms_mm + np.roll(arms_mm, -1, axis=0)) / 3
    axes = np.linalg.svd(arms_mm, full_matrices=False)[2][:2]
    flat = Outline("", "", "", (Contour(arms_mm @ axes.T, math.nan),))
    longest_mm = _find_rectangle(arms_mm) or measure_outline(flat, (1.0, 1.0), DiameterKind.IN_SLICE)[0]
    return Extent(center_mm, longest_mm, doubled_mm2 / 2)


def _find_rectangle(corners_mm: NDArray[np.float64]) -> float:
    """Return the longer side of a rectangle, which is drawn around a nodule and not along it; 0 for other curves."""
    if len(corners_mm) != 4:
        return 0.0
    sides_mm = np.roll(corners_mm, -1, axis=0) - corners_mm
    lengths_mm = np.linalg.norm(sides_mm, axis=1)
    cosines = (sides_mm * np.roll(sides_mm, -1, axis=0)).sum(axis=1)
    is_square = bool((np.abs(cosines) <= _SQUARE * lengths_mm * np.roll(lengths_mm, -1)).all() and lengths_mm.all())
    return float(lengths_mm.max()) if is_square else 0.0


def _positive(length_mm: float) -> float:
    return length_mm if length_mm > 0 else math.nan
