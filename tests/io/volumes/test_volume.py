"""Volumes as axial slices: every format and order and direction of axes gives the same slices at the same places."""

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from noduleclip.errors import InputError
from noduleclip.io.volumes.formats import open_volume
from noduleclip.io.volumes.volume import Volume
from volume_files import FORMATS, RAS_TO_LPS, permute, write_volume

HU = np.random.default_rng(0).integers(-1000, 400, (4, 6, 5)).astype("<i2")  # Z, Y, X
SPACING = np.array([0.7, 0.9, 2.5])
ORIGIN = np.array([-100.5, 20.25, -300.125])
AFFINE = np.array([[0.7, 0, 0, -100.5], [0, 0.9, 0, 20.25], [0, 0, 2.5, -300.125], [0, 0, 0, 1]])
ORDERS = list(itertools.permutations(range(3)))
FLIPS = list(itertools.product([False, True], repeat=3))


def rotate(axis: int, degrees: float) -> NDArray[np.float64]:
    """Return a rotation about an axis of the patient."""
    angle = np.deg2rad(degrees)
    one, other = (here for here in range(3) if here != axis)
    turned = np.eye(4)
    turned[one, one] = turned[other, other] = np.cos(angle)
    turned[one, other], turned[other, one] = -np.sin(angle), np.sin(angle)
    return turned


def assert_same_slices(volume: Volume, affine_lps: NDArray[np.float64], tolerance_mm: float = 1e-3) -> None:
    """Compare with HU at an affine, through the planes and through the affine."""
    assert volume.shape_zyx == HU.shape
    np.testing.assert_allclose(volume.affine_lps, affine_lps, atol=1e-5, rtol=1e-6)
    for index, values in volume.read_slices(range(HU.shape[0])):
        np.testing.assert_array_equal(values, HU[index])
        places = volume.planes[index].to_patient(np.array([[0.0, 0.0], [4.0, 5.0]]))
        wanted = [(affine_lps @ (x, y, index, 1))[:3] for x, y in ((0, 0), (4, 5))]
        np.testing.assert_allclose(places, wanted, atol=tolerance_mm)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_any_order_of_axes_gives_the_same_slices(tmp_path: Path, order: tuple[int, int, int], name: str) -> None:
    """The 24 rotations and their mirrors; `order` names the patient's axis along each axis of the file."""
    for flips in FLIPS:
        volume = open_volume(write_volume(tmp_path / name, *permute(HU, AFFINE, order, flips)))
        assert [index for index, _ in volume.read_slices([3, 0, 2])] == [0, 2, 3]
        assert_same_slices(volume, AFFINE)
        assert volume.planes[0].orientation == pytest.approx((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), abs=1e-7)
        assert volume.planes[0].spacing_yx_mm == pytest.approx((0.9, 0.7), abs=1e-6)


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_the_order_of_axes_is_that_of_nibabel(tmp_path: Path, order: tuple[int, int, int]) -> None:
    """nibabel's canonical axes point to the right, the front and the head: against ours in x and y."""
    for flips in FLIPS:
        path = write_volume(tmp_path / "a.nii", *permute(HU, rotate(0, 17) @ rotate(2, -9) @ AFFINE, order, flips))
        canonical = nibabel.as_closest_canonical(nibabel.load(path))
        volume = open_volume(path)
        expected = np.asarray(canonical.dataobj)[::-1, ::-1].T
        np.testing.assert_array_equal(np.array([values for _, values in volume.read_slices(range(4))]), expected)
        x, y, z = 1, 2, 3
        place = apply_affine(canonical.affine, (4 - x, 5 - y, z))
        np.testing.assert_allclose(
            volume.planes[z].to_patient(np.array([[x, y]], float))[0], RAS_TO_LPS[:3, :3] @ place, atol=1e-3
        )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("axis", range(3), ids="xyz")
def test_oblique_volumes_lie_in_place(tmp_path: Path, axis: int, name: str) -> None:
    for degrees, (order, flips) in zip(
        (10, -20, 30), ((ORDERS[0], FLIPS[0]), (ORDERS[3], FLIPS[2]), (ORDERS[5], FLIPS[6])), strict=True
    ):
        affine = rotate(axis, degrees) @ AFFINE
        stored, stored_affine = permute(HU, affine, order, flips)
        volume = open_volume(write_volume(tmp_path / name, stored, stored_affine))
        assert_same_slices(volume, affine)
        np.testing.assert_allclose(volume.stored_to_lps((1, 2, 3)), (stored_affine @ (1, 2, 3, 1))[:3], atol=1e-3)


@pytest.mark.parametrize("name", ["a.nii", "a.nrrd"])
@pytest.mark.parametrize("flip", [False, True])
def test_slices_of_a_tilted_gantry_are_moved_along(tmp_path: Path, flip: bool, name: str) -> None:
    """The slices stay at right angles in their plane; the axis across them leans towards the front by 20 degrees."""
    affine = AFFINE.copy()
    affine[1, 2] = -2.5 * np.tan(np.deg2rad(20))
    stored, stored_affine = permute(HU, affine, (0, 1, 2), (False, False, flip))
    volume = open_volume(write_volume(tmp_path / name, stored, stored_affine))
    assert_same_slices(volume, affine)
    assert volume.planes[3].height_mm(volume.planes[0].position_mm) == pytest.approx(-7.5, abs=1e-3)
    assert volume.voxel_mm3 == pytest.approx(0.7 * 0.9 * 2.5, rel=1e-5)


@pytest.mark.parametrize("name", ["a.nii", "a.nrrd"])
def test_a_sheared_slice_is_refused(tmp_path: Path, name: str) -> None:
    affine = AFFINE.copy()
    affine[0, 1] = 0.2
    with pytest.raises(InputError, match="axes of its slices are not at right angles"):
        open_volume(write_volume(tmp_path / name, HU, affine))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", ["<i2", "<f4", "<u2", "|u1"])
def test_values_of_each_type_are_read(tmp_path: Path, kind: str, name: str) -> None:
    values = np.abs(HU).astype(kind)
    volume = open_volume(write_volume(tmp_path / name, values, AFFINE))
    for index, found in volume.read_slices(range(4)):
        np.testing.assert_array_equal(found, values[index])
    assert volume.stored.is_mask == (kind == "|u1")
