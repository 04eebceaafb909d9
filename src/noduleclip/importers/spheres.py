"""Spheres on slices: their discs and boxes."""

import math
from dataclasses import dataclass

import numpy as np

from noduleclip.importers.annotations import Sphere
from noduleclip.io.slice_plane import SlicePlane


@dataclass(frozen=True)
class Disc:
    """The intersection of a sphere with a slice.

    Attributes:
        center_px: (x, y) of its middle.
        box_px: (xmin, ymin, xmax, ymax) of the pixels that the disc touches, inclusive; may lie outside the slice.
    """

    center_px: tuple[float, float]
    box_px: tuple[int, int, int, int]


def cut_sphere(sphere: Sphere, plane: SlicePlane) -> Disc | None:
    """Intersect a sphere with the slice nearest its centre.

    A sphere that is smaller than the distance of slices may lie between two of them; then its box is the pixel of its
    centre, as is that of a point without a diameter.

    Returns:
        The disc; None where its centre lies outside the slice.
    """
    x, y = (float(part) for part in plane.to_pixels(np.array([sphere.center_mm]))[0])
    if not plane.holds((x, y)):
        return None
    if sphere.diameter_mm is None:
        column, row = round(x), round(y)
        return Disc((x, y), (column, row, column, row))
    radius_mm = math.sqrt(max((sphere.diameter_mm / 2) ** 2 - plane.height_mm(sphere.center_mm) ** 2, 0.0))
    row_mm, column_mm = plane.spacing_yx_mm
    across, down = radius_mm / column_mm, radius_mm / row_mm
    box_px = (math.floor(x - across), math.floor(y - down), math.ceil(x + across), math.ceil(y + down))
    return Disc((x, y), box_px)
