"""Diameters of outlines in mm, by each definition in use."""

import math
from collections.abc import Callable, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from noduleclip.importers.annotations import Contour, Outline

_SAME_LENGTH = 1 - 1e-9
_PAIRS_AT_ONCE = 1 << 22  # of points of a curve, which may be a long one
_FEW_POINTS = 100  # all pairs of so few are measured sooner than their hull is found


class DiameterKind(StrEnum):
    """Definitions of a diameter; docs/explanation/diameters.md compares them.

    Attributes:
        IN_SLICE: Largest distance of two vertices of a contour, so of one slice; a Feret diameter.
            Source: `diameter_mm` of LIDC's tables; pylidc takes the largest of them, see `LARGEST_IN_SLICE`.
        AXES_MEAN: Mean of that long axis and of the longest chord perpendicular to it, on the same slice.
            Source: Fleischner Society 2017 (Bankier et al., Radiology 285:584); Lung-RADS v2022.
        EQUIVALENT: Diameter of the circle of the contour's area, holes inside it left out.
            Source: ISO 9276-6, area-equivalent diameter.
        LARGEST_IN_SLICE: Largest `IN_SLICE` over all slices of one reader's nodule: the same number on each of them.
            It is called 3-D because all slices are searched; it lies in the axial plane.
            Source: pylidc 0.2.3, `Annotation.diameter`.
    """

    IN_SLICE = "in-slice"
    AXES_MEAN = "axes-mean"
    EQUIVALENT = "equivalent"
    LARGEST_IN_SLICE = "3d"


def measure_outline(
    outline: Outline, spacing_yx_mm: tuple[float, float] | Sequence[tuple[float, float]], kind: DiameterKind
) -> list[float]:
    """Measure the contours of one reader's nodule.

    Args:
        outline: The outline.
        spacing_yx_mm: Distance of rows, then of columns: of all slices, or of the slice of each contour, in order.
        kind: The definition.

    Returns:
        mm, one per contour that bounds no hole, in order. NaN where a contour has no such diameter: a single point
        has none, a line has neither a second axis nor an area.
    """
    spacings_xy_mm = np.broadcast_to(np.array(spacing_yx_mm, np.float64), (len(outline.contours), 2))[:, ::-1]
    in_mm = [(it, it.points_px * spacing) for it, spacing in zip(outline.contours, spacings_xy_mm, strict=True)]
    curves_mm = [curve_mm for contour, curve_mm in in_mm if contour.includes]
    if kind is DiameterKind.EQUIVALENT:
        holes = [(contour, _area(hole_mm)) for contour, hole_mm in in_mm if not contour.includes]
        return [
            _circle_of(_area(curve_mm) - sum(area_mm2 for hole, area_mm2 in holes if holds(contour, hole)))
            for contour, curve_mm in in_mm
            if contour.includes
        ]
    measure: Callable[[NDArray[np.float64]], float] = _mean_axis if kind is DiameterKind.AXES_MEAN else _long_axis
    sizes = [measure(curve_mm) for curve_mm in curves_mm]
    if kind is DiameterKind.LARGEST_IN_SLICE:
        largest = max((size for size in sizes if math.isfinite(size)), default=math.nan)
        return [largest if math.isfinite(size) else math.nan for size in sizes]
    return sizes


def _distances(curve_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = curve_mm.T
    return np.asarray(np.hypot(x[:, None] - x, y[:, None] - y))


def _find_corners(curve_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vertices of a long curve's convex hull, which hold those that are farthest apart; of a short one all.

    Source:
        Andrew, Information Processing Letters 9 (1979) 216, the monotone chain.
    """
    if len(curve_mm) <= _FEW_POINTS:
        return curve_mm
    points: list[list[float]] = np.unique(curve_mm, axis=0).tolist()
    corners: list[list[float]] = []
    for run in (points, points[::-1]):
        start = len(corners)
        for x, y in run:
            while len(corners) >= start + 2:
                (x0, y0), (x1, y1) = corners[-2:]
                if (x1 - x0) * (y - y0) > (y1 - y0) * (x - x0):
                    break
                corners.pop()
            corners.append([x, y])
    return np.array(corners)


def _long_axis(curve_mm: NDArray[np.float64]) -> float:
    longest = float(_distances(_find_corners(curve_mm)).max(initial=0))
    return longest if longest > 0 else math.nan


def _mean_axis(curve_mm: NDArray[np.float64]) -> float:
    """Return the mean of both axes; of equal long axes the one whose second axis is the longest."""
    if not _area(curve_mm) > 0:
        return math.nan
    corners_mm = _find_corners(curve_mm)
    distances = _distances(corners_mm)
    longest = float(distances.max())
    ends = np.argwhere(np.triu(distances) >= longest * _SAME_LENGTH)
    return (longest + max(_chord_across(curve_mm, corners_mm[end] - corners_mm[start]) for start, end in ends)) / 2


def _chord_across(curve_mm: NDArray[np.float64], axis_mm: NDArray[np.float64]) -> float:
    """Return the longest distance of two points of a curve whose connection is perpendicular to an axis.

    It has an end at a vertex, as between vertices the curve's outermost points move along straight lines.
    """
    along_mm, across_mm = (curve_mm @ np.array([axis_mm, [-axis_mm[1], axis_mm[0]]]).T / np.hypot(*axis_mm)).T
    next_along_mm, next_across_mm = np.roll(along_mm, -1), np.roll(across_mm, -1)
    run_mm = next_along_mm - along_mm
    longest_mm = -np.inf
    step = max(1, _PAIRS_AT_ONCE // len(along_mm))
    for start in range(0, len(along_mm), step):
        at_mm = along_mm[start : start + step, None]
        meets = (np.minimum(along_mm, next_along_mm) <= at_mm) & (at_mm <= np.maximum(along_mm, next_along_mm))
        share = np.divide(at_mm - along_mm, run_mm, out=np.zeros(meets.shape), where=meets & (run_mm != 0))
        crossing_mm = across_mm + share * (next_across_mm - across_mm)
        highest = np.where(meets, crossing_mm, -np.inf).max(axis=1)
        lowest = np.where(meets, crossing_mm, np.inf).min(axis=1)
        longest_mm = max(longest_mm, float((highest - lowest).max()))
    return longest_mm


def _area(curve_mm: NDArray[np.float64]) -> float:
    """Return the area inside a curve in mm²; Source: the shoelace formula."""
    x, y = (curve_mm - curve_mm[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _circle_of(area_mm2: float) -> float:
    return 2 * math.sqrt(area_mm2 / math.pi) if area_mm2 > 0 else math.nan


def holds(contour: Contour, hole: Contour) -> bool:
    """Return whether most vertices of a curve, such as a hole, lie inside another one on the same slice."""
    if contour.slice_key is None or contour.slice_key != hole.slice_key:
        return False
    x, y = contour.points_px.T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    rise = np.where(next_y == y, 1, next_y - y)
    inside = 0
    step = max(1, _PAIRS_AT_ONCE // len(x))
    for start in range(0, len(hole.points_px), step):
        some_px = hole.points_px[start : start + step]
        at_x, at_y = some_px[:, :1], some_px[:, 1:]
        straddles = (y <= at_y) != (next_y <= at_y)
        left_of_edge = at_x < x + (at_y - y) / rise * (next_x - x)
        inside += int(((straddles & left_of_edge).sum(axis=1) % 2 == 1).sum())
    return 2 * inside > len(hole.points_px)
