"""Structured reports: what highdicom reads in them, and that they name no person."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import polars as pl
import pydicom
import pytest
from highdicom.spatial import ImageToReferenceTransformer
from pydicom.sr.codedict import codes

from exporters.places import NOTHING, ORIENTATIONS, find_on, write_slice
from noduleclip import schema
from noduleclip.errors import SliceError
from noduleclip.exporters.dicom_sr import render
from noduleclip.exporters.findings import Export, Finding, Question, Source
from noduleclip.importers.dicom_sr import Report, read_reports
from noduleclip.io.dicom.slice import no_warnings

SOURCE = Source((Question("> 6 mm", "diameter in (6, inf) mm"),), "lidc", "0123abcd", "axes-mean")
ESTIMATES = {
    schema.ESTIMATED_DIAMETER: 7.5, schema.ESTIMATED_LOW: 6.1, schema.ESTIMATED_HIGH: 9.4,
    schema.ESTIMATED_PREFIX + schema.MALIGNANCY: 4.0, schema.DESCRIPTION: "7.5 mm (6.1 to 9.4), solid",
}  # fmt: skip


def write(folder: Path, *findings: Finding) -> list[Path]:
    """Write the reports on findings."""
    files = []
    for file in render(Export(pl.DataFrame(), SOURCE, findings), folder / "hits.dcm"):
        file.path.write_bytes(file.content)
        files.append(file.path)
    return files


def read_content(path: Path) -> Any:
    return hd.sr.srread(path).content


def read_group(path: Path) -> Any:
    (group,) = read_content(path).get_planar_roi_measurement_groups()
    return group


def read_back(path: Path) -> Report:
    (report,) = read_reports(path)
    return report


@pytest.mark.parametrize("kind", ORIENTATIONS)
def test_the_region_lies_on_the_nodule(tmp_path: Path, kind: str) -> None:
    path = write_slice(tmp_path / "1.dcm", orientation=ORIENTATIONS[kind])
    finding = find_on(path, {schema.DIAMETER_MM: 8.0})
    region = read_group(write(tmp_path, finding)[0]).roi
    image = pydicom.dcmread(path)
    assert region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    to_mm = ImageToReferenceTransformer(image.ImagePositionPatient, image.ImageOrientationPatient, image.PixelSpacing)
    ends_mm = to_mm(region.value)  # an ellipse, as the pixels are no squares
    np.testing.assert_allclose(ends_mm.mean(axis=0), finding.center_mm, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(ends_mm - finding.center_mm, axis=1), 4.0, atol=1e-3)


def square(path: Path) -> Path:
    data = pydicom.dcmread(path)
    data.PixelSpacing = ["0.5", "0.5"]
    data.save_as(path)
    return path


@pytest.mark.parametrize(
    ("x", "diameter_mm", "graphic"),
    [
        (31.25, 8.0, "CIRCLE"),
        (78.0, 8.0, "CIRCLE"),
        (0.0, 8.0, "CIRCLE"),
        (31.25, None, "POINT"),
        (31.25, 99.0, "POINT"),
    ],
)
def test_a_circle_has_its_end_on_the_image(tmp_path: Path, x: float, diameter_mm: float | None, graphic: str) -> None:
    path = square(write_slice(tmp_path / "1.dcm"))
    region = read_group(write(tmp_path, find_on(path, {schema.DIAMETER_MM: diameter_mm, schema.CENTROID_X: x}))[0]).roi
    assert region.graphic_type.value == graphic
    assert region.value[0].tolist() == [x + 0.5, 18.0]
    assert (region.value >= 0).all() and (region.value <= (80, 60)).all()
    if graphic == "CIRCLE":
        assert np.linalg.norm(region.value[1] - region.value[0]) == pytest.approx(8.0)


def test_readers_and_the_model_are_told_apart(tmp_path: Path) -> None:
    row = {**ESTIMATES, schema.DIAMETER_MM: 8.24, schema.MALIGNANCY: 5.0, schema.TEXTURE: 4.5, schema.READERS: 2}
    path = write(tmp_path, find_on(write_slice(tmp_path / "1.dcm"), row))[0]
    group = read_group(path)
    assert (group.finding_type, group.finding_sites[0].value) == (codes.SCT.Nodule, codes.SCT.Lung)
    measured, estimated = group.get_measurements(name=codes.SCT.Diameter)
    assert (measured.value, measured.unit, measured.derivation) == (8.24, codes.UCUM.Millimeter, codes.SCT.Mean)
    assert (estimated.value, estimated.derivation) == (7.5, codes.SCT.Estimated)
    (malignancy,) = group.get_qualitative_evaluations()
    assert (malignancy.name.value, malignancy.value.meaning) == (
        "RID36042",
        "5 out of 5 (Highly Suspicious for Cancer)",
    )
    texture = next(one for one in group.get_measurements() if one.name.value == "C41144")
    assert (texture.value, texture.derivation) == (4.5, codes.SCT.Mean)
    back = read_back(path)
    assert (back.diameter_mm, back.ratings) == (8.24, {schema.MALIGNANCY: 5, schema.TEXTURE: 4.5})
    assert (back.estimated_mm, back.estimated_ratings) == (7.5, {schema.MALIGNANCY: 4})


@pytest.mark.parametrize("kind", ["in-slice", "axes-mean", "equivalent", "3d", "volume", "unknown", ""])
def test_the_method_of_a_diameter_is_its_kind(tmp_path: Path, kind: str) -> None:
    row = {**ESTIMATES, schema.DIAMETER_MM: 8.25, schema.READERS: 2, schema.DIAMETER_KIND: kind}
    path = write(tmp_path, find_on(write_slice(tmp_path / "1.dcm"), row))[0]
    measured, estimated = read_group(path).get_measurements(name=codes.SCT.Diameter)
    assert (measured.derivation, estimated.derivation) == (codes.SCT.Mean, codes.SCT.Estimated)
    is_known = kind not in ("unknown", "")
    scheme = "99NODULECLIP" if is_known else "SCT"
    assert [one.method.scheme_designator for one in (measured, estimated)] == [scheme, "99NODULECLIP"]
    assert measured.method.meaning != "Unknown" or not is_known
    data = pydicom.dcmread(path)
    assert "99NODULECLIP" in [it.CodingSchemeDesignator for it in data.CodingSchemeIdentificationSequence]
    back = read_back(path)
    assert (back.diameter_mm, back.diameter_kind) == (8.25, kind or "unknown")
    assert (back.estimated_mm, back.estimated_kind) == (7.5, "axes-mean")


def list_items(data: pydicom.Dataset) -> list[pydicom.Dataset]:
    found = []
    for item in data.get("ContentSequence") or ():
        found += [item, *list_items(item)]
    return found


def find_values(item: pydicom.Dataset, meaning: str) -> list[Any]:
    named = [it for it in list_items(item) if it.ConceptNameCodeSequence[0].CodeMeaning == meaning]
    return [it.get("TextValue") or it.get("UID") or it.MeasuredValueSequence[0] for it in named]


def test_an_estimate_has_its_interval_and_its_algorithm(tmp_path: Path) -> None:
    path = write(tmp_path, find_on(write_slice(tmp_path / "1.dcm"), ESTIMATES))[0]
    data = pydicom.dcmread(path)
    diameter = next(it for it in list_items(data) if it.ValueType == "NUM")
    (upper,) = find_values(diameter, "+, range of upper measurement uncertainty")
    (lower,) = find_values(diameter, "-, range of lower measurement uncertainty")
    assert [float(it.NumericValue) for it in (upper, lower)] == pytest.approx([1.9, 1.4])
    assert {it.MeasurementUnitsCodeSequence[0].CodeValue for it in (upper, lower)} == {"mm"}
    assert find_values(diameter, "Algorithm Name") == ["noduleclip"]
    assert find_values(diameter, "Algorithm Parameters") == ["model lidc", "SHA-256 of its checkpoint 0123abcd"]
    assert find_values(data, "Device Observer Name") == ["noduleclip"]
    assert find_values(data, "Comment")[-1] == "Estimated by noduleclip: 7.5 mm (6.1 to 9.4), solid"


def test_the_question_rank_and_score_are_a_comment(tmp_path: Path) -> None:
    row = {schema.QUERY: "größer als > 6 mm", schema.RANK: 3, schema.SIMILARITY: 0.25}
    path = write(tmp_path, find_on(write_slice(tmp_path / "1.dcm"), row, rank=None))[0]
    assert find_values(pydicom.dcmread(path), "Comment") == ["größer als > 6 mm; rank 3; similarity 0.250"]


def test_a_nodule_that_several_questions_found_is_one_group(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "1.dcm")
    nodule = {schema.NODULE_ID: "3", schema.ROW: 7, schema.DIAMETER_MM: 8.0, **ESTIMATES}
    findings = [
        find_on(path, {**nodule, schema.QUERY: "> 6 mm"}, rank=1),
        find_on(path, {**nodule, schema.ROW: 8, schema.NODULE_ID: "4", schema.QUERY: "> 6 mm"}, rank=2),
        find_on(path, {**nodule, schema.QUERY: "solid"}, rank=2),
    ]
    report = write(tmp_path, *findings)[0]
    assert [it.name for it in read_reports(report)] == ["nodule 3", "nodule 4"]
    estimated = f"Estimated by noduleclip: {ESTIMATES[schema.DESCRIPTION]}"
    comments = ["> 6 mm; rank 1", "solid; rank 2", estimated, "> 6 mm; rank 2", estimated]
    assert find_values(pydicom.dcmread(report), "Comment") == comments
    without_rows = [find_on(path, {schema.DIAMETER_MM: 8.0}), find_on(path, {schema.DIAMETER_MM: 8.0})]
    assert len(read_reports(write(tmp_path, *without_rows)[0])) == 2


def test_a_report_says_of_the_patient_the_id_of_the_header_only(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "1.dcm")
    data = pydicom.dcmread(path)
    planted = {
        "PatientName": "Plantedname^Quentin", "PatientBirthDate": "19071231", "AccessionNumber": "ACC7654321",
        "StudyID": "STUDY7654321", "ReferringPhysicianName": "Plantedphysician", "PatientAge": "077Y",
        "StudyDate": "19991231", "StudyDescription": "Plantedstudy", "PatientComments": "Plantedcomment",
        "OtherPatientIDs": "PLANTED2", "InstitutionName": "Plantedhospital",
    }  # fmt: skip
    for keyword, value in planted.items():
        setattr(data, keyword, value)
    data.PatientID = "HEADER-7"
    data.save_as(path)
    report = write(tmp_path, find_on(path, {schema.PATIENT_ID: "OTHER", schema.DIAMETER_MM: 8.0}))[0]
    content = report.read_bytes()
    assert not [value for value in planted.values() if value.split("^")[0].encode() in content]
    written = pydicom.dcmread(report)
    assert (written.PatientID, written.StudyInstanceUID) == ("HEADER-7", data.StudyInstanceUID)
    assert (written.PatientName, written.PatientBirthDate, written.StudyDate) == ("", "", "")
    assert (written.Modality, written.SOPClassUID) == ("SR", pydicom.uid.ComprehensiveSRStorage)


def test_each_series_has_a_report(tmp_path: Path) -> None:
    a, b = (write_slice(tmp_path / key / "1.dcm", key=key) for key in "ab")
    files = write(tmp_path, find_on(a, rank=2), find_on(b, rank=1), find_on(a, rank=3))
    assert [path.name for path in files] == ["hits-1.dcm", "hits-2.dcm"]
    counts = [len(read_content(path).get_planar_roi_measurement_groups()) for path in files]
    assert counts == [1, 2]
    assert pydicom.dcmread(files[0]).StudyInstanceUID == pydicom.dcmread(b).StudyInstanceUID


IN_TIME = ("ContentDate", "ContentTime", "InstanceCreationDate", "InstanceCreationTime")


def read_without_time(path: Path) -> pydicom.Dataset:
    data = pydicom.dcmread(path)
    for keyword in IN_TIME:
        if keyword in data:
            delattr(data, keyword)
    for equipment in data.ContributingEquipmentSequence:
        del equipment.ContributionDateTime
    return data


def test_a_repeated_export_is_the_same(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "1.dcm")
    finding = find_on(path, {**ESTIMATES, schema.DIAMETER_MM: 8.0, schema.NODULE_ID: "3"})
    one = read_without_time(write(tmp_path, finding)[0])
    assert read_without_time(write(tmp_path, finding)[0]).to_json() == one.to_json()
    other = read_without_time(write(tmp_path, find_on(path, {schema.DIAMETER_MM: 8.1, schema.NODULE_ID: "3"}))[0])
    assert other.SOPInstanceUID != one.SOPInstanceUID
    assert find_values(other, "Tracking Unique Identifier") == find_values(one, "Tracking Unique Identifier")
    assert find_values(other, "Tracking Identifier") == ["nodule 3"]


@pytest.mark.parametrize(
    ("keyword", "value", "fault"),
    [
        ("StudyInstanceUID", "", "the header has no StudyInstanceUID"),
        ("SOPClassUID", "", "the header has no SOPClassUID"),
        ("SOPClassUID", "1.2.3.4", "the header has the SOPClassUID 1.2.3.4, not one of CT"),
    ],
)
def test_a_slice_that_a_report_cannot_name_is_left_out(tmp_path: Path, keyword: str, value: str, fault: str) -> None:
    path = write_slice(tmp_path / "1.dcm")
    data = pydicom.dcmread(path)
    setattr(data, keyword, value)
    data.save_as(path)
    left_out: list[str] = []

    def note(_finding: Finding, error: SliceError) -> None:
        left_out.append(str(error))

    findings = (find_on(path), find_on(write_slice(tmp_path / "2.dcm", index=1)))
    files = list(render(Export(pl.DataFrame(), SOURCE, findings, note), tmp_path / "hits.dcm"))
    assert [file.count for file in files] == [1]
    assert left_out == [f"1.dcm: {fault}, which a report has to name; leave the file out"]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PatientID", "P" * 80), ("PatientID", "a\\b"), ("SOPInstanceUID", "1.2.x"), ("StudyInstanceUID", "no UID")],
)
def test_odd_ids_of_a_header_are_taken_over(tmp_path: Path, keyword: str, value: str) -> None:
    path = write_slice(tmp_path / "1.dcm")
    with pydicom.config.disable_value_validation(), no_warnings():
        data = pydicom.dcmread(path)
        setattr(data, keyword, value)
        data.save_as(path)
        report = write(tmp_path, find_on(path, {schema.DIAMETER_MM: 8.0}))[0]
        assert keyword == "SOPInstanceUID" or pydicom.dcmread(report)[keyword].value == data[keyword].value
    assert len(read_reports(report)) == 1


@pytest.mark.parametrize("ratings", [NOTHING, {schema.MALIGNANCY: 0.0, schema.TEXTURE: 6.0}])
def test_a_finding_of_which_nothing_is_known_is_a_point(tmp_path: Path, ratings: Mapping[str, float]) -> None:
    path = write(tmp_path, find_on(write_slice(tmp_path / "1.dcm"), ratings))[0]
    group = read_group(path)
    assert group.roi.graphic_type.value == "POINT"
    assert (group.get_measurements(), group.get_qualitative_evaluations()) == ([], [])
    assert (read_back(path).ratings, len(read_back(path).regions)) == ({}, 1)
