"""Readers' outlines of one nodule: against pixels counted one by one, and in the ways that readers disagree."""

import math
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from noduleclip.importers.annotations import Contour, Outline
from noduleclip.importers.grouping import LEAST_OVERLAP, group_outlines, number_nodules


def make_disc(x_px: float, y_px: float, radius_px: float) -> NDArray[np.float64]:
    angles = np.arange(48) * 2 * np.pi / 48
    return np.stack([x_px + radius_px * np.cos(angles), y_px + radius_px * np.sin(angles)], axis=1)


def make_ball(
    x_px: float, y_px: float, z_mm: float, radius_px: float, reader: str = "", gap_mm: float = 1.0
) -> Outline:
    """Draw a ball whose radius is as many mm as pixels."""
    steps = np.arange(-math.floor(radius_px / gap_mm), math.floor(radius_px / gap_mm) + 1) * gap_mm
    contours = tuple(
        Contour(make_disc(x_px, y_px, math.sqrt(max(radius_px**2 - step**2, 0.25))), z_mm + step) for step in steps
    )
    return Outline("1.2", reader, "", contours)


def test_readers_of_two_nodules_are_told_apart() -> None:
    outlines = [
        make_ball(100, 100, 0, 6, "1"),
        make_ball(200, 100, 0, 5, "1"),
        make_ball(101, 99, 1, 5, "2"),
        make_ball(201, 101, 0, 6, "3"),
        make_ball(100, 100, 50, 6, "3"),
    ]
    assert group_outlines(outlines) == [[0, 2], [1, 3], [4]]


def test_neighbours_that_touch_are_two_nodules() -> None:
    """Contours run along the first pixel outside, so that neighbours share a line."""
    assert group_outlines([make_ball(100, 100, 0, 6), make_ball(112, 100, 0, 6)]) == [[0], [1]]


def test_a_small_outline_inside_a_large_one_is_the_same_nodule() -> None:
    assert group_outlines([make_ball(100, 100, 0, 15), make_ball(104, 100, 2, 3)]) == [[0, 1]]


@pytest.mark.parametrize("readers", [("", "", "", ""), ("1", "2", "3", "4")])
def test_who_draws_two_where_another_draws_one_has_the_more_alike_grouped(readers: tuple[str, ...]) -> None:
    one, two, three, _ = readers
    outlines = [
        make_ball(100, 100, 0, 12, one),
        make_ball(94, 100, 0, 4, two),
        make_ball(104, 100, 0, 6, two),
        make_ball(101, 100, 0, 11, three),
    ]
    assert group_outlines(outlines) == [[0, 2, 3], [1]]


def test_a_chain_of_overlaps_is_not_one_nodule() -> None:
    outlines = [make_ball(100 + 7 * at, 100, 0, 6 + at / 10) for at in range(4)]
    assert group_outlines(outlines) == [[0, 1], [2, 3]]


def test_a_reader_does_not_confirm_himself() -> None:
    twice = [make_ball(100, 100, 0, 6, "1"), make_ball(101, 100, 0, 6, "1")]
    assert group_outlines(twice) == [[0], [1]]
    assert group_outlines([make_ball(100, 100, 0, 6), make_ball(101, 100, 0, 6)]) == [[0, 1]]


def test_holes_count_as_inside() -> None:
    ring = Outline("1.2", "1", "", (Contour(make_disc(50, 50, 9), 0), Contour(make_disc(50, 50, 7), 0, includes=False)))
    core = Outline("1.2", "2", "", (Contour(make_disc(50, 50, 5), 0),))
    assert group_outlines([ring, core]) == [[0, 1]]


def test_several_curves_of_a_slice_are_counted_once() -> None:
    curves = (Contour(make_disc(50, 50, 6), 0), Contour(make_disc(52, 50, 6), 0), Contour(make_disc(51, 50, 6), 0))
    two = Outline("1.2", "2", "", (Contour(make_disc(55, 50, 4), 0),))
    assert group_outlines([Outline("1.2", "1", "", curves), two]) == [[0, 1]]


def test_points_and_lines_overlap_what_holds_them() -> None:
    point = Outline("1.2", "2", "", (Contour(np.array([[100.0, 100.0]]), 0.0),))
    line = Outline("1.2", "3", "", (Contour(np.array([[98.0, 100.0], [102.0, 100.0]]), 0.0),))
    far = Outline("1.2", "3", "", (Contour(np.array([[9.0, 9.0]]), 0.0),))
    assert group_outlines([make_ball(100, 100, 0, 6, "1"), point, line, far]) == [[0, 1, 2], [3]]


