"""Annotations of a phantom's nodule by several simulated readers: polygons as in LIDC, sizes and ratings."""

import json
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.phantom.geometry import OUTLINE_ANGLES, Grid, Nodule, ScanAppearance

Row = dict[str, str | int | float]
Polygon = NDArray[np.int64]

# Neighbours (row, column) of a pixel, clockwise on the screen from the left.
_RING: Final = ((0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1))


def annotate_nodule(
    rng: np.random.Generator, readers: int, grid: Grid, appearance: ScanAppearance, nodule: Nodule, slice_index: int
) -> list[Row]:
    """Return the annotation of each reader who noticed the nodule, as columns of the ROI table; at least one did."""
    size_mm = 2 * nodule.reach_mm
    clarity = min(1.0, (nodule.hu - appearance.lung_hu) / 850)
    conspicuity = 2.3 + 1.35 * math.log2(size_mm / 4) + 2.2 * (clarity - 1) + rng.normal(0, 0.5)
    share = 1 / (1 + math.exp(-1.0 * (conspicuity - 2.6)))
    marking = rng.random(readers) < share
    marking[rng.integers(readers)] = True
    solidity = 5 if clarity > 0.8 else 3 if nodule.core_share > 0 else 1
    annotations: list[Row] = []
    for reader in np.flatnonzero(marking).tolist():
        points = _draw_polygon(rng, grid, nodule, slice_index)
        doubt = int(rng.choice((0, 1, 2), p=(0.75, 0.2, 0.05)))
        annotations.append(
            _describe_polygon(points, grid.spacing_yx_mm)
            | {
                schema.READER: f"R{reader + 1}",
                schema.TEXTURE: solidity + (doubt if solidity == 1 else -doubt),
                schema.SUBTLETY: int(np.clip(round(conspicuity + rng.normal(0.6, 0.6)), 1, 5)),
            }
        )
    return annotations


def _draw_polygon(rng: np.random.Generator, grid: Grid, nodule: Nodule, slice_index: int) -> Polygon:
    """Draw one reader's outline along the first pixels outside the nodule.

    Its size is off by about a tenth, more where the edge is vague, with the odd outlier.

    Returns:
        (V, 2) column and row of each vertex, open, 8-connected.
    """
    vagueness = 0.075 + 0.02 * min(2.0, nodule.edge_mm / grid.pixel_mm - 1)
    bias = float(np.clip(rng.laplace(0, vagueness), -0.3, 0.25))
    theta = np.arange(OUTLINE_ANGLES) * (2 * math.pi / OUTLINE_ANGLES)
    wobble = np.zeros(OUTLINE_ANGLES)
    for order in range(2, 7):
        wobble += rng.normal(0, 0.05 / order) * np.cos(order * theta + rng.uniform(0, 2 * math.pi))
    scale = nodule.scale_at(slice_index * grid.thickness_mm)
    radii_mm = nodule.radii_mm * scale * (1 + bias) * (1 + wobble)
    row_mm, column_mm = grid.spacing_yx_mm
    half_y, half_x = grid.half_yx_mm
    center_x_px = (nodule.center_mm[0] + rng.normal(0, 0.2) + half_x) / column_mm
    center_y_px = (nodule.center_mm[1] + rng.normal(0, 0.2) + half_y) / row_mm
    column, row = round(center_x_px), round(center_y_px)
    reach_px = math.ceil(radii_mm.max() / min(row_mm, column_mm)) + 2
    offsets = np.arange(-reach_px, reach_px + 1)
    dy_mm = (row + offsets[:, None] - center_y_px) * row_mm
    dx_mm = (column + offsets[None, :] - center_x_px) * column_mm
    turns = np.mod(np.arctan2(dy_mm, dx_mm) / (2 * math.pi), 1) * OUTLINE_ANGLES
    edge_mm = np.interp(turns, np.arange(OUTLINE_ANGLES + 1), np.append(radii_mm, radii_mm[0]))
    drawn = np.hypot(dy_mm, dx_mm) < edge_mm
    drawn[reach_px, reach_px] = True
    corner_xy = np.array([column - reach_px, row - reach_px], np.int64)
    return np.asarray(trace_outside(drawn, reach_px, reach_px) + corner_xy, np.int64)


def trace_outside(region: NDArray[np.bool_], row: int, column: int) -> Polygon:
    """Walk clockwise around a region along the first pixels outside it, as LIDC polygons do.

    Args:
        region: (Y, X), True inside.
        row: Row of a pixel inside.
        column: Its column.

    Returns:
        (V, 2) column and row of each vertex, open, 8-connected, each once unless the walk turns back.

    Source: Moore neighbourhood tracing with Jacob's stopping criterion, the region grown by 4-neighbours.
    """
    padded = np.pad(region, 2)
    grown = padded.copy()
    for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
        grown |= np.roll(padded, shift, axis)
    row, column = row + 2, column + 2
    while grown[row, column - 1]:
        column -= 1
    # The start need not lie on the closed walk with this background; the state after it does.
    first = here, background = _walk(grown, (row, column), 0)
    points = [here]
    while (state := _walk(grown, here, background)) != first:
        here, background = state
        points.append(here)
    return np.array(points, np.int64)[:, ::-1] - 2


def _walk(grown: NDArray[np.bool_], here: tuple[int, int], background: int) -> tuple[tuple[int, int], int]:
    """Go to the next border pixel clockwise.

    Args:
        grown: (Y, X) region.
        here: Border pixel (row, column).
        background: Index in `_RING` of a neighbour of it outside the region.

    Returns:
        The next border pixel, and such an index for it.
    """
    for turn in range(background + 1, background + 9):
        rows, columns = _RING[turn % 8]
        there = here[0] + rows, here[1] + columns
        if grown[there]:
            break
    rows, columns = _RING[(turn - 1) % 8]
    return there, _RING.index((here[0] + rows - there[0], here[1] + columns - there[1]))


def measure_feret_mm(points_xy: NDArray[np.float64] | Polygon, spacing_yx_mm: tuple[float, float]) -> float:
    """Measure the largest distance between two vertices of a polygon (V, 2) of (x, y), in mm."""
    points_mm = points_xy * np.array([spacing_yx_mm[1], spacing_yx_mm[0]])
    apart_mm = points_mm[:, None] - points_mm[None, :]
    return float(np.hypot(apart_mm[..., 0], apart_mm[..., 1]).max())


def _describe_polygon(points: Polygon, spacing_yx_mm: tuple[float, float]) -> Row:
    """Return the columns that follow from a polygon: diameter, centroid of its area, box and the points."""
    x, y = points[:, 0].astype(float), points[:, 1].astype(float)
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    cross = x * next_y - next_x * y
    six_areas = 3 * cross.sum()
    return {
        schema.DIAMETER_MM: round(measure_feret_mm(points, spacing_yx_mm), 3),
        schema.CENTROID_X: round(float(((x + next_x) * cross).sum() / six_areas), 3),
        schema.CENTROID_Y: round(float(((y + next_y) * cross).sum() / six_areas), 3),
        schema.BBOX_XMIN: int(x.min()),
        schema.BBOX_YMIN: int(y.min()),
        schema.BBOX_XMAX: int(x.max()),
        schema.BBOX_YMAX: int(y.max()),
        schema.POINTS_JSON: json.dumps(points.tolist(), separators=(",", ":")),
    }
