"""Reports: diameters and ratings by their codes, and documents that are none."""

import copy
import math
from pathlib import Path

import numpy as np
import pydicom
import pytest

from conftest import Collection
from importers.segmentations import ReaderFinding, read_slices, write_seg, write_sr
from noduleclip import schema
from noduleclip.errors import RejectCode, SliceError
from noduleclip.importers.dicom_sr import read_reports

RATINGS = {
    schema.SUBTLETY: 4,
    schema.CALCIFICATION: 3,
    schema.TEXTURE: 5,
    schema.MALIGNANCY: 2,
    schema.MARGIN: 2,
}


@pytest.fixture
def report(tmp_path: Path, collection: Collection) -> tuple[Path, str]:
    """A report on two segments, and the UID of their segmentation."""
    slices = read_slices(sorted((collection.folder / "phantoms/dicom/PHANTOM-0001").iterdir()))
    mask = np.zeros((len(slices), slices[0].Rows, slices[0].Columns), bool)
    mask[0, 3:6, 7:12] = True
    readings = [
        ReaderFinding(mask, diameter_mm=7.25, ratings=RATINGS),
        ReaderFinding(mask, tracking_uid="2.25.99", ratings={}),
    ]
    seg = write_seg(tmp_path / "seg.dcm", slices, readings)
    write_sr(tmp_path / "sr.dcm", slices, seg, readings)
    return tmp_path / "sr.dcm", str(seg.SOPInstanceUID)


def test_measurement_groups_are_read(report: tuple[Path, str]) -> None:
    path, seg_uid = report
    first, second = read_reports(path)
    assert (first.seg_uid, first.segment, first.tracking_uid) == (seg_uid, 1, "2.25.1234567890")
    assert (first.diameter_mm, first.ratings) == (7.25, RATINGS)
    assert (second.segment, second.tracking_uid, second.ratings) == (2, "2.25.99", {})


def items_of(data: pydicom.Dataset, kind: str) -> list[pydicom.Dataset]:
    found = []
    for item in data.get("ContentSequence") or ():
        found += [item] if item.ValueType == kind else []
        found += items_of(item, kind)
    return found


def test_centimetres_and_older_codes_are_read(report: tuple[Path, str]) -> None:
    path, _ = report
    data = pydicom.dcmread(path)
    diameter = items_of(data, "NUM")[1]
    diameter.ConceptNameCodeSequence[0].CodeValue = "M-02550"
    diameter.MeasuredValueSequence[0].NumericValue = "0.8"
    diameter.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "cm"
    data.save_as(path)
    assert read_reports(path)[0].diameter_mm == 8.0


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        ([("axes-mean", "99NODULECLIP")], "axes-mean"),
        ([("261665006", "SCT")], "unknown"),
        ([("axes-mean", "99OTHER")], ""),
        ([("feret", "99NODULECLIP")], ""),
        ([("126081", "DCM")], ""),
        ([], ""),
        (None, ""),
    ],
)
def test_the_kind_of_a_diameter_is_read_of_its_method(
    report: tuple[Path, str], codes: list[tuple[str, str]] | None, kind: str
) -> None:
    path, _ = report
    data = pydicom.dcmread(path)
    method = copy.deepcopy(items_of(data, "CODE")[0])
    method.ConceptNameCodeSequence[0].CodeValue = "370129005"
    del method.ConceptCodeSequence
    if codes is not None:
        method.ConceptCodeSequence = [pydicom.Dataset() for _ in codes]
        for item, (value, scheme) in zip(method.ConceptCodeSequence, codes, strict=True):
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "a method"
    diameter = items_of(data, "NUM")[1]
    diameter.ContentSequence = [*(diameter.get("ContentSequence") or ()), method]
    data.save_as(path)
    first, second = read_reports(path)
    assert (first.diameter_mm, first.diameter_kind, first.malformed) == (7.25, kind, 0)
    assert second.diameter_kind == ""


def test_what_is_in_another_unit_or_of_another_code_is_left_out(report: tuple[Path, str]) -> None:
    path, _ = report
    data = pydicom.dcmread(path)
    items_of(data, "NUM")[1].MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "{pixels}"
    for code in items_of(data, "CODE"):
        code.ConceptCodeSequence[0].CodeValue, code.ConceptCodeSequence[0].CodeMeaning = "X1", "quite so"
    data.save_as(path)
    first = read_reports(path)[0]
    assert math.isnan(first.diameter_mm)
    assert first.ratings == {}


