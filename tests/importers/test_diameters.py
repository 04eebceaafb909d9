"""Diameters against slow ways to measure them, shapes of known size, and LIDC's tables."""

import math
import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.importers.annotations import Contour, Outline
from noduleclip.importers.diameters import DiameterKind, measure_outline
from noduleclip.io.outlines import parse_points

SPACING_YX_MM = (0.7, 0.5)


def outline_of(*contours: Contour) -> Outline:
    return Outline("1.2", "1", "nodule", contours)


def measure(points_px: NDArray[np.float64], kind: DiameterKind, spacing_yx_mm: tuple[float, float]) -> float:
    (size,) = measure_outline(outline_of(Contour(points_px, 1.0)), spacing_yx_mm, kind)
    return size


def make_ellipse(width_px: float, height_px: float, turned: float = 0.0, points: int = 400) -> NDArray[np.float64]:
    angles = np.arange(points) * 2 * np.pi / points
    x, y = width_px / 2 * np.cos(angles), height_px / 2 * np.sin(angles)
    turn = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    return np.asarray(np.stack([x, y], axis=1) @ turn.T + 100)


@st.composite
def stars(draw: st.DrawFn) -> NDArray[np.float64]:
    """Outlines that do not cross themselves, with vertices on pixels or between."""
    radii = np.array(draw(st.lists(st.floats(1, 20), min_size=3, max_size=14)))
    angles = np.arange(len(radii)) * 2 * np.pi / len(radii)
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1) + 50
    return np.asarray(np.rint(points * 4) / 4)


def measure_long_axis_slowly(points_px: NDArray[np.float64]) -> float:
    pairs = combinations(points_px * SPACING_YX_MM[::-1], 2)
    return max(math.dist(one, two) for one, two in pairs)


def measure_chord_slowly(curve_mm: list[tuple[float, float]], start: int, end: int) -> float:
    """Cut the curve by perpendiculars at each vertex and at many places between, edge by edge."""
    (x0, y0), (x1, y1) = curve_mm[start], curve_mm[end]
    length = math.dist(curve_mm[start], curve_mm[end])
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    turned = [((x - x0) * ux + (y - y0) * uy, (y - y0) * ux - (x - x0) * uy) for x, y in curve_mm]
    places = [along for along, _ in turned] + list(np.linspace(-length, 2 * length, 301))
    widest = 0.0
    for place in places:
        crossings = []
        for (a0, c0), (a1, c1) in zip(turned, turned[1:] + turned[:1], strict=True):
            if min(a0, a1) <= place <= max(a0, a1):
                crossings += [c0, c1] if a0 == a1 else [c0 + (place - a0) / (a1 - a0) * (c1 - c0)]
        widest = max(widest, max(crossings, default=0) - min(crossings, default=0))
    return widest


@given(stars())
def test_the_long_axis_is_the_largest_distance_of_two_vertices(points_px: NDArray[np.float64]) -> None:
    expected = measure_long_axis_slowly(points_px)
    assert measure(points_px, DiameterKind.IN_SLICE, SPACING_YX_MM) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", [DiameterKind.IN_SLICE, DiameterKind.AXES_MEAN])
@given(stars(), st.integers(2, 40))
def test_vertices_between_vertices_change_nothing(
    kind: DiameterKind, points_px: NDArray[np.float64], parts: int
) -> None:
    """Long curves are measured by their hulls."""
    steps = np.arange(parts)[:, None] / parts
    ends = zip(points_px, np.roll(points_px, -1, axis=0), strict=True)
    split = np.concatenate([start + (end - start) * steps for start, end in ends])
    assert measure(split, kind, SPACING_YX_MM) == pytest.approx(measure(points_px, kind, SPACING_YX_MM), rel=1e-9)


def test_a_curve_on_pixels_is_measured_however_long_it_is() -> None:
    circle = np.rint(make_ellipse(2000, 2000, points=100_000))
    assert measure(circle, DiameterKind.IN_SLICE, (0.05, 0.05)) == pytest.approx(100, abs=0.1)
    line = np.stack([np.arange(90_000) % 300.0, np.zeros(90_000)], axis=1)
    assert measure(line, DiameterKind.IN_SLICE, (1.0, 1.0)) == 299
    spot = np.zeros((90_000, 2))
    assert math.isnan(measure(spot, DiameterKind.IN_SLICE, (1.0, 1.0)))


