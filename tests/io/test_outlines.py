"""Readers' outlines drawn on the grid of the crop."""

import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.crops import make_crop
from noduleclip.io.nodules import group_nodules
from noduleclip.io.outlines import (
    compute_mean_outline,
    draw_nodules,
    draw_outline,
    find_rim,
    parse_points,
    parse_slices,
)


def disc(diameter_mm: float, spacing_yx_mm: tuple[float, float], center_xy: tuple[float, float]) -> np.ndarray:
    angles = np.linspace(0, 2 * math.pi, 90, endpoint=False)
    radius = diameter_mm / 2
    return np.stack(
        [
            center_xy[0] + radius * np.cos(angles) / spacing_yx_mm[1],
            center_xy[1] + radius * np.sin(angles) / spacing_yx_mm[0],
        ],
        axis=1,
    )


@pytest.mark.parametrize("spacing", [(0.7, 0.7), (0.5, 0.9), (1.2, 0.6)])
@pytest.mark.parametrize("diameter_mm", [5.0, 12.0, 30.0])
def test_a_disc_keeps_its_area_in_millimetres(diameter_mm: float, spacing: tuple[float, float]) -> None:
    drawn = draw_outline(disc(diameter_mm, spacing, (30.3, 41.8)), spacing, (30.3, 41.8), fov_mm=48, size_px=64)
    area = drawn.sum() * 0.75**2
    assert 2 * math.sqrt(area / math.pi) == pytest.approx(diameter_mm, abs=0.3)
    middle = (np.arange(64) - 31.5) * 0.75
    assert (drawn.sum(axis=0) * middle).sum() / drawn.sum() == pytest.approx(0, abs=0.15)
    assert (drawn.sum(axis=1) * middle).sum() / drawn.sum() == pytest.approx(0, abs=0.15)


def test_it_lies_where_the_crop_shows_it() -> None:
    """A slice that is bright inside an outline, cut by `make_crop`, is bright where the outline is drawn."""
    spacing, center = (0.5, 0.8), (40.0, 52.0)
    rows, columns = np.mgrid[0:100, 0:100]
    inside = np.hypot((columns - 46) * spacing[1], (rows - 50) * spacing[0]) <= 7
    crop = (
        make_crop(np.where(inside, 0.0, -1024.0).astype(np.float32), spacing, center, fov_mm=48, size_px=64) / 1024 + 1
    )
    drawn = draw_outline(disc(14, spacing, (46, 50)), spacing, center, fov_mm=48, size_px=64)
    overlap = 2 * np.minimum(drawn, crop).sum() / (drawn + crop).sum()
    assert overlap > 0.97


def test_what_is_no_outline_is_none() -> None:
    good = "[[1, 2], [3, 4.5], [5, 0]]"
    parsed = parse_points(good)
    assert parsed is not None
    assert parsed.tolist() == [[1, 2], [3, 4.5], [5, 0]]
    texts = (
        None, "", "null", "7", "[]", "[[1,2],[3,4]]", "[[1,2,3],[4,5,6],[7,8,9]]", '[["a","b"],["c","d"],["e","f"]]',
        "[[1,2],[3],[4,5]]", "[[NaN,1],[2,3],[4,5]]", "[[1e300,1],[2,3],[4,5]]", "[" * 50_000, '{"x": 1}',
        "[[1,2],[3,4],[5,6" , json.dumps([[1, 2]] * 30_000), "[[0,0],[1,1],[2,0]]" + " " * 2_000_000,
    )  # fmt: skip
    assert [text for text in texts if parse_points(text) is not None] == []


def make_frame(outlines: list[str | None], spacing: float | None = 0.75) -> pl.DataFrame:
    rows = len(outlines)
    return pl.DataFrame(
        {
            schema.PATIENT_ID: ["A"] * rows,
            schema.NODULE_ID: ["1"] * (rows - 1) + ["2"],
            schema.DICOM_PATH: ["s"] * rows,
            schema.DIAMETER_MM: [8.0] * rows,
            schema.CENTER_X: [31.5] * rows,
            schema.CENTER_Y: [31.5] * rows,
            schema.SPACING_ROW: [spacing] * rows,
            schema.SPACING_COL: [spacing] * rows,
            schema.POINTS_JSON: outlines,
        },
        schema_overrides={schema.SPACING_ROW: pl.Float64, schema.SPACING_COL: pl.Float64},
    )


