"""Segmentations: the curve around each mask, at its place, and files that are none."""

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from conftest import Collection
from importers.segmentations import ReaderFinding, read_slices, write_seg
from noduleclip.errors import RejectCode, SliceError
from noduleclip.importers import dicom_seg, segments
from noduleclip.importers.dicom_seg import read_segments
from noduleclip.importers.seg_frames import check_syntax
from noduleclip.importers.segments import trace_mask
from noduleclip.io.dicom.header import read_header


def area(points: NDArray[np.float64]) -> float:
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def mask(*rows: str) -> NDArray[np.bool_]:
    return np.array([[cell == "#" for cell in row] for row in rows])


def test_a_curve_runs_half_way_to_the_first_pixel_outside() -> None:
    (curve,) = trace_mask(mask(".....", ".###.", ".###.", "....."))
    assert curve.includes
    assert curve.points_px.min(axis=0).tolist() == [0.5, 0.5]
    assert curve.points_px.max(axis=0).tolist() == [3.5, 2.5]
    assert area(curve.points_px) == 6 - 4 * 0.125  # four corners cut


def test_a_mask_at_the_edge_of_the_image_is_closed() -> None:
    (curve,) = trace_mask(mask("##", "##"))
    assert curve.points_px.min() == -0.5
    assert curve.points_px.max() == 1.5


def test_holes_follow_their_part() -> None:
    curves = trace_mask(mask("#####...", "#...#.##", "#...#.##", "#####..."))
    assert [curve.includes for curve in curves] == [True, False, True]
    assert curves[1].points_px.min(axis=0).tolist() == [0.5, 0.5]
    assert curves[1].points_px.max(axis=0).tolist() == [3.5, 2.5]


def test_an_empty_mask_has_no_curve() -> None:
    assert trace_mask(mask("....", "....")) == ()