@given(stars())
def test_the_second_axis_is_the_longest_chord_across_the_first(points_px: NDArray[np.float64]) -> None:
    curve_mm = [(float(x), float(y)) for x, y in points_px * SPACING_YX_MM[::-1]]
    longest = measure_long_axis_slowly(points_px)
    ends = [
        pair
        for pair in combinations(range(len(curve_mm)), 2)
        if math.dist(curve_mm[pair[0]], curve_mm[pair[1]]) >= longest * (1 - 1e-9)
    ]
    expected = (longest + max(measure_chord_slowly(curve_mm, *pair) for pair in ends)) / 2
    assert measure(points_px, DiameterKind.AXES_MEAN, SPACING_YX_MM) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", DiameterKind)
@given(points_px=stars(), first=st.integers(0, 13))
def test_it_does_not_matter_where_a_curve_starts_and_which_way_it_runs(
    kind: DiameterKind, points_px: NDArray[np.float64], first: int
) -> None:
    size = measure(points_px, kind, SPACING_YX_MM)
    assert measure(np.roll(points_px, first, axis=0)[::-1], kind, SPACING_YX_MM) == pytest.approx(size, rel=1e-9)


@pytest.mark.parametrize("turned", [0.0, 0.3, 1.1])
def test_an_ellipse_has_its_axes_and_the_circle_of_their_product(turned: float) -> None:
    points_px = make_ellipse(30, 20, turned)
    square = (0.5, 0.5)
    assert measure(points_px, DiameterKind.IN_SLICE, square) == pytest.approx(15, abs=0.01)
    assert measure(points_px, DiameterKind.AXES_MEAN, square) == pytest.approx(12.5, abs=0.01)
    assert measure(points_px, DiameterKind.EQUIVALENT, square) == pytest.approx(math.sqrt(150), abs=0.01)


def test_rows_and_columns_have_their_own_spacing() -> None:
    points_px = make_ellipse(40, 20)
    assert measure(points_px, DiameterKind.IN_SLICE, (2.0, 0.5)) == pytest.approx(40, abs=0.01), "along y"
    assert measure(points_px, DiameterKind.AXES_MEAN, (1.0, 0.5)) == pytest.approx(20, abs=0.01), "a circle in mm"


def test_each_curve_is_measured_by_the_spacing_of_its_own_slice() -> None:
    """A square of 20 px on slices of 0.5 and 1 mm, on the first with a hole of 10 px."""
    square = np.array([[0, 0], [20, 0], [20, 20], [0, 20]], float)
    outline = outline_of(
        Contour(square, 1.0), Contour(square / 2 + 5, 1.0, includes=False), Contour(square, 2.0), Contour(square, 3.0)
    )
    spacings = [(0.5, 0.5), (0.5, 0.5), (1.0, 1.0), (1.0, 2.0)]
    wide = math.hypot(20, 40)
    for kind, expected in {
        DiameterKind.IN_SLICE: [math.sqrt(200), math.sqrt(800), wide],
        DiameterKind.EQUIVALENT: [2 * math.sqrt(area / math.pi) for area in (75, 400, 800)],
        DiameterKind.LARGEST_IN_SLICE: [wide] * 3,
    }.items():
        assert measure_outline(outline, spacings, kind) == pytest.approx(expected)


def test_the_second_axis_may_leave_a_bay() -> None:
    """Both axes join outermost points, as a caliper does; inside the U there is no chord longer than its wall."""
    u_shape = np.array([[0, 0], [20, 0], [20, 10], [16, 10], [16, 2], [4, 2], [4, 10], [0, 10]], float)
    size = measure(u_shape, DiameterKind.AXES_MEAN, (1.0, 1.0))
    assert size > (math.hypot(20, 10) + 10) / 2


def test_of_equal_long_axes_the_one_with_the_longer_chord_counts() -> None:
    arrow = np.array([[0, 0], [5, -3], [10, -2], [10, 2]], float)  # both long sides are equal, one has a bulge
    sizes = [
        measure(np.roll(arrow, first, axis=0)[::step], DiameterKind.AXES_MEAN, (1.0, 1.0))
        for first in range(4)
        for step in (1, -1)
    ]
    assert sizes == pytest.approx([sizes[0]] * 8, rel=1e-12)


def test_a_hole_is_no_area_of_the_curve_around_it_alone() -> None:
    square = np.array([[0, 0], [20, 0], [20, 20], [0, 20]], float)
    hole = np.array([[5, 5], [15, 5], [15, 15], [5, 15]], float)
    outline = outline_of(
        Contour(square, 1.0),
        Contour(hole, 1.0, includes=False),
        Contour(square + 30, 1.0),
        Contour(square, 2.0),
        Contour(square, math.nan),
        Contour(hole, math.nan, includes=False),
    )
    sizes = measure_outline(outline, (1.0, 1.0), DiameterKind.EQUIVALENT)
    whole, left = 2 * math.sqrt(400 / math.pi), 2 * math.sqrt(300 / math.pi)
    assert sizes == pytest.approx([left, whole, whole, whole])
    assert measure_outline(outline, (1.0, 1.0), DiameterKind.IN_SLICE) == pytest.approx([math.sqrt(800)] * 4)


