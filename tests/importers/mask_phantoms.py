"""CT volumes with balls of soft tissue, and the masks of these balls."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volume_files import write_volume

SHAPE = (12, 50, 60)  # slices, rows, columns
SPACING = (0.7, 0.9, 2.5)
AFFINE = np.array([[0.7, 0, 0, -100.5], [0, 0.9, 0, 20.25], [0, 0, 2.5, -300.125], [0, 0, 0, 1]])
VOXEL_MM3 = 0.7 * 0.9 * 2.5


@dataclass(frozen=True)
class Ball:
    """A ball: its middle as (x, y, z) in voxels, and its diameter."""

    middle: tuple[float, float, float]
    diameter_mm: float


BALLS = (Ball((15.0, 20.0, 4.0), 10.0), Ball((44.0, 30.0, 7.0), 8.0))


def fill_ball(ball: Ball, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.bool_]:
    """Return the (Z, Y, X) voxels whose middle lies in a ball."""
    z, y, x = np.indices(shape)
    x_mm, y_mm, z_mm = ((axis - at) * side for axis, at, side in zip((x, y, z), ball.middle, SPACING, strict=True))
    return np.asarray(x_mm**2 + y_mm**2 + z_mm**2 <= (ball.diameter_mm / 2) ** 2)


def make_mask(balls: Sequence[Ball] = BALLS, values: Sequence[int] = (1, 1)) -> NDArray[np.uint8]:
    """Return a mask of balls."""
    mask = np.zeros(SHAPE, np.uint8)
    for ball, value in zip(balls, values, strict=True):
        mask[fill_ball(ball)] = value
    return mask


def make_hu(balls: Sequence[Ball] = BALLS) -> NDArray[np.int16]:
    """Return a CT of balls in air-filled lung."""
    hu = np.random.default_rng(0).normal(-850, 30, SHAPE).astype(np.int16)
    for ball in balls:
        hu[fill_ball(ball)] = 40
    return hu


def write_image(path: Path, balls: Sequence[Ball] = BALLS) -> Path:
    """Write the CT of balls."""
    return write_volume(path, make_hu(balls), AFFINE)


def write_mask(path: Path, mask: NDArray[np.generic] | None = None, affine: NDArray[np.float64] = AFFINE) -> Path:
    """Write a mask, by default of the two balls."""
    return write_volume(path, make_mask() if mask is None else mask, affine)
