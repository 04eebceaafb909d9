"""Segments on the slices of their CT: outlines in its pixels, spheres at its places, and who read what."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noduleclip.importers.annotations import Outline, RejectedAnnotation, Sphere
from noduleclip.importers.dicom_sr import Report
from noduleclip.importers.segment_annotations import enclose_segment, match_reports, name_readers, outline_segment
from noduleclip.importers.segments import Curve, MaskPlane, Segment
from noduleclip.io.slice_plane import SlicePlane

UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
PLANES = [SlicePlane((-10.0, -20.0, z), UPRIGHT, (0.5, 0.8), (100, 60)) for z in (0.0, 2.5, 5.0)]
SOPS = ["1.0", "1.1", "1.2"]
SQUARE = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [0.0, 2.0]])
HOLE = np.array([[1.0, 0.5], [2.0, 0.5], [2.0, 1.5], [1.0, 1.5]])


def segment(
    seg_uid: str = "9.1",
    number: int = 1,
    label: str = "N",
    tracking: str = "2.25.1",
    planes: tuple[MaskPlane, ...] = (),
) -> Segment:
    return Segment(Path("seg.dcm"), seg_uid, number, label, tracking, "1.2.3", "P1", planes)


def mask(z_mm: float, sop_uid: str = "", orientation: tuple[float, ...] = UPRIGHT, x_mm: float = -10.0) -> MaskPlane:
    plane = SlicePlane((x_mm, -20.0, z_mm), orientation, (0.5, 0.8), (100, 60))
    return MaskPlane(sop_uid, plane, (Curve(SQUARE, includes=True), Curve(HOLE, includes=False)))


def test_a_mask_of_a_part_of_the_slice_lands_on_its_pixels() -> None:
    made = outline_segment(segment(planes=(mask(2.5, "1.1", x_mm=-2.0), mask(5.0))), PLANES, SOPS, ("A", "2"))
    assert isinstance(made, Outline)
    assert (made.series_uid, made.patient_id, made.nodule_id, made.reader, made.name) == ("1.2.3", "P1", "A", "2", "N")
    assert [(it.sop_uid, it.z_mm, it.includes) for it in made.contours] == [
        ("1.1", 2.5, True), ("1.1", 2.5, False), ("1.2", 5.0, True), ("1.2", 5.0, False),
    ]  # fmt: skip
    np.testing.assert_allclose(made.contours[0].points_px, SQUARE + np.array([10, 0]))
    np.testing.assert_allclose(made.contours[3].points_px, HOLE)


def test_a_volume_is_that_of_the_pixels() -> None:
    planes = tuple(replace(mask(z_mm), pixels=pixels) for z_mm, pixels in ((2.5, 30), (5.0, 12)))
    made = outline_segment(segment(planes=planes), PLANES, SOPS, ("", ""), gap_mm=2.5)
    assert isinstance(made, Outline)
    assert made.volume_mm3 == pytest.approx(42 * 0.5 * 0.8 * 2.5)
    alone = outline_segment(segment(planes=planes), PLANES, SOPS, ("", ""))
    assert isinstance(alone, Outline)
    assert alone.volume_mm3 is None, "the distance of slices is not known"


def test_a_flipped_mask_lands_on_its_pixels() -> None:
    flipped = mask(2.5, orientation=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), x_mm=-10 + 7 * 0.8)
    made = outline_segment(segment(planes=(flipped,)), PLANES, SOPS, ("", ""))
    assert isinstance(made, Outline)
    np.testing.assert_allclose(made.contours[0].points_px, np.abs(SQUARE - (7, 0)))


@pytest.mark.parametrize("wrong", [mask(9.0), mask(2.5, "1.2"), mask(1.3)], ids=["beyond", "another slice", "between"])
def test_a_mask_on_no_slice_is_told(wrong: MaskPlane) -> None:
    made = outline_segment(segment(planes=(wrong,)), PLANES, SOPS, ("", ""))
    if wrong.plane.position_mm[2] == 1.3:  # half a slice and a bit from either: the upper one is the nearer
        assert isinstance(made, Outline)
        return
    assert isinstance(made, RejectedAnnotation)
    assert made.reason.startswith("seg.dcm: segment 1: its mask at z ")


def test_the_middle_leaves_holes_out() -> None:
    made = enclose_segment(segment(planes=(mask(2.5), mask(5.0))), ("", ""), Report(Path("sr"), "9.1", 1, "", 7.0))
    assert isinstance(made, Sphere)
    x_px = (8 * 2.0 - 1 * 1.5) / 7
    np.testing.assert_allclose(made.center_mm, (-10 + x_px * 0.8, -20 + 1.0 * 0.5, 3.75))
    assert made.diameter_mm == 7.0


def test_a_report_without_diameter_gives_no_sphere() -> None:
    assert enclose_segment(segment(planes=(mask(2.5),)), ("", ""), Report(Path("sr"), "9.1", 1, "")) is None


def test_readers_of_a_shared_nodule_are_numbered_by_label() -> None:
    segments = [
        segment("9.1", label="Nodule 1 - Annotation B"),
        segment("9.2", label="Nodule 1 - Annotation A"),
        segment("9.3", label="Nodule 2 - Annotation A", tracking="2.25.2"),
        segment("9.4", label="x", tracking=""),
    ]
    assert name_readers(segments) == {
        ("9.1", 1): ("2.25.1", "2"), ("9.2", 1): ("2.25.1", "1"), ("9.3", 1): ("2.25.2", "1"), ("9.4", 1): ("", ""),
    }  # fmt: skip
    assert set(name_readers(segments[1:]).values()) == {("", "")}


def test_reports_find_their_segments() -> None:
    segments = [segment("9.1", 1), segment("9.1", 2), segment("9.2", tracking="2.25.2")]
    reports = [
        Report(Path("sr"), "9.1", 2, "2.25.1", 5.0),
        Report(Path("sr"), "9.1", 2, "2.25.1", 6.0),
        Report(Path("sr"), "", 0, "2.25.2", 7.0),
        Report(Path("sr"), "", 0, "2.25.1", 8.0),
        Report(Path("sr"), "9.7", 1, "2.25.2", 9.0),
    ]
    matched = match_reports(segments, reports)
    assert {key: report.diameter_mm for key, report in matched.found.items()} == {("9.1", 2): 5.0, ("9.2", 1): 7.0}
    assert (matched.unmatched, matched.ambiguous) == (2, 1)


def test_measurement_groups_on_one_segment_add_up() -> None:
    reports = [
        Report(Path("a"), "9.1", 1, "", ratings={"texture": 5}),
        Report(Path("b"), "9.1", 1, "", 12.1, {"texture": 4, "margin": 3}),
    ]
    matched = match_reports([segment("9.1", 1)], reports)
    report = matched.found["9.1", 1]
    assert (report.path, report.diameter_mm, report.ratings) == (Path("b"), 12.1, {"texture": 5, "margin": 3})
    assert matched.ambiguous == 0


@pytest.mark.parametrize("diameter_mm", [1210.0, 0.0, -3.0])
def test_a_reported_diameter_of_no_nodule_is_refused(diameter_mm: float) -> None:
    made = enclose_segment(segment(planes=(mask(2.5),)), ("", ""), Report(Path("sr"), "9.1", 1, "", diameter_mm))
    assert isinstance(made, RejectedAnnotation)
    assert f"is {diameter_mm:g} mm, not in (0, 100] mm" in made.reason
