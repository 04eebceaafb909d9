"""Masks on the slices of their image: every voxel, whatever the axes of the file, and no other grid."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from numpy.typing import NDArray

from importers.mask_phantoms import AFFINE, BALLS, SHAPE, SPACING, make_mask, write_image, write_mask
from noduleclip.errors import RejectCode, SliceError
from noduleclip.importers.mask_segments import ImageSlices, read_mask
from noduleclip.importers.mask_voxels import MaskRules
from noduleclip.importers.segments import Segment
from noduleclip.io.slice_plane import SlicePlane
from noduleclip.io.volumes.formats import open_volume
from volume_files import permute

ORDERS = list(itertools.permutations(range(3)))
FLIPS = list(itertools.product([False, True], repeat=3))
SOPS = [f"1.{index}" for index in range(SHAPE[0])]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> ImageSlices:
    path = write_image(tmp_path_factory.mktemp("image") / "ct.mha")
    return ImageSlices("ct.mha", open_volume(path).planes, SOPS)


def fill_segment(segment: Segment, image: ImageSlices) -> NDArray[np.bool_]:
    """Return the (Z, Y, X) pixels of an image whose middle lies in the curves of a segment, by even-odd."""
    filled = np.zeros(SHAPE, np.bool_)
    y, x = np.indices(SHAPE[1:])
    middles = np.column_stack([x.ravel(), y.ravel()])
    for mask in segment.planes:
        index = list(image.sop_uids).index(mask.sop_uid)
        for curve in mask.curves:
            points_px = image.planes[index].to_pixels(mask.plane.to_patient(curve.points_px))
            filled[index] ^= Polygon(points_px).contains_points(middles).reshape(SHAPE[1:])
    return filled


@pytest.mark.parametrize("flips", FLIPS, ids=str)
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_any_order_of_axes_of_a_mask_gives_the_same_voxels(
    tmp_path: Path, image: ImageSlices, order: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    mask = make_mask()
    mask[4, 20, 15] = 0  # a hole
    path = write_mask(tmp_path / "m.mha", *permute(mask, AFFINE, order, flips))
    segments, found = read_mask(open_volume(path), MaskRules(), [image])
    assert [segment.label for segment in segments] == ["component 1 of m.mha", "component 2 of m.mha"]
    assert (found.few, found.left_out, found.wide) == (0, 0, [])
    filled = sum(fill_segment(segment, image).astype(int) for segment in segments)
    np.testing.assert_array_equal(filled, mask)
    voxels = [sum(plane.pixels for plane in segment.planes) for segment in segments]
    assert sum(voxels) == np.count_nonzero(mask)


def test_an_oblique_mask_lies_on_its_oblique_image(tmp_path: Path) -> None:
    in_plane, tilt = np.eye(4), np.eye(4)
    in_plane[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    tilt[1:3, 1:3] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    turn = in_plane @ tilt
    volume = open_volume(write_mask(tmp_path / "m.mha", make_mask(), turn @ AFFINE))
    image = ImageSlices("ct", volume.planes, SOPS)
    segments, _ = read_mask(volume, MaskRules(), [image])
    np.testing.assert_array_equal(sum(fill_segment(one, image).astype(int) for one in segments), make_mask())


def test_a_part_of_the_grid_is_fine(tmp_path: Path, image: ImageSlices) -> None:
    mask = make_mask()
    affine = AFFINE.copy()
    affine[:3, 3] = (AFFINE @ (5, 8, 1, 1))[:3]
    path = write_mask(tmp_path / "m.mha", np.ascontiguousarray(mask[1:11, 8:45, 5:58]), affine)
    segments, _ = read_mask(open_volume(path), MaskRules(), [image])
    np.testing.assert_array_equal(sum(fill_segment(one, image).astype(int) for one in segments), mask)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("change", ["half a voxel", "spacing", "turned", "outside"])
def test_a_mask_on_another_grid_is_told(tmp_path: Path, image: ImageSlices, axis: int, change: str) -> None:
    affine = AFFINE.copy()
    if change == "half a voxel":
        affine[axis, 3] += 0.5 * SPACING[axis]
    elif change == "spacing":
        affine[axis, axis] *= 1.02
    elif change == "turned":
        turn = np.eye(4)
        one, other = (axis + 1) % 3, axis
        turn[one, one], turn[one, other], turn[other, one], turn[other, other] = 0.999, 0.0447, -0.0447, 0.999
        affine = turn @ affine
    else:
        affine[2, 3] += 100.0
    path = write_mask(tmp_path / "m.mha", make_mask(), affine)
    with pytest.raises(
        SliceError, match=r"m\.mha: its slice \d+ is on no slice of ct\.mha, voxel on voxel: the mask"
    ) as e:
        read_mask(open_volume(path), MaskRules(), [image])
    assert e.value.code is RejectCode.OTHER_GRID
    assert "60 x 50 x 12 voxels of 0.7 x 0.9 x 2.5 mm from (-100.5, 20.25, -300.12) mm; if it was" in str(e.value)


def test_a_mask_of_another_shape_is_to_be_resampled(tmp_path: Path, image: ImageSlices) -> None:
    affine = AFFINE.copy()
    affine[0, 0] *= 1.5
    path = write_mask(tmp_path / "m.mha", np.ascontiguousarray(make_mask()[:, :, :40]), affine)
    with pytest.raises(SliceError, match=r" mm; resample the mask to the image, by nearest neighbour$"):
        read_mask(open_volume(path), MaskRules(), [image])


def test_a_mask_of_slices_in_any_order_finds_its_slices(tmp_path: Path) -> None:
    """DICOM series may lack slices, and run downwards."""
    volume = open_volume(write_mask(tmp_path / "m.mha"))
    kept = [index for index in reversed(range(SHAPE[0])) if index != 11]
    down = ImageSlices("series", [volume.planes[index] for index in kept], [SOPS[index] for index in kept])
    segments, _ = read_mask(volume, MaskRules(), [down])
    masks = [mask for segment in segments for mask in segment.planes]
    assert all(mask.plane == volume.planes[SOPS.index(mask.sop_uid)] for mask in masks)
    gone = ImageSlices("series", down.planes[:6], down.sop_uids[:6])
    with pytest.raises(SliceError, match="is on no slice of series"):
        read_mask(volume, MaskRules(), [gone])


def test_a_turned_plane_of_equal_sides_is_not_mixed_up(tmp_path: Path) -> None:
    """Rows and columns of a head-first prone series run the other way round."""
    volume = open_volume(write_mask(tmp_path / "m.mha"))
    rows, columns = SHAPE[1:]
    prone = [
        SlicePlane(
            tuple(plane.to_patient(np.array([[columns - 1.0, rows - 1.0]]))[0].tolist()),
            (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0), plane.spacing_yx_mm, plane.shape_yx,
        )
        for plane in volume.planes
    ]  # fmt: skip
    image = ImageSlices("prone", prone, SOPS)
    segments, _ = read_mask(volume, MaskRules(), [image])
    filled = sum(fill_segment(one, image).astype(int) for one in segments)
    np.testing.assert_array_equal(filled, make_mask()[:, ::-1, ::-1])


def test_the_diameter_of_a_ball_is_that_of_the_phantom(tmp_path: Path, image: ImageSlices) -> None:
    segments, _ = read_mask(open_volume(write_mask(tmp_path / "m.mha")), MaskRules(), [image])
    for segment, ball in zip(segments, BALLS, strict=True):
        widths = [np.ptp(curve.points_px, axis=0) * SPACING[:2] for mask in segment.planes for curve in mask.curves]
        assert np.max(widths) == pytest.approx(ball.diameter_mm, abs=0.9)
        volume_mm3 = sum(mask.area_mm2 for mask in segment.planes) * SPACING[2]
        assert volume_mm3 == pytest.approx(np.pi / 6 * ball.diameter_mm**3, rel=0.1)
