"""Volumes as axial slices: every order and direction of axes gives the same slices at the same places."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from importers.metaimages import write_mhd
from noduleclip.io.volumes.formats import open_volume

HU = np.random.default_rng(0).integers(-1000, 400, (4, 6, 5)).astype("<i2")  # Z, Y, X
SPACING = np.array([0.7, 0.9, 2.5])
ORIGIN = np.array([-100.5, 20.25, -300.125])
ORDERS = list(itertools.permutations(range(3)))
FLIPS = list(itertools.product([False, True], repeat=3))


@pytest.mark.parametrize("flips", FLIPS, ids=str)
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_any_order_of_axes_gives_the_same_slices(
    tmp_path: Path, order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> None:
    """`order` names the axis of the patient that each axis of the file runs along, the fastest first."""
    directions, origin = [], ORIGIN.copy()
    for axis, flip in zip(order, flips, strict=True):
        x, y, z = ((-1.0 if flip else 1.0) * (axis == world) for world in range(3))
        directions.append((x, y, z))
        if flip:
            origin[axis] += SPACING[axis] * (HU.shape[2 - axis] - 1)
    stored = HU.transpose([2 - axis for axis in reversed(order)])
    stored = stored[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(flips))]
    path = write_mhd(
        tmp_path / "a.mhd",
        np.ascontiguousarray(stored),
        spacing_xyz_mm=(SPACING[order[0]], SPACING[order[1]], SPACING[order[2]]),
        origin_mm=(origin[0], origin[1], origin[2]),
        axes=tuple(directions),
    )
    volume = open_volume(path)
    assert volume.shape_zyx == HU.shape
    assert [index for index, _ in volume.read_slices([3, 0, 2])] == [0, 2, 3]
    for index, values in volume.read_slices(range(4)):
        np.testing.assert_array_equal(values, HU[index])
        plane = volume.planes[index]
        np.testing.assert_allclose(plane.position_mm, ORIGIN + np.array([0, 0, 2.5 * index]))
        assert plane.orientation == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
        assert plane.spacing_yx_mm == (0.9, 0.7)