def test_curves_hold_the_mask(tmp_path: Path) -> None:
    """Against filling each curve again, pixel by pixel."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        drawn = rng.random((9, 11)) < 0.5
        again = np.zeros(drawn.shape, int)
        for curve in trace_mask(drawn):
            x, y = curve.points_px.T
            for row, column in np.ndindex(drawn.shape):
                straddles = (y <= row) != (np.roll(y, -1) <= row)
                with np.errstate(divide="ignore", invalid="ignore"):
                    crossing = x + (row - y) / (np.roll(y, -1) - y) * (np.roll(x, -1) - x)
                if (straddles & (column < crossing)).sum() % 2:
                    again[row, column] += 1 if curve.includes else -1
        np.testing.assert_array_equal(again, drawn)


@pytest.fixture
def slices(collection: Collection) -> list[pydicom.Dataset]:
    return read_slices(sorted((collection.folder / "phantoms/dicom/PHANTOM-0001").iterdir()))


def reading_of(
    slices: list[pydicom.Dataset], *boxes: tuple[int, int, int, int, int], label: str = "N"
) -> ReaderFinding:
    """A mask that fills boxes of slice, first and last row, first and last column."""
    drawn = np.zeros((len(slices), slices[0].Rows, slices[0].Columns), bool)
    for k, top, bottom, left, right in boxes:
        drawn[k, top : bottom + 1, left : right + 1] = True
    return ReaderFinding(drawn, label=label)


def test_segments_are_read(tmp_path: Path, slices: list[pydicom.Dataset]) -> None:
    readings = [
        reading_of(slices, (0, 3, 5, 7, 12), (1, 3, 4, 7, 11), label="Nodule 1 - Annotation A"),
        reading_of(slices, (1, 30, 40, 50, 61), label="Nodule 1 - Annotation B"),
    ]
    seg = write_seg(tmp_path / "seg.dcm", slices, readings)
    first, second = read_segments(tmp_path / "seg.dcm")
    assert (first.number, first.label, first.seg_uid) == (1, "Nodule 1 - Annotation A", seg.SOPInstanceUID)
    assert first.series_uid == slices[0].SeriesInstanceUID
    assert (first.patient_id, first.tracking_uid) == ("PHANTOM-0001", "2.25.1234567890")
    by_slice = {plane.sop_uid: plane for plane in first.planes}
    assert set(by_slice) == {slices[0].SOPInstanceUID, slices[1].SOPInstanceUID}
    plane = by_slice[slices[0].SOPInstanceUID]
    (curve,) = plane.curves
    assert curve.points_px.min(axis=0).tolist() == [6.5, 2.5]
    assert curve.points_px.max(axis=0).tolist() == [12.5, 5.5]
    row_mm, column_mm = map(float, slices[0].PixelSpacing)
    x, y, z = map(float, slices[0].ImagePositionPatient)
    np.testing.assert_allclose(plane.plane.to_patient(np.array([[2.0, 3.0]])), [[x + 2 * column_mm, y + 3 * row_mm, z]])
    (plane,) = second.planes
    assert plane.sop_uid == slices[1].SOPInstanceUID
    assert plane.curves[0].points_px.max(axis=0).tolist() == [61.5, 40.5]


def test_frames_that_end_within_a_byte_are_unpacked(tmp_path: Path, slices: list[pydicom.Dataset]) -> None:
    for data in slices:
        data.Rows, data.Columns = 7, 11
        data.PixelData = bytes(2 * 7 * 11)
    write_seg(tmp_path / "seg.dcm", slices, [reading_of(slices, (0, 1, 2, 3, 9), (1, 5, 6, 0, 4), (2, 0, 0, 10, 10))])
    (segment,) = read_segments(tmp_path / "seg.dcm")
    found = {plane.sop_uid: plane.curves[0].points_px.max(axis=0).tolist() for plane in segment.planes}
    corners = [found[data.SOPInstanceUID] for data in slices[:3]]
    assert corners == [[9.5, 2.5], [4.5, 6.5], [10.5, 0.5]]


def test_frames_that_each_begin_at_a_byte_are_unpacked(tmp_path: Path, slices: list[pydicom.Dataset]) -> None:
    """As dcmqi wrote them: the length tells."""
    for data in slices:
        data.Rows, data.Columns = 61, 61
        data.PixelData = bytes(2 * 61 * 61)
    path = tmp_path / "seg.dcm"
    seg = write_seg(path, slices, [reading_of(slices, *((k, 20 + k, 30, 25, 40) for k in range(len(slices))))])
    wanted = read_segments(path)
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[: len(slices) * 61 * 61]
    frames = np.pad(bits.reshape(len(slices), -1), ((0, 0), (0, 7)))
    padded = np.packbits(frames, axis=1, bitorder="little").tobytes()
    assert len(padded) > len(seg.PixelData)
    seg.PixelData = padded + bytes(len(padded) % 2)
    seg.save_as(path)
    (found,) = read_segments(path)
    for one, other in zip(found.planes, wanted[0].planes, strict=True):
        np.testing.assert_array_equal(one.curves[0].points_px, other.curves[0].points_px)
    seg.PixelData = padded + bytes(8)
    seg.save_as(path)
    with pytest.raises(SliceError, match=r"its pixel data have .* bytes, where its . frames take"):
        read_segments(path)


@pytest.mark.parametrize("bits", [8, 16])
def test_label_maps_are_read_as_binary_segmentations(tmp_path: Path, slices: list[pydicom.Dataset], bits: int) -> None:
    readings = [reading_of(slices, (0, 3, 5, 7, 12), (1, 3, 4, 7, 11)), reading_of(slices, (1, 30, 40, 50, 61))]
    seg = write_seg(tmp_path / "binary.dcm", slices, readings)
    stack = np.stack([reading.mask for reading in readings])
    labels = (stack * np.array([1, 2])[:, None, None, None]).max(axis=0).astype(np.uint8)
    described = list(seg.SegmentSequence)
    made = hd.seg.Segmentation(
        source_images=slices, pixel_array=labels, segmentation_type="LABELMAP", segment_descriptions=described,
        series_instance_uid=hd.UID(), series_number=100, sop_instance_uid=hd.UID(), instance_number=1,
        manufacturer="tests", manufacturer_model_name="tests", software_versions="1", device_serial_number="1",
    )  # fmt: skip
    if bits == 16:
        made.PixelData = (
            np.frombuffer(made.PixelData, np.uint8)[: made.NumberOfFrames * made.Rows * made.Columns]
            .astype("<u2")
            .tobytes()
        )
        made.BitsAllocated = made.BitsStored = 16
        made.HighBit = 15
    made.save_as(tmp_path / "labels.dcm")
    wanted, found = read_segments(tmp_path / "binary.dcm"), read_segments(tmp_path / "labels.dcm")
    assert [segment.number for segment in found] == [1, 2]
    for one, other in zip(found, wanted, strict=True):
        planes = {plane.sop_uid: plane for plane in other.planes}
        assert {plane.sop_uid for plane in one.planes} == set(planes)
        for plane in one.planes:
            np.testing.assert_array_equal(plane.curves[0].points_px, planes[plane.sop_uid].curves[0].points_px)
            assert plane.plane.position_mm == planes[plane.sop_uid].plane.position_mm


@pytest.mark.parametrize(
    ("syntax", "message"),
    [
        ("1.2.840.10008.1.2.2", "it is in big-endian byte order; convert it to little endian"),
        ("1.2.840.10008.1.2.5", "its masks are compressed; decompress it"),
        (None, "the header names no transfer syntax"),
    ],
)
def test_a_syntax_that_is_not_read_is_named(
    tmp_path: Path, slices: list[pydicom.Dataset], syntax: str | None, message: str
) -> None:
    path = tmp_path / "seg.dcm"
    write_seg(path, slices, [reading_of(slices, (0, 3, 5, 7, 12))])
    header = read_header(path, 1 << 20, dicom_seg._TAGS, stop_before_pixels=False)
    if syntax is None:
        del header.dataset.file_meta.TransferSyntaxUID
    else:
        header.dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    with pytest.raises(SliceError, match=message):
        check_syntax(header)


@pytest.mark.parametrize(
    ("names", "category", "is_anatomy"),
    [
        (("Nodule 1", "", "Nodule"), "49755003", False),
        (("Left lung", "", "Lung"), "123037004", True),
        (("Segment_3", "", "Structure"), "123037004", True),
        (("Nodule 2", "", "Lung"), "123037004", False),
        (("Right lung, upper lobe", "", "Tissue"), "85756007", True),
        (("lung nodule", "", "Tissue"), "85756007", False),
        (("GTV-1", "", "Neoplasm"), "49755003", False),
        (("Segment_1", "", "Tissue"), "85756007", False),
        (("1", "", "Background"), "", True),
    ],
)
def test_lungs_are_known_by_category_or_name(
    tmp_path: Path, slices: list[pydicom.Dataset], names: tuple[str, str, str], category: str, is_anatomy: bool
) -> None:
    path = tmp_path / "seg.dcm"
    seg = write_seg(path, slices, [reading_of(slices, (0, 3, 5, 7, 12))])
    segment = seg.SegmentSequence[0]
    segment.SegmentLabel, segment.SegmentDescription = names[:2]
    segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning = names[2]
    segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue = category
    seg.save_as(path)
    (found,) = read_segments(path)
    assert found.is_anatomy == is_anatomy
    assert bool(found.planes) != is_anatomy


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (
            {"SegmentationType": "FRACTIONAL"},
            RejectCode.BAD_SEGMENTATION,
            "SegmentationType is 'FRACTIONAL'; only BINARY of 1 bit",
        ),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, RejectCode.BAD_SEGMENTATION, "not a DICOM Segmentation"),
        ({"PixelData": b"\1\2"}, RejectCode.TRUNCATED_PIXELS, "the pixel data are cut short"),
        ({"Rows": 0}, RejectCode.TOO_LARGE, "frames of 0 x"),
        ({"SegmentSequence": None}, RejectCode.BAD_SEGMENTATION, "segments are malformed"),
        ({"SharedFunctionalGroupsSequence": None}, RejectCode.BAD_SEGMENTATION, "segments are malformed"),
        ({"PerFrameFunctionalGroupsSequence": None}, RejectCode.BAD_SEGMENTATION, "segments are malformed"),
    ],
)
def test_a_broken_segmentation_is_rejected(
    tmp_path: Path, slices: list[pydicom.Dataset], change: dict[str, object], code: RejectCode, message: str
) -> None:
    path = tmp_path / "seg.dcm"
    seg = write_seg(path, slices, [reading_of(slices, (0, 3, 5, 7, 12))])
    for name, value in change.items():
        if value is None:
            del seg[name]
        else:
            setattr(seg, name, value)
    seg.save_as(path)
    with pytest.raises(SliceError, match=message) as caught:
        read_segments(path)
    assert caught.value.code is code
    assert str(caught.value).startswith(f"{path}: ")


def test_other_files_are_no_segmentations(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_text("no DICOM")
    with pytest.raises(SliceError, match="not DICOM"):
        read_segments(tmp_path / "a.dcm")


def test_the_outlines_of_noise_are_rejected(collection: Collection, tmp_path: Path) -> None:
    slices = read_slices(sorted(collection.folder.rglob("*.dcm"))[:3])
    shape = (len(slices), *slices[0].pixel_array.shape)
    write_seg(tmp_path / "seg.dcm", slices, [ReaderFinding(np.random.default_rng(0).random(shape) < 0.2)])
    with pytest.raises(SliceError, match=r"the mask of frame 1 has over 1,000 outlines, or one of over") as caught:
        read_segments(tmp_path / "seg.dcm")
    assert caught.value.code is RejectCode.TOO_LARGE


def test_the_outlines_of_noise_are_counted_before_they_are_made(
    tmp_path: Path, slices: list[pydicom.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame of 4,194,304 dots took 43 s and 3.5 GB."""
    shape = (len(slices), *slices[0].pixel_array.shape)
    dots = np.zeros(shape, bool)
    dots[:, ::2, ::2] = True
    write_seg(tmp_path / "seg.dcm", slices, [ReaderFinding(dots)])
    points = 4 * int(dots[0].sum())
    monkeypatch.setattr(segments, "_MOST_PLANE_POINTS", points - 1)
    monkeypatch.setattr(segments, "trace_mask", lambda _: pytest.fail("the outlines are made"))
    said = f"the outlines of frame 1 have {points:,} points, {points - 1:,} at most are read"
    with pytest.raises(SliceError, match=said) as caught:
        read_segments(tmp_path / "seg.dcm")
    assert caught.value.code is RejectCode.TOO_LARGE


