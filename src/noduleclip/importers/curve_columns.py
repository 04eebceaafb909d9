"""Centroid, bounding box and text of a curve, in pixels of its slice."""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema

DIGITS: Final = 3
"""Decimals of the numbers in a ROI table."""


def describe_curve(points_px: NDArray[np.float64]) -> dict[str, Any]:
    """Return centroid, bounding box and points of a curve, by column."""
    (xmin, ymin), (xmax, ymax) = points_px.min(axis=0), points_px.max(axis=0)
    x, y = _find_centroid(points_px)
    box = (math.floor(xmin), math.floor(ymin), math.ceil(xmax), math.ceil(ymax))
    rounded: list[list[float]] = np.round(points_px, DIGITS).tolist()
    points = [[int(part) if part.is_integer() else part for part in point] for point in rounded]
    return {
        **round_values({schema.CENTROID_X: x, schema.CENTROID_Y: y}),
        **dict(zip(schema.BOX_COLUMNS, box, strict=True)),
        schema.POINTS_JSON: json.dumps(points, separators=(",", ":")),
    }


def round_values(values: Mapping[str, float]) -> dict[str, float]:
    """Return values as a ROI table has them."""
    return {name: round(value, DIGITS) for name, value in values.items()}


def _find_centroid(points_px: NDArray[np.float64]) -> tuple[float, float]:
    """Return the centroid of the area inside a curve, or the mean of its vertices where it has none."""
    start = points_px[0]
    x, y = (points_px - start).T
    cross = x * np.roll(y, -1) - y * np.roll(x, -1)
    area = cross.sum()
    if abs(area) < 1e-9:
        middle = points_px.mean(axis=0)
    else:
        middle = start + np.array([((x + np.roll(x, -1)) @ cross), ((y + np.roll(y, -1)) @ cross)]) / (3 * area)
    return float(middle[0]), float(middle[1])
