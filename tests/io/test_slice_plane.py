"""Places in mm and pixels: there and back, on turned and tilted slices of unequal spacing."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noduleclip.importers.annotations import Sphere
from noduleclip.importers.spheres import cut_sphere
from noduleclip.io.slice_plane import SlicePlane, find_nearest

TURNED = (-0.6, -0.8, 0.0, 0.8, -0.6, 0.0)
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def plane(z_mm: float = 0.0, orientation: tuple[float, ...] = UPRIGHT, x_mm: float = -10.0) -> SlicePlane:
    return SlicePlane((x_mm, -20.0, z_mm), orientation, (0.5, 0.8), (100, 60))


def test_a_pixel_of_a_turned_slice_is_where_dicom_puts_it() -> None:
    (place,) = plane(7.0, TURNED).to_patient(np.array([[3.0, 5.0]]))
    np.testing.assert_allclose(place, (-10 - 3 * 0.8 * 0.6 + 5 * 0.5 * 0.8, -20 - 3 * 0.8 * 0.8 - 5 * 0.5 * 0.6, 7.0))


@given(st.floats(-3, 3), st.floats(-0.5, 0.5), st.floats(-200, 200), st.floats(-200, 200))
def test_pixels_and_places_agree(turn: float, tilt: float, x: float, y: float) -> None:
    along_row = (math.cos(turn), math.sin(turn), 0.0)
    along_column = (-math.sin(turn) * math.cos(tilt), math.cos(turn) * math.cos(tilt), math.sin(tilt))
    tilted = plane(-300.0, along_row + along_column)
    (place,) = tilted.to_patient(np.array([[x, y]]))
    np.testing.assert_allclose(tilted.to_pixels(place[None]), [[x, y]], atol=1e-9)
    assert abs(tilted.height_mm(place)) < 1e-9


def test_the_nearest_slice_is_found_whatever_the_order() -> None:
    planes = [plane(z) for z in (5.0, 0.0, 2.5, 7.5)]
    assert find_nearest(planes, (0, 0, 2.4)) == 2
    assert find_nearest(planes, (0, 0, 3.75)) == 0
    assert find_nearest(planes, (0, 0, -1.3)) == 1
    assert find_nearest(planes, (0, 0, 8.8)) == 3


def test_beyond_the_ends_and_in_gaps_there_is_none() -> None:
    planes = [plane(z) for z in (0.0, 2.5, 12.5)]
    assert find_nearest(planes, (0, 0, -1.4)) is None
    assert find_nearest(planes, (0, 0, 4.0)) is None
    assert find_nearest(planes, (0, 0, 12.0)) == 2
    assert find_nearest([], (0, 0, 0)) is None


def test_two_slices_that_lie_close_together_take_no_places_from_the_rest() -> None:
    planes = [plane(z) for z in (0.0, 2.5, 5.0, 7.5, 8.0)]
    found = [find_nearest(planes, (0, 0, z), thickness_mm=2.5) for z in (-1.2, 1.2, 3.7, 6.2, 9.2)]
    assert found == [0, 0, 1, 2, 4]
    assert [find_nearest(planes, (0, 0, z), thickness_mm=2.5) for z in (-1.4, 9.4)] == [None, None]
    assert find_nearest(planes, (0, 0, 3.7), thickness_mm=1.0) is None, "the slices are thinner than their distance"
    assert find_nearest(planes, (0, 0, 3.7)) is None, "how thick they are is not known"


def test_slices_that_are_missing_leave_gaps_however_thick_the_others_are() -> None:
    planes = [plane(z) for z in (0.0, 10.0, 12.5, 40.0)]
    found = [find_nearest(planes, (0, 0, z), thickness_mm=2.5) for z in (1.2, 1.5, 8.8, 8.5, 13.7, 14.0)]
    assert found == [0, None, 1, None, 2, None]
    assert find_nearest([plane(z) for z in (0.0, 1.25, 2.5)], (0, 0, 3.3), thickness_mm=5.0) is None, "they overlap"


def test_a_slice_alone_is_as_thick_as_it_says() -> None:
    assert find_nearest([plane(0.0)], (0, 0, 1.0)) is None
    assert find_nearest([plane(0.0)], (0, 0, 1.0), thickness_mm=2.5) == 0


def test_a_disc_touches_all_pixels_of_its_box() -> None:
    disc = cut_sphere(Sphere("1.2", (6.0, -10.0, 3.0), 10.0), plane())
    assert disc is not None
    assert disc.center_px == (20.0, 20.0)
    assert disc.box_px == (15, 12, 25, 28)  # of radius 4 mm: 5 columns, 8 rows


def test_a_sphere_between_slices_is_a_pixel() -> None:
    disc = cut_sphere(Sphere("1.2", (6.0, -10.0, 3.0), 4.0), plane())
    assert disc is not None
    assert disc.box_px == (20, 20, 20, 20)


@pytest.mark.parametrize("center", [(-10.5, 0.0, 0.0), (38.0, 0.0, 0.0), (0.0, 30.0, 0.0)])
def test_a_middle_outside_the_slice_gives_none(center: tuple[float, float, float]) -> None:
    assert cut_sphere(Sphere("1.2", center, 10.0), plane()) is None
