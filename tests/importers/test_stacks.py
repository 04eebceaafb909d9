"""Reconstructions of a series: told apart by their headers, chosen by a rule, whatever the files are called."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.importers.series_slices import SeriesSlices, arrange_slices
from noduleclip.importers.slice_columns import (
    COLUMNS,
    FRAME_OF_REFERENCE,
    IMAGE_TYPE,
    INSTANCE,
    KERNEL,
    ORIENTATION,
    PATH,
    POSITION,
    ROWS,
    SERIES_DESCRIPTION,
    STUDY_UID,
    make_slice_frame,
)
from noduleclip.importers.stacks import Stack, make_stacks, rank_stacks

Row = dict[str, Any]
Heights = Sequence[float] | NDArray[np.float64]


def make_rows(
    name: str,
    heights_mm: Heights,
    thickness_mm: float | None = 2.5,
    kernel: str = "B30f",
    matrix: int = 512,
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    spacing_mm: float = 0.7,
    **more: Any,
) -> list[Row]:
    """Rows of a catalogue for slices named `name` and a number, in files whose names say nothing."""
    return [
        {
            PATH: f"/scans/{random.Random(f'{name}{number}').random()}.dcm",
            schema.SOP_UID: f"{name}{number}",
            schema.SERIES_UID: "1.2.3",
            STUDY_UID: "1.2",
            schema.PATIENT_ID: "P1",
            schema.SPACING_ROW: spacing_mm,
            schema.SPACING_COL: spacing_mm,
            **dict(zip(POSITION, (-100.0, -100.0, float(z_mm)), strict=True)),
            **dict(zip(ORIENTATION, map(float, orientation), strict=True)),
            ROWS: matrix,
            COLUMNS: matrix,
            schema.SLICE_THICKNESS: thickness_mm,
            KERNEL: kernel,
            **more,
        }
        for number, z_mm in enumerate(heights_mm)
    ]


def arrange(*groups: list[Row], pattern: str = "") -> SeriesSlices:
    rows = [row for group in groups for row in group]
    random.Random(1).shuffle(rows)
    return arrange_slices(make_slice_frame(rows), pattern)


def name_used(series: SeriesSlices) -> str:
    """The letters of the slices in use, each once, in their order."""
    return "".join(dict.fromkeys(uid[0] for uid in series.frame[schema.SOP_UID]))


THICK = make_rows("t", range(0, 100, 5), 5.0, "B70f")
THIN = make_rows("a", np.arange(0, 100, 1.25), 1.25)


@pytest.mark.parametrize(
    ("groups", "used"),
    [
        pytest.param((THICK, THIN), "a", id="the thinner one"),
        pytest.param((make_rows("b", range(20), 1.0, "B70f"), make_rows("a", range(20), 1.0)), "a", id="by kernel"),
        pytest.param(
            (
                make_rows("b", range(20), 1.0, "", series_description="Lung"),
                make_rows("a", range(20), 1.0, "", series_description="Bone"),
            ),
            "a",
            id="by description",
        ),
        pytest.param(
            (make_rows("b", np.arange(1.25, 50, 2.5), kernel="L"), make_rows("a", np.arange(0, 50, 2.5), kernel="B")),
            "a",
            id="interleaved",
        ),
        pytest.param((make_rows("s", range(0, 100, 10), 1.0), THICK), "t", id="no samples of slices"),
        pytest.param((make_rows("p", np.arange(40, 60, 0.6), 0.6), THIN), "a", id="no part of the scan"),
        pytest.param((make_rows("p", [0.0], 0.5), THICK), "t", id="no single slice"),
        pytest.param((make_rows("p", [40.0], 0.5, matrix=256), THICK), "t", id="no overview of another matrix"),
        pytest.param(
            (make_rows("p", [40.0], 0.5, orientation=(1, 0, 0, 0, 0.9, 0.436)), THICK), "t", id="no tilted overview"
        ),
        pytest.param((make_rows("p", [40.0], None, "S", spacing_mm=1.5), THICK), "t", id="no coarse overview"),
        pytest.param(
            (make_rows("b", range(0, 40, 4), None), make_rows("a", range(0, 40, 2), None, "Z")), "a", id="by distance"
        ),
        pytest.param((make_rows("a", [7.0], 1.0), make_rows("b", [7.0], 2.0)), "a", id="single slices only"),
    ],
)
def test_the_rule_chooses_one_reconstruction(groups: Sequence[list[Row]], used: str) -> None:
    for some in (groups, groups[::-1]):
        series = arrange(*some)
        assert name_used(series) == used
        assert len(series.list_alternatives()) == 1
        assert series.frame.height + series.shadowed.height == sum(map(len, groups))


@pytest.mark.parametrize("shift_mm", [0.0, 0.4])
def test_scans_of_two_frames_of_reference_are_not_mixed(shift_mm: float) -> None:
    first, second = (
        [row | {FRAME_OF_REFERENCE: f"1.{name}"} for row in make_rows(name, np.arange(0, 50, 2.5) + offset_mm)]
        for name, offset_mm in (("a", 0.0), ("b", shift_mm))
    )
    series = arrange(first, second)
    assert name_used(series) == "a"
    assert series.frame.height == series.shadowed.height == len(first)


def test_slices_of_which_each_has_its_own_frame_of_reference_are_one_stack() -> None:
    rows = [row | {FRAME_OF_REFERENCE: f"1.{number}"} for number, row in enumerate(THIN)]
    assert len(make_stacks(make_slice_frame(rows))) == 1


def test_a_thickness_of_0_is_not_the_thinnest() -> None:
    assert (
        name_used(arrange(make_rows("a", range(0, 100, 2), 0.0, "B70f"), make_rows("b", range(0, 100, 1), 1.0))) == "b"
    )


def test_a_tilted_scan_of_the_same_part_is_another_reconstruction() -> None:
    """The corners of its slices lie 60 mm lower along its normal, so that it seems to continue the other one."""
    tilt = np.radians(20)
    orientation = (1, 0, 0, 0, np.cos(tilt), np.sin(tilt))
    half_mm = 511 / 2 * 0.7
    tilted = [
        row
        | dict(zip(POSITION, (-100.0, -100 + half_mm * (1 - np.cos(tilt)), z_mm - half_mm * np.sin(tilt)), strict=True))
        for row, z_mm in zip(make_rows("t", range(50), 1.0, orientation=orientation), range(50), strict=True)
    ]
    series = arrange(tilted, make_rows("a", np.arange(0, 50, 0.8), 0.8))
    assert name_used(series) == "a"
    assert [other.first[schema.SOP_UID][0] for other in series.others] == ["t"]


def test_a_tilted_scan_below_continues_it_and_holds_its_points() -> None:
    """Of each slice of that part the middle lies on that slice, though slices are in the order of the other part."""
    tilt = np.radians(20)
    orientation = (1, 0, 0, 0, np.cos(tilt), np.sin(tilt))
    series = arrange(
        make_rows("a", range(100), 1.0), make_rows("t", np.arange(-300.0, -240), 1.0, orientation=orientation)
    )
    assert not series.others
    for number, plane in enumerate(series.planes):
        if series.frame[number, schema.SOP_UID].startswith("t"):
            middle = plane.to_patient(np.array([[255.5, 255.5]]))[0].tolist()
            assert series.find_nearest(middle) == number


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param((make_rows("a", range(50), 1.0), make_rows("b", range(55, 100, 5), 5.0)), id="above"),
        pytest.param((make_rows("a", [0, 2.5, 7.5, 10]), make_rows("b", [5.0], kernel="B31f")), id="in a gap"),
        pytest.param((make_rows("a", range(10), 1.0), make_rows("b", range(10, 20), 1.0, matrix=768)), id="matrix"),
    ],
)
def test_slices_that_continue_a_reconstruction_belong_to_it(groups: Sequence[list[Row]]) -> None:
    series = arrange(*groups)
    assert series.frame.height == sum(map(len, groups))
    assert not series.others
    assert np.all(np.diff(series.heights_mm) > 0)


def test_a_point_lies_on_the_part_whose_slices_hold_it() -> None:
    series = arrange(make_rows("a", range(50), 1.0), make_rows("b", range(55, 100, 5), 5.0))
    found = [series.find_nearest((0.0, 0.0, z_mm)) for z_mm in (10.4, 57.4, 72.5, 52.6, 52.0, 200.0)]
    names = [None if number is None else series.frame[number, schema.SOP_UID] for number in found]
    assert names == ["a10", "b0", "b3", "b0", None, None]


def test_the_headers_of_one_reconstruction_may_differ_by_rounding() -> None:
    rows = make_rows("a", range(40), 1.0)
    for number, row in enumerate(rows):
        row[schema.SLICE_THICKNESS] = 1.0 + 0.01 * (number % 3)
        row[schema.SPACING_ROW] = 0.7 + 0.0002 * (number % 2)
        row[ORIENTATION[1]] = 0.005 * (number % 2)
    assert len(make_stacks(make_slice_frame(rows))) == 1


def test_phases_of_a_gated_scan_are_not_mixed() -> None:
    phases = [
        make_rows(name, range(10), 1.0, acquisition_number=acquisition) for name, acquisition in (("b", 2), ("a", 1))
    ]
    series = arrange(*phases)
    assert name_used(series) == "a"
    assert [stack.layer for stack in (*series.parts, *series.others)] == [0, 1]
    by_instance = [make_rows(name, range(10), 1.0) for name in "ba"]
    for phase, first in zip(by_instance, (11, 1), strict=True):
        for number, row in enumerate(phase):
            row[INSTANCE] = first + number
    assert name_used(arrange(*by_instance)) == "a"


@pytest.mark.parametrize("seed", range(8))
def test_names_and_order_of_files_have_no_part_in_the_choice(seed: int) -> None:
    rows = [
        *THICK,
        *make_rows("b", np.arange(0.6, 100, 1.25), 1.25, "B30f", image_type="ORIGINAL"),
        *THIN,
        *make_rows("c", np.arange(0, 100, 1.25), 1.25, patient_id="P2"),
        *make_rows("l", [3.0], None, matrix=1024),
    ]
    series = arrange_slices(make_slice_frame(rows))
    shuffled = [dict(row) for row in rows]
    order = random.Random(seed)
    order.shuffle(shuffled)
    paths = [row[PATH] for row in shuffled]
    order.shuffle(paths)
    again = arrange_slices(make_slice_frame([row | {PATH: path} for row, path in zip(shuffled, paths, strict=True)]))
    assert again.frame.drop(PATH).equals(series.frame.drop(PATH))
    assert again.shadowed.drop(PATH).equals(series.shadowed.drop(PATH))
    assert again.patients == series.patients == ["P1", "P2"]


@pytest.mark.parametrize("seed", range(20))
def test_stacks_compete_where_their_slices_are_near(seed: int) -> None:
    """Against all pairs of slices."""
    rng = np.random.default_rng(seed)
    one, other = (
        Stack(make_slice_frame(make_rows("a", heights)), heights, "P1")
        for heights in (np.sort(rng.uniform(low, low + 40, rng.integers(1, 9))) for low in (0, rng.uniform(20, 50)))
    )
    nearest = min(abs(a - b) for a in one.heights_mm for b in other.heights_mm)
    gaps = [gap for gap in (one.gap_mm, other.gap_mm) if np.isfinite(gap)]
    assert one.competes(other) == other.competes(one) == (nearest < max(0.75 * min(gaps, default=0), 0.01))


@pytest.mark.parametrize(
    ("pattern", "used"), [("B70F", "t"), ("b7*", "t"), ("*soft?", "a"), ("1.2.3", "a"), ("B70", "a"), ("9*", "a")]
)
def test_a_pattern_is_preferred(pattern: str, used: str) -> None:
    soft = [row | {SERIES_DESCRIPTION: "Chest soft "} for row in THIN]
    assert name_used(arrange(THICK, soft, pattern=pattern)) == used


def test_slices_of_several_patients_are_told_apart() -> None:
    mine, other = make_rows("a", range(20), 1.0), make_rows("b", range(20), 0.5, "B80f", patient_id="p2 ")
    series = arrange(mine, other)
    assert (series.patients, series.clear_patient) == (["P1", "p2"], "")
    assert series.of_patient("") is series.of_patient("P3") is None
    for patient_id, used in (("p1", "a"), ("P2", "b")):
        of_patient = series.of_patient(patient_id)
        assert of_patient is not None
        assert name_used(of_patient) == used
    picked = arrange(mine, other, pattern="B80f")
    assert picked.clear_patient == "p2"
    of_pattern, named = picked.of_patient(""), picked.of_patient("P1")
    assert of_pattern is not None
    assert named is not None
    assert (name_used(of_pattern), name_used(named)) == ("b", "a")


def test_slices_without_a_patient_are_of_the_only_one() -> None:
    series = arrange(make_rows("a", range(0, 20, 2), 2.0), make_rows("b", range(1, 20, 2), 2.0, patient_id=" "))
    assert series.patients == ["P1"]
    assert series.of_patient("anybody") is series


def test_stacks_are_ranked_over_series() -> None:
    rows = [*THICK, *(row | {schema.SERIES_UID: "1.2.4", IMAGE_TYPE: "DERIVED"} for row in THIN)]
    ranked = rank_stacks(make_stacks(make_slice_frame(rows)))
    assert [stack.first[schema.SERIES_UID] for stack in ranked] == ["1.2.4", "1.2.3"]
    assert ranked[0].describe() == "80 slices, 1.25 mm, B30f"
