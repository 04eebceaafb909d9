"""Crops keep millimetres: against SciPy, Pillow, and discs whose diameter is known."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from noduleclip.io.crops import AIR_HU, make_crop
from noduleclip.io.dicom.slice import read_ct_slice

SHARED_DATA = Path(__file__).parents[2].parent / "shared" / "data"

Pair = tuple[float, float]


def make_noise(height_px: int, width_px: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1000, 400, size=(height_px, width_px)).astype(np.float32)


def make_disc(
    shape_px: tuple[int, int], spacing_yx_mm: Pair, center_xy_px: Pair, diameter_mm: float
) -> NDArray[np.float32]:
    """A disc of 100 HU in lung of -800 HU, its edge anti-aliased by sampling each pixel 8 x 8 times."""
    fine_y, fine_x = ((np.arange(8 * length) + 0.5) / 8 - 0.5 for length in shape_px)
    y_mm = (fine_y - center_xy_px[1]) * spacing_yx_mm[0]
    x_mm = (fine_x - center_xy_px[0]) * spacing_yx_mm[1]
    inside = np.hypot(y_mm[:, None], x_mm) <= diameter_mm / 2
    share = inside.reshape(shape_px[0], 8, shape_px[1], 8).mean(axis=(1, 3))
    disc_hu: NDArray[np.float32] = (-800 + 900 * share).astype(np.float32)
    return disc_hu


def crop_with_scipy(
    hu: NDArray[np.float32], spacing_yx_mm: Pair, center_xy_px: Pair, fov_mm: float, size_px: int
) -> NDArray[np.float64]:
    """Slow oracle for output pixels no larger than the image's: plain interpolation at each centre.

    Five pixels of air around the image make SciPy fade into air between the last pixel and the first outside.
    """
    offsets_mm = (np.arange(size_px) - (size_px - 1) / 2) * fov_mm / size_px
    rows = center_xy_px[1] + offsets_mm / spacing_yx_mm[0] + 5
    columns = center_xy_px[0] + offsets_mm / spacing_yx_mm[1] + 5
    padded = np.pad(hu.astype(np.float64), 5, constant_values=AIR_HU)
    grid = np.meshgrid(rows, columns, indexing="ij")
    crop: NDArray[np.float64] = map_coordinates(padded, grid, order=1, mode="constant", cval=AIR_HU)
    return crop


def half_height_extent_px(profile_hu: NDArray[np.float32], level_hu: float) -> float:
    """Length of the run above a level, its two ends interpolated."""
    above = np.flatnonzero(profile_hu > level_hu)
    first, last = above[0], above[-1]
    rise = (profile_hu[first] - level_hu) / (profile_hu[first] - profile_hu[first - 1])
    fall = (profile_hu[last] - level_hu) / (profile_hu[last] - profile_hu[last + 1])
    return float(last - first + rise + fall)


@pytest.mark.parametrize("center_xy_px", [(30.0, 25.0), (31.3, 24.7), (0.0, 0.0), (63.0, 49.0), (-4.5, 20.2)])
@pytest.mark.parametrize("spacing_yx_mm", [(0.7, 0.7), (0.5, 0.9), (0.98, 0.5)])
def test_fine_crop_equals_scipy(center_xy_px: Pair, spacing_yx_mm: Pair) -> None:
    hu = make_noise(50, 64)
    crop = make_crop(hu, spacing_yx_mm, center_xy_px, fov_mm=24.0, size_px=96)
    expected = crop_with_scipy(hu, spacing_yx_mm, center_xy_px, 24.0, 96)
    np.testing.assert_allclose(crop, expected, atol=0.01)


@pytest.mark.parametrize("size_px", [16, 31, 64, 128])
@pytest.mark.parametrize("spacing_yx_mm", [(0.7, 0.7), (0.5, 0.9), (0.9, 0.5)])
def test_crop_inside_the_image_equals_pillow(size_px: int, spacing_yx_mm: Pair) -> None:
    hu = make_noise(200, 220)
    x, y, fov_mm = 104.3, 99.6, 48.0
    half_y, half_x = (fov_mm / 2 / side for side in spacing_yx_mm)
    box = (x + 0.5 - half_x, y + 0.5 - half_y, x + 0.5 + half_x, y + 0.5 + half_y)
    expected = Image.fromarray(hu).resize((size_px, size_px), Image.Resampling.BILINEAR, box=box)
    crop = make_crop(hu, spacing_yx_mm, (x, y), fov_mm=fov_mm, size_px=size_px)
    inner = slice(3, -3)  # at its edges Pillow leaves out what lies beyond the box
    np.testing.assert_allclose(crop[inner, inner], np.asarray(expected)[inner, inner], atol=0.05)


def test_coarse_crop_at_the_border_equals_padding_first() -> None:
    hu = make_noise(40, 50)
    padded = np.pad(hu, 100, constant_values=AIR_HU)
    for x, y in [(0.0, 0.0), (49.0, 20.3), (-10.2, 44.0), (25.0, 20.0)]:
        crop = make_crop(hu, (0.6, 0.8), (x, y), fov_mm=60.0, size_px=24)
        expected = make_crop(padded, (0.6, 0.8), (x + 100, y + 100), fov_mm=60.0, size_px=24)
        np.testing.assert_allclose(crop, expected, atol=0.01)


@pytest.mark.parametrize("spacing_yx_mm", [(0.5, 0.9), (0.9, 0.5), (0.7, 0.7)])
@pytest.mark.parametrize("diameter_mm", [4.0, 8.4, 20.0])
@pytest.mark.parametrize("size_px", [64, 128])
def test_disc_keeps_its_diameter_on_both_axes(spacing_yx_mm: Pair, diameter_mm: float, size_px: int) -> None:
    center_xy_px = (60.4, 71.7)
    hu = make_disc((150, 130), spacing_yx_mm, center_xy_px, diameter_mm)
    crop = make_crop(hu, spacing_yx_mm, center_xy_px, fov_mm=48.0, size_px=size_px)
    step_mm = 48.0 / size_px
    area_mm2 = float((crop + 800).sum()) / 900 * step_mm**2
    assert 2 * np.sqrt(area_mm2 / np.pi) == pytest.approx(diameter_mm, abs=0.1)
    middle = slice(size_px // 2 - 1, size_px // 2 + 1)
    for profile_hu in (crop[middle].mean(axis=0), crop[:, middle].mean(axis=1)):
        measured_mm = half_height_extent_px(profile_hu, -350.0) * step_mm
        assert measured_mm == pytest.approx(diameter_mm, abs=0.5 * max(step_mm, *spacing_yx_mm))


def test_disc_lies_in_the_middle() -> None:
    hu = make_disc((150, 130), (0.5, 0.9), (60.4, 71.7), 12.0)
    crop = make_crop(hu, (0.5, 0.9), (60.4, 71.7), fov_mm=48.0, size_px=65) + 800
    positions = np.arange(65) - 32
    assert abs(float((crop.sum(axis=0) * positions).sum() / crop.sum())) < 0.05
    assert abs(float((crop.sum(axis=1) * positions).sum() / crop.sum())) < 0.05


@given(
    x=st.floats(-40, 100),
    y=st.floats(-40, 100),
    spacing_y_mm=st.floats(0.3, 1.2),
    spacing_x_mm=st.floats(0.3, 1.2),
    size_px=st.integers(8, 48),
    fov_mm=st.floats(16, 60),
)
def test_a_linear_image_reads_out_its_own_millimetres(
    x: float, y: float, spacing_y_mm: float, spacing_x_mm: float, size_px: int, fov_mm: float
) -> None:
    """Each crop pixel wholly inside an image whose HU are millimetres shows the position it stands for."""
    height_px, width_px = 60, 70
    y_mm, x_mm = np.arange(height_px) * spacing_y_mm, np.arange(width_px) * spacing_x_mm
    hu = (y_mm[:, None] * 10 + x_mm).astype(np.float32)
    crop = make_crop(hu, (spacing_y_mm, spacing_x_mm), (x, y), fov_mm=fov_mm, size_px=size_px)
    step_mm = fov_mm / size_px
    offsets_mm = (np.arange(size_px) - (size_px - 1) / 2) * step_mm
    expected_y_mm, expected_x_mm = y * spacing_y_mm + offsets_mm, x * spacing_x_mm + offsets_mm
    reach_y_mm, reach_x_mm = max(step_mm, spacing_y_mm), max(step_mm, spacing_x_mm)
    rows = (expected_y_mm - reach_y_mm >= 0) & (expected_y_mm + reach_y_mm <= y_mm[-1])
    columns = (expected_x_mm - reach_x_mm >= 0) & (expected_x_mm + reach_x_mm <= x_mm[-1])
    # A sampled triangle has its mean exactly at its tip only if its support is a whole number of pixels.
    bias_y_mm = 0.15 * spacing_y_mm if step_mm > spacing_y_mm else 0.0
    bias_x_mm = 0.15 * spacing_x_mm if step_mm > spacing_x_mm else 0.0
    expected = expected_y_mm[rows][:, None] * 10 + expected_x_mm[columns]
    np.testing.assert_allclose(crop[rows][:, columns], expected, atol=0.01 + 10 * bias_y_mm + bias_x_mm)
    # And air where the kernel does not touch the image.
    outside = (expected_y_mm + reach_y_mm < 0) | (expected_y_mm - reach_y_mm > y_mm[-1])
    assert np.all(crop[outside] == AIR_HU)


@pytest.mark.parametrize("center_xy_px", [(-500.0, 20.0), (20.0, 1e6), (1e300, -1e300)])
def test_center_far_outside_is_all_air(center_xy_px: Pair) -> None:
    assert np.all(make_crop(make_noise(40, 40), (0.7, 0.7), center_xy_px, fov_mm=48.0, size_px=32) == AIR_HU)


def test_small_image_in_a_large_field_of_view_is_padded() -> None:
    hu = np.zeros((71, 71), dtype=np.float32)
    crop = make_crop(hu, (0.7, 0.7), (35.0, 35.0), fov_mm=72.0, size_px=144)
    share = np.mean(crop == 0.0)
    assert share == pytest.approx((71 * 0.7 / 72) ** 2, abs=0.03)
    assert np.all(crop[0] == AIR_HU)
    assert np.all(crop[:, -1] == AIR_HU)


@pytest.mark.parametrize(
    ("spacing_yx_mm", "center_xy_px", "fov_mm", "size_px"),
    [
        ((0.0, 0.7), (5.0, 5.0), 48.0, 64),
        ((0.7, float("nan")), (5.0, 5.0), 48.0, 64),
        ((0.7, 0.7), (5.0, float("inf")), 48.0, 64),
        ((0.7, 0.7), (5.0, 5.0), -1.0, 64),
        ((0.7, 0.7), (5.0, 5.0), 48.0, 0),
    ],
)
def test_nonsense_is_a_value_error(spacing_yx_mm: Pair, center_xy_px: Pair, fov_mm: float, size_px: int) -> None:
    with pytest.raises(ValueError, match=r"no crop|not finite"):
        make_crop(make_noise(9, 9), spacing_yx_mm, center_xy_px, fov_mm=fov_mm, size_px=size_px)


def test_real_crop_is_padded_with_air_beyond_its_pixels() -> None:
    folder = SHARED_DATA / "lidc_crops"
    if not folder.is_dir():
        pytest.skip(f"the real CT data are absent: {folder}")
    table = pl.read_csv(folder / "rois.csv", n_rows=20)
    for row in table.iter_rows(named=True):
        ct = read_ct_slice(folder / row["dicom_path"])
        assert ct.spacing_yx_mm is not None
        center = ((row["bbox_xmin"] + row["bbox_xmax"]) / 2, (row["bbox_ymin"] + row["bbox_ymax"]) / 2)
        crop = make_crop(ct.hu, ct.spacing_yx_mm, center, fov_mm=72.0, size_px=64)
        assert ct.hu.shape == (71, 71)
        assert np.all(crop[0] == AIR_HU)
        assert np.all(crop[:, -1] == AIR_HU)
        assert np.mean(crop > AIR_HU) > 0.1
        assert crop.min() >= AIR_HU