def test_3d_is_the_largest_slice_of_the_reader_on_every_slice() -> None:
    point = np.array([[3.0, 3.0]])
    outline = outline_of(Contour(make_ellipse(8, 8), 1), Contour(make_ellipse(20, 8), 2), Contour(point, 3))
    small, large, none = measure_outline(outline, (0.5, 0.5), DiameterKind.LARGEST_IN_SLICE)
    assert small == large == pytest.approx(10, abs=0.01)
    assert math.isnan(none)


@pytest.mark.parametrize("kind", DiameterKind)
@pytest.mark.parametrize("points_px", [[[3.0, 4.0]], [[3.0, 4.0], [3.0, 4.0], [3.0, 4.0]]])
def test_a_point_has_no_diameter(kind: DiameterKind, points_px: list[list[float]]) -> None:
    assert math.isnan(measure(np.array(points_px), kind, SPACING_YX_MM))


def test_a_line_has_a_length_and_nothing_else() -> None:
    line = np.array([[3.0, 4.0], [9.0, 4.0]])
    assert measure(line, DiameterKind.IN_SLICE, SPACING_YX_MM) == pytest.approx(3)
    assert measure(line, DiameterKind.LARGEST_IN_SLICE, SPACING_YX_MM) == pytest.approx(3)
    assert math.isnan(measure(line, DiameterKind.AXES_MEAN, SPACING_YX_MM))
    assert math.isnan(measure(line, DiameterKind.EQUIVALENT, SPACING_YX_MM))


def test_lidc_tables_are_reproduced_to_their_last_digit(shared_data: Path) -> None:
    table = pl.read_csv(shared_data / "lidc_crops" / "rois_all_readers.csv")
    columns = (schema.POINTS_JSON, schema.SPACING_ROW, schema.SPACING_COL, schema.DIAMETER_MM, "eq_diameter_mm")
    for text, row_mm, column_mm, in_slice_mm, equivalent_mm in table.select(columns).iter_rows():
        points_px = parse_points(text)
        assert points_px is not None
        assert measure(points_px, DiameterKind.IN_SLICE, (row_mm, column_mm)) == pytest.approx(in_slice_mm, abs=6e-4)
        circle_mm = measure(points_px, DiameterKind.EQUIVALENT, (row_mm, column_mm))
        assert np.nan_to_num(circle_mm) == pytest.approx(equivalent_mm, abs=6e-4), "the table says 0 of a line"


def test_3d_is_what_lidc_tables_call_so(shared_data: Path) -> None:
    """The table holds every slice of its two nodules."""
    table = pl.read_csv(shared_data / "lidc_slices" / "rois.csv")
    for (reader,), rows in table.group_by(pl.col("pylidc_annotation_id")):
        contours = [
            Contour(points_px, z_mm)
            for text, z_mm in rows.select(schema.POINTS_JSON, schema.Z_MM).iter_rows()
            if (points_px := parse_points(text)) is not None
        ]
        spacing_yx_mm = rows.select(schema.SPACING_ROW, schema.SPACING_COL).row(0)
        sizes = measure_outline(outline_of(*contours), spacing_yx_mm, DiameterKind.LARGEST_IN_SLICE)
        expected = rows["diameter3d_this_reader_mm"].to_list()
        assert sizes == pytest.approx(expected, abs=6e-4), reader


@pytest.mark.parametrize("kind", [DiameterKind.AXES_MEAN, DiameterKind.EQUIVALENT])
def test_a_long_curve_takes_memory_in_its_length(kind: DiameterKind) -> None:
    """All pairs of 12,000 points at once took gigabytes, of the points of a hole and its contour, too."""
    curve, hole = (np.rint(make_ellipse(w, h, 0.3, 12_000) * 4) / 4 for w, h in ((60, 40), (6, 4)))  # few corners
    contours = (Contour(curve, 1.0), Contour(hole, 1.0, includes=False))
    tracemalloc.start()
    (size,) = measure_outline(outline_of(*contours), (1.0, 1.0), kind)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    expected = {DiameterKind.AXES_MEAN: 50.0, DiameterKind.EQUIVALENT: math.sqrt(60 * 40 - 6 * 4)}
    assert size == pytest.approx(expected[kind], rel=1e-2)
    assert peak < 500e6