def test_points_are_counted_as_they_are_made(
    tmp_path: Path, slices: list[pydicom.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (len(slices), *slices[0].pixel_array.shape)
    drawn = np.zeros(shape, bool)
    drawn[:, :20, :20] = np.random.default_rng(2).random((20, 20)) < 0.5
    write_seg(tmp_path / "seg.dcm", slices, [ReaderFinding(drawn)])
    points = sum(len(curve.points_px) for curve in trace_mask(drawn[0]))
    monkeypatch.setattr(segments, "_MOST_PLANE_POINTS", points)
    assert len(read_segments(tmp_path / "seg.dcm")[0].planes) == len(slices)
    monkeypatch.setattr(segments, "_MOST_PLANE_POINTS", points - 1)
    with pytest.raises(SliceError, match="the outlines of frame 1 have"):
        read_segments(tmp_path / "seg.dcm")


@pytest.mark.parametrize("shared", [True, False])
def test_values_without_end_are_rejected(tmp_path: Path, slices: list[pydicom.Dataset], shared: bool) -> None:
    path = tmp_path / "seg.dcm"
    seg = write_seg(path, slices, [reading_of(slices, (0, 3, 5, 7, 12))])
    groups = seg.SharedFunctionalGroupsSequence[0] if shared else seg.PerFrameFunctionalGroupsSequence[0]
    if not shared:
        groups.PixelMeasuresSequence = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    groups.PixelMeasuresSequence[0].PixelSpacing = [1] * 1001
    seg.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    seg.save_as(path, implicit_vr=True, little_endian=True)
    with pytest.raises(SliceError, match="its header has over 1,000 values in PixelSpacing; leave") as caught:
        read_segments(path)
    assert caught.value.code is RejectCode.TOO_LARGE