def test_readers_who_draw_give_a_share_and_others_count_for_nothing() -> None:
    square = json.dumps([[20, 20], [40, 20], [40, 40], [20, 40]])
    half = json.dumps([[20, 20], [30, 20], [30, 40], [20, 40]])
    frame = make_frame([square, half, None, "rubbish", None])
    outlines = draw_nodules(frame, group_nodules(frame), fov_mm=48, size_px=64)
    shares, known = outlines.shares, outlines.known
    assert known.tolist() == [True, False]
    assert shares.dtype == np.uint8
    assert (shares[0, 30, 25], shares[0, 30, 35], shares[0, 30, 50]) == (255, 128, 0)
    assert not shares[1].any()


@pytest.mark.parametrize("spacing", [None, 0.0, math.inf])
def test_without_a_spacing_there_is_no_outline(spacing: float | None) -> None:
    frame = make_frame([json.dumps([[20, 20], [40, 20], [40, 40]])] * 2, spacing)
    assert not draw_nodules(frame, group_nodules(frame), fov_mm=48, size_px=64).known.any()
    bare = frame.drop(schema.POINTS_JSON)
    assert not draw_nodules(bare, group_nodules(bare), fov_mm=48, size_px=64).known.any()


@given(st.integers(3, 40), st.integers(0, 2**31), st.floats(-0.3, 0.3))
def test_a_rim_keeps_the_largest_distance(vertices: int, seed: int, spread: float) -> None:
    """To one part in 400; of an outline that is stretched afterwards to one in 200."""
    points = np.random.default_rng(seed).normal(0, 5, (vertices, 2))
    rim = find_rim(points)
    stretched = np.diag([np.exp(spread), np.exp(-spread)])

    def widest(some: NDArray[np.float64]) -> float:
        return float(np.linalg.norm((some[:, None] - some) @ stretched, axis=2).max())

    assert {tuple(point) for point in rim} <= {tuple(point) for point in points}
    assert widest(points) * (0.9975 if spread == 0 else 0.995) <= widest(rim) <= widest(points)


def slice_text(**changes: object) -> str:
    triangle = [[0, 0], [4, 0], [0, 3]]
    values = {"dicom_path": "a.dcm", "frame": None, "z_mm": -2.5, "outlines": [triangle, [[1, 1]]]}
    return json.dumps([{**values, **changes}])


def test_slices_of_a_nodule_are_parsed() -> None:
    (found,) = parse_slices(slice_text(frame=3))
    assert (found.dicom_path, found.frame, found.z_mm) == ("a.dcm", 3, -2.5)
    assert [one.tolist() for one in found.outlines] == [[[0, 0], [4, 0], [0, 3]]]  # a point is no outline


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{}x",
        "7",
        "[7]",
        '["a"]',
        "[" * 100_000,
        slice_text(dicom_path=5),
        slice_text(frame=True),
        slice_text(frame="1"),
        slice_text(z_mm="high"),
        slice_text(outlines=None),
        slice_text().replace("outlines", "curves"),
    ],
)
def test_texts_of_another_form_have_no_slices(text: str | None) -> None:
    assert parse_slices(text) == ()


def ring(radius_px: float, center_xy: tuple[float, float] = (30.3, 41.8)) -> np.ndarray:
    return disc(2 * radius_px, (1.0, 1.0), center_xy)


@pytest.mark.parametrize(
    ("radii", "expected"),
    [((5.0, 6.0, 8.0), 6.0), ((4.0, 5.0, 7.0, 9.0), 7.0), ((5.0, 8.0), 8.0), ((60.0, 62.0), 62.0)],
)
def test_the_mean_of_circles_is_the_circle_that_half_of_them_reach(radii: tuple[float, ...], expected: float) -> None:
    (mean,) = compute_mean_outline([ring(radius) for radius in radii])
    distances = np.hypot(mean[:, 0] - 30.3, mean[:, 1] - 41.8)
    assert distances.min() == pytest.approx(expected, abs=0.15)
    assert distances.max() == pytest.approx(expected, abs=0.15)
    assert np.hypot(*(mean[1:] - mean[:-1]).T).max() < 1, "without gaps"


def test_the_mean_of_one_outline_is_itself_and_of_none_nothing() -> None:
    alone = ring(6)
    assert compute_mean_outline([alone]) == [alone]
    assert compute_mean_outline([]) == []


def test_readers_who_agree_nowhere_have_both_outlines_or_none() -> None:
    apart = [ring(5, (20, 20)), ring(5, (60, 20)), ring(5, (20, 70))]
    assert len(compute_mean_outline(apart[:2])) == 2, "each is half of two readers"
    assert compute_mean_outline(apart) == []


def test_the_mean_of_a_far_outline_takes_little_memory() -> None:
    (mean,) = compute_mean_outline([ring(90_000), ring(90_000), ring(80_000)])
    assert np.hypot(mean[:, 0] - 30.3, mean[:, 1] - 41.8).mean() == pytest.approx(90_000, rel=0.01)
