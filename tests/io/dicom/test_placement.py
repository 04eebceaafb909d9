"""Where a slice lies: from its own header, or from the functional groups of its frame."""

from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from enhanced_ct import enhance, make_group
from exporters.places import POSITION_MM, SHAPE_YX, SPACING_YX_MM, write_slice
from noduleclip.errors import SliceError
from noduleclip.io.dicom.placement import read_placement


def test_a_slice_has_its_plane_and_its_identifiers(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "1.dcm")
    header, placement = pydicom.dcmread(path), read_placement(path)
    assert (placement.plane.position_mm, placement.plane.spacing_yx_mm) == (POSITION_MM, SPACING_YX_MM)
    assert placement.plane.shape_yx == SHAPE_YX
    found = (placement.study_uid, placement.series_uid, placement.sop_uid, placement.sop_class_uid)
    assert found == (
        header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID, header.SOPClassUID
    )  # fmt: skip
    assert placement.frame_of_reference_uid == header.FrameOfReferenceUID


def test_a_frame_has_its_own_plane(tmp_path: Path) -> None:
    slices = [pydicom.dcmread(write_slice(tmp_path / f"{index}.dcm", index=index)) for index in range(3)]

    def put(volume: Dataset) -> None:
        for number, group in enumerate(volume.PerFrameFunctionalGroupsSequence):
            position = make_group(PlanePositionSequence={"ImagePositionPatient": [1.0, 2.0, 10.0 * number]})
            group.PlanePositionSequence = position.PlanePositionSequence

    path = enhance(slices, tmp_path / "volume.dcm", change=put)
    assert [read_placement(path, frame=frame).plane.position_mm[2] for frame in (1, 2, 3)] == [0.0, 10.0, 20.0]
    with pytest.raises(SliceError, match="holds 3 frames, and the table does not say which"):
        read_placement(path)


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("ImagePositionPatient", None, "the header has no ImagePositionPatient"),
        ("ImagePositionPatient", [1.0, 2.0], "ImagePositionPatient has 2 numbers, three are needed"),
        ("ImageOrientationPatient", None, "the header has no ImageOrientationPatient"),
        ("ImageOrientationPatient", [1, 0, 0, 0, 0, -1], "a coronal plane"),
        ("PixelSpacing", None, "no PixelSpacing in the header and none in the index"),
        ("Modality", "MR", "Modality is 'MR', not CT"),
    ],
)
def test_a_slice_without_a_place_is_refused(tmp_path: Path, keyword: str, value: object, message: str) -> None:
    path = write_slice(tmp_path / "1.dcm")
    header = pydicom.dcmread(path)
    if value is None:
        del header[keyword]
    else:
        setattr(header, keyword, value)
    header.save_as(path)
    with pytest.raises(SliceError, match=message):
        read_placement(path)
    if keyword == "PixelSpacing":
        assert read_placement(path, spacing_yx_mm=(0.7, 0.6)).plane.spacing_yx_mm == (0.7, 0.6)
