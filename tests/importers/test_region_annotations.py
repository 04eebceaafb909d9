"""Measurement groups with regions: whose nodule and which reader each of them is."""

from pathlib import Path

from noduleclip.importers.annotations import Sphere
from noduleclip.importers.dicom_sr import Report
from noduleclip.importers.region_annotations import name_reported


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


def test_groups_that_share_no_tracking_uid_have_no_names() -> None:
    assert name(group("a.dcm", "7", "1"), group("a.dcm", "8", "1"), group("a.dcm", "", "1")) == [("", "")] * 3