def test_slices_are_told_by_uid_where_there_is_no_position() -> None:
    disc = make_disc(50, 50, 6)
    named = [Outline("1.2", str(at), "", (Contour(disc, math.nan, uid),)) for at, uid in enumerate(["a", "b", "a"])]
    nowhere = [Outline("1.2", str(at), "", (Contour(disc, math.nan),)) for at in (7, 8)]
    assert group_outlines([*named, *nowhere]) == [[0, 2], [1], [3], [4]]


def test_nothing_gives_nothing() -> None:
    assert group_outlines([]) == []


def test_nodules_of_a_patient_are_numbered_over_the_series_from_the_lowest() -> None:
    first = [make_ball(200, 100, 30, 5), make_ball(100, 100, -40, 6), make_ball(101, 99, -39, 5)]
    second = [
        replace(make_ball(100, 100, -90, 6), series_uid="1.3"),
        replace(make_ball(50, 100, -90, 6), series_uid="1.3"),
    ]
    assert number_nodules([*second, *first]) == ["4", "3", "2", "1", "1"]
    assert number_nodules([*first, *second]) == ["2", "1", "1", "4", "3"]


def test_a_nodule_of_unknown_height_comes_last() -> None:
    nowhere = Outline("1.2", "", "", (Contour(make_disc(5, 5, 4), math.nan, "1.2.3"),))
    assert number_nodules([nowhere, make_ball(100, 100, 0, 6)]) == ["2", "1"]


def test_the_names_of_a_source_stay() -> None:
    named = [replace(make_ball(100, 100, 0, 6), nodule_id="2"), replace(make_ball(100, 100, 0, 6), nodule_id="7")]
    assert number_nodules([*named, make_ball(100, 100, 0, 6), make_ball(9, 9, 0, 6)]) == ["2", "7", "3", "1"]


Box = tuple[int, int, int, int, int, int]
boxes = st.builds(
    lambda x, y, z, w, h, d: (x, y, z, x + w, y + h, z + d),
    *(st.integers(0, 6) for _ in range(3)),
    *(st.integers(0, 5) for _ in range(3)),
)


def outline_of(box: Box, reader: str) -> Outline:
    x0, y0, z0, x1, y1, z1 = box
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)
    return Outline("1.2", reader, "", tuple(Contour(corners, float(z)) for z in range(z0, z1 + 1)))


def group_slowly(found: list[tuple[Box, str]]) -> list[list[int]]:
    """Count voxels one by one; join the most alike pair of nodules that may be joined, until none may."""
    voxels = [
        {(x, y, z) for x in range(x0, x1 + 1) for y in range(y0, y1 + 1) for z in range(z0, z1 + 1)}
        for (x0, y0, z0, x1, y1, z1), _ in found
    ]

    def fits(one: int, two: int) -> bool:
        smaller = min(len(voxels[one]), len(voxels[two]))
        shared = len(voxels[one] & voxels[two])
        other_reader = not found[one][1] or found[one][1] != found[two][1]
        return other_reader and shared > 0 and shared >= LEAST_OVERLAP * smaller

    pairs = sorted(
        combinations(range(len(found)), 2),
        key=lambda pair: (
            -len(voxels[pair[0]] & voxels[pair[1]]) / len(voxels[pair[0]] | voxels[pair[1]]),
            pair,
        ),
    )
    nodules = [{at} for at in range(len(found))]
    for one, two in pairs:
        first = next(nodule for nodule in nodules if one in nodule)
        second = next(nodule for nodule in nodules if two in nodule)
        if first is not second and all(fits(a, b) for a in first for b in second):
            nodules = [nodule for nodule in nodules if nodule not in (first, second)] + [first | second]
    return sorted(sorted(nodule) for nodule in nodules)


@settings(max_examples=200)
@given(st.lists(st.tuples(boxes, st.sampled_from(["", "1", "2", "3"])), max_size=7))
def test_groups_are_those_of_voxels_counted_one_by_one(found: list[tuple[Box, str]]) -> None:
    assert group_outlines([outline_of(box, reader) for box, reader in found]) == group_slowly(found)


@given(st.lists(st.tuples(boxes, st.sampled_from(["", "1", "2"])), min_size=1, max_size=7))
def test_each_outline_is_of_one_nodule_and_nodules_stand_in_order(found: list[tuple[Box, str]]) -> None:
    nodules = group_outlines([outline_of(box, reader) for box, reader in found])
    assert sorted(at for nodule in nodules for at in nodule) == list(range(len(found)))
    assert all(one[0] < two[0] for one, two in pairwise(nodules))