def test_an_item_without_a_value_loses_no_other(report: tuple[Path, str]) -> None:
    path, seg_uid = report
    data = pydicom.dcmread(path)
    volume, diameter = items_of(data, "NUM")[:2]
    volume.MeasuredValueSequence[0].NumericValue = None
    diameter.MeasuredValueSequence.insert(0, pydicom.Dataset())
    diameter.MeasuredValueSequence[0].NumericValue = ""
    foreign = pydicom.Dataset()
    foreign.ValueType = "IMAGE"
    group = next(it for it in items_of(data, "CONTAINER") if it.ConceptNameCodeSequence[0].CodeValue == "125007")
    group.ContentSequence.append(foreign)
    data.save_as(path)
    first, second = read_reports(path)
    assert (first.seg_uid, first.segment, first.diameter_mm, first.ratings) == (seg_uid, 1, 7.25, RATINGS)
    assert (first.malformed, second.diameter_mm) == (1, 7.25)


def test_a_diameter_in_another_unit_is_described(report: tuple[Path, str]) -> None:
    path, _ = report
    data = pydicom.dcmread(path)
    diameter = items_of(data, "NUM")[1]
    diameter.ConceptNameCodeSequence[0].CodeValue = "L0JK"
    diameter.ConceptNameCodeSequence[0].CodeMeaning = "Maximum 3D diameter"
    diameter.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue = "1"
    data.save_as(path)
    first = read_reports(path)[0]
    assert math.isnan(first.diameter_mm)
    assert first.other_size == "Maximum 3D diameter of 7.25 in unit '1'"


def test_broken_reports_are_rejected(report: tuple[Path, str], collection: Collection) -> None:
    path, _ = report
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SliceError, match=r"sr\.dcm: "):
        read_reports(path)
    ct = next((collection.folder / "phantoms/dicom/PHANTOM-0001").iterdir())
    with pytest.raises(SliceError, match="not a structured report of measurements"):
        read_reports(ct)


@pytest.mark.parametrize("with_lengths", [True, False])
def test_reports_that_are_cut_short_are_rejected(report: tuple[Path, str], *, with_lengths: bool) -> None:
    """Wherever they are cut: pydicom reads what is there of a sequence that states its length, and says nothing."""
    path, _ = report
    data = pydicom.dcmread(path)
    state_lengths(data, with_lengths=with_lengths)
    data.save_as(path)
    content = path.read_bytes()
    assert len(read_reports(path)) == 2
    tail_bytes = len(content) - len(content.rstrip(b"\0"))
    for size in range(130, len(content) - tail_bytes, 53):
        path.write_bytes(content[:size])
        with pytest.raises(SliceError, match=r"sr\.dcm: "):
            read_reports(path)


def state_lengths(data: pydicom.Dataset, *, with_lengths: bool) -> None:
    for element in data:
        if element.VR == "SQ":
            element.is_undefined_length = not with_lengths
            for item in element.value:
                item.is_undefined_length_sequence_item = not with_lengths
                state_lengths(item, with_lengths=with_lengths)


def test_a_report_without_groups_gives_nothing(report: tuple[Path, str]) -> None:
    path, _ = report
    data = pydicom.dcmread(path)
    data.ContentSequence = []
    data.save_as(path)
    assert read_reports(path) == []


@pytest.mark.parametrize("with_lengths", [True, False])
def test_values_without_end_are_rejected(report: tuple[Path, str], *, with_lengths: bool) -> None:
    path, _ = report
    data = pydicom.dcmread(path)
    items_of(data, "NUM")[1].MeasuredValueSequence[0].NumericValue = [1] * 1000
    state_lengths(data, with_lengths=with_lengths)
    data.save_as(path)
    first, second = read_reports(path)
    assert math.isnan(first.diameter_mm)
    assert (first.malformed, second.diameter_mm) == (1, 7.25)
    items_of(data, "NUM")[1].MeasuredValueSequence[0].NumericValue = [1] * 1001
    data.save_as(path)
    with pytest.raises(
        SliceError, match="its header has over 1,000 values in NumericValue; leave the file out"
    ) as caught:
        read_reports(path)
    assert caught.value.code is RejectCode.TOO_LARGE


def test_long_lists_that_are_not_asked_for_cost_nothing(report: tuple[Path, str]) -> None:
    path, _ = report
    data = pydicom.dcmread(path)
    for image in items_of(data, "IMAGE"):
        image.ReferencedSOPSequence[0].ReferencedFrameNumber = list(range(1, 3000))
    items_of(data, "NUM")[1].GraphicData = [0.0] * 20_000
    data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    data.save_as(path, implicit_vr=True, little_endian=True)
    assert len(read_reports(path)) == 2
