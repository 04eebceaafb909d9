"""Measurement groups with regions: whose nodule and which reader each of them is."""

from pathlib import Path

import numpy as np

from importers.test_stacks import make_rows
from noduleclip.importers.annotations import Sphere
from noduleclip.importers.catalogue import describe_slices
from noduleclip.importers.dicom_sr import Report
from noduleclip.importers.region_annotations import PlacedReports, name_reported, place_reports
from noduleclip.importers.report_regions import Region
from noduleclip.importers.slice_columns import FRAME_OF_REFERENCE


def group(document: str, tracking_uid: str, sop_uid: str, z_mm: float = 0.0) -> tuple[Report, Sphere]:
    return Report(Path(document), "", 0, tracking_uid), Sphere("1.2", (0.0, 0.0, z_mm), 5.0, sop_uid=sop_uid)


def name(*groups: tuple[Report, Sphere]) -> list[tuple[str, str]]:
    return [(sphere.nodule_id, sphere.reader) for sphere in name_reported(groups)]


def test_each_document_is_a_reader_of_all_its_slices() -> None:
    groups = [group("a.dcm", "7", "1"), group("a.dcm", "7", "2"), group("b.dcm", "7", "1"), group("b.dcm", "7", "2")]
    assert name(*groups) == [("7", "1"), ("7", "1"), ("7", "2"), ("7", "2")]


def test_groups_of_one_slice_are_of_several_readers() -> None:
    groups = [group("a.dcm", "7", "1"), group("a.dcm", "7", "1"), group("a.dcm", "7", "2"), group("b.dcm", "7", "1")]
    assert name(*groups) == [("7", "1"), ("7", "2"), ("7", "1"), ("7", "3")]


def test_places_in_space_are_told_apart_by_height() -> None:
    groups = [group("a.dcm", "7", "", 1.0), group("a.dcm", "7", "", 1.0), group("a.dcm", "7", "", 3.5)]
    assert name(*groups) == [("7", "1"), ("7", "2"), ("7", "1")]


def test_a_place_in_space_lies_on_a_slice_of_its_frame_of_reference() -> None:
    rows = [
        row | {FRAME_OF_REFERENCE: f"1.{letter}"}
        for letter, shift_mm in (("a", 0.0), ("b", 0.4))
        for row in make_rows(letter, np.arange(0, 50, 2.5) + shift_mm)
    ]
    catalogue = describe_slices(Path("scan"), rows)

    def place(frame_uid: str, z_mm: float) -> PlacedReports:
        region = Region("POINT", np.array([[0.0, 0.0, z_mm]]), frame_of_reference_uid=frame_uid)
        return place_reports([Report(Path("a.dcm"), "", 0, "", diameter_mm=5.0, regions=(region,))], catalogue)

    for letter in ("a", "b"):
        (sphere,) = place(f"1.{letter}", 20.2).spheres
        assert sphere.sop_uid == f"{letter}8"
    assert (place("1.b", 90.0).spheres, place("1.b", 90.0).absent) == ([], 1)


def test_groups_that_share_no_tracking_uid_have_no_names() -> None:
    assert name(group("a.dcm", "7", "1"), group("a.dcm", "8", "1"), group("a.dcm", "", "1")) == [("", "")] * 3
