"""volumes as slices: a nodule at a place in mm lands on the voxel that is there, with its HU."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from importers.metaimages import TURNED, write_mhd
from noduleclip import schema
from noduleclip.importers.annotations import Sphere
from noduleclip.importers.roi_rows import make_sphere_rows
from noduleclip.importers.slice_columns import PATH
from noduleclip.importers.volume_catalogue import find_volumes, join_catalogues, list_volume_slices, write_needed
from noduleclip.io.dicom.slice import read_ct_slice
from volume_files import write_nifti, write_volume

AFFINE = np.array([[0.7, 0, 0, -100.5], [0, 0.9, 0, 20.25], [0, 0, 2.5, -300.125], [0, 0, 0, 1]])
UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1002252872223"
SPACING = (0.7, 0.9, 2.5)
ORIGIN = (-100.5, 20.25, -300.125)


def make_collection(folder: Path, *, compressed: bool = False) -> NDArray[np.int16]:
    values = np.random.default_rng(0).integers(-1024, 600, (7, 40, 30)).astype("<i2")
    write_mhd(folder / f"subset0/{UID}.mhd", values, spacing_xyz_mm=SPACING, origin_mm=ORIGIN, compressed=compressed)
    return values


@pytest.mark.parametrize("compressed", [False, True])
def test_a_place_is_the_voxel_that_itk_finds_there(tmp_path: Path, compressed: bool) -> None:
    """The voxel of a place is found with ITK's formula here: origin + direction x spacing x index."""
    values = make_collection(tmp_path / "luna", compressed=compressed)
    column, row, index = 17, 23, 4
    direction = np.array(TURNED).T
    place = np.array(ORIGIN) + direction @ np.diag(SPACING) @ (column, row, index)
    found = find_volumes(tmp_path / "luna", {UID}, 10_000)
    catalogue = join_catalogues(None, list_volume_slices(found.images, tmp_path / "out"), tmp_path, tmp_path / "out")
    x, y, z = map(float, place)
    rows = make_sphere_rows([Sphere(UID, (x, y, z + 0.4), 6.0)], catalogue, "volume", source=tmp_path)
    (roi,) = rows.frame.to_dicts()
    # Turned: a column of the file is a row of the slices, and its rows run from back to front.
    assert (roi[schema.CENTROID_X], roi[schema.CENTROID_Y]) == (row, 29 - column)
    assert (roi[schema.SPACING_ROW], roi[schema.SPACING_COL]) == (0.7, 0.9)
    radius_mm = np.sqrt(9 - 0.4**2)
    assert roi[schema.BBOX_XMAX] - roi[schema.BBOX_XMIN] == 2 * np.ceil(radius_mm / 0.9)
    assert roi[schema.BBOX_YMAX] - roi[schema.BBOX_YMIN] == 2 * np.ceil(radius_mm / 0.7)
    assert write_needed(found.images, rows.frame) == (1, [], [])
    slice_ = read_ct_slice(Path(roi[schema.DICOM_PATH]))
    np.testing.assert_array_equal(slice_.hu, values[index].T[::-1])
    assert slice_.sop_uid == roi[schema.SOP_UID]
    assert slice_.spacing_yx_mm == (0.7, 0.9)


def test_only_needed_slices_are_written_and_stay_as_they_are(tmp_path: Path) -> None:
    make_collection(tmp_path / "luna")
    found = find_volumes(tmp_path / "luna", {UID}, 10_000)
    slices = list_volume_slices(found.images, tmp_path / "out")
    assert slices.height == 7
    rows = (
        slices[[1, 4]]
        .select(pl_path := slices.columns[0], schema.SERIES_UID, schema.PATIENT_ID)
        .rename({pl_path: schema.DICOM_PATH})
    )
    assert write_needed(found.images, rows)[0] == 2
    files = sorted((tmp_path / "out/dicom").rglob("*.dcm"))
    assert [file.name for file in files] == ["00001.dcm", "00004.dcm"]
    assert UID not in str(files[0])
    before = [(file.stat().st_mtime_ns, file.read_bytes()) for file in files]
    assert write_needed(found.images, rows)[0] == 0
    files[1].write_bytes(before[1][1][:1000])
    assert write_needed(found.images, rows)[0] == 1
    assert [file.read_bytes() for file in files] == [content for _, content in before]
    assert files[0].stat().st_mtime_ns == before[0][0]


def test_the_geometry_of_a_derived_slice_is_that_of_the_image(tmp_path: Path) -> None:
    make_collection(tmp_path / "luna")
    found = find_volumes(tmp_path / "luna", {UID}, 10_000)
    slices = list_volume_slices(found.images, tmp_path / "out").rename({PATH: schema.DICOM_PATH})
    write_needed(found.images, slices.with_columns(patient_id=slices[schema.SERIES_UID]))
    series = [pydicom.dcmread(path) for path in slices[schema.DICOM_PATH]]
    assert len({data.SOPInstanceUID for data in series}) == 7
    assert len({(data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID) for data in series}) == 1
    assert [float(data.ImagePositionPatient[2]) for data in series] == [ORIGIN[2] + 2.5 * k for k in range(7)]
    data = series[3]
    assert list(data.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    orientation = np.concatenate([np.array(TURNED[1]), -np.array(TURNED[0])])
    np.testing.assert_allclose(np.array(data.ImageOrientationPatient, float), orientation)
    assert (data.PatientID, data.PatientName, data.Modality) == (UID, "", "CT")


def test_masks_and_broken_images_are_told(tmp_path: Path) -> None:
    values = make_collection(tmp_path / "luna")
    write_mhd(tmp_path / f"luna/seg-lungs-LUNA16/{UID}.mhd", values.astype(np.uint8), compressed=True)
    (tmp_path / "luna/broken.mhd").write_text("x")
    (tmp_path / "luna/other.mhd").write_text("x")
    (tmp_path / "luna/.hidden.mhd").write_text("x")
    found = find_volumes(tmp_path / "luna", {UID, "broken", ".hidden"}, 10_000)
    assert found.masks == 1
    assert found.images[UID].path.parent.name == "subset0"
    assert found.names == {UID: UID}
    assert [rejected.reason.split(": ", 1)[1][:20] for rejected in found.rejected] == ["is no MetaImage; its"]


CASES = {
    # files, name in the table -> name of the series, or None where there is none, or the message
    "a file": (["case1.nii.gz"], "case1", "case1"),
    "with its ending": (["case1.nii.gz"], "case1.nii.gz", "case1"),
    "with another ending": (["case1.nrrd"], "case1.nii.gz", "case1"),
    "in a folder": (["deep/er/case1.mha"], "case1", "case1"),
    "by its path": (["deep/er/case1.mha"], "er/case1", "case1"),
    "by a longer path": (["imagesTr/case1.nii"], "/data/Task06/imagesTr/case1.nii", "case1"),
    "by a path of Windows": (["imagesTr/case1.nii"], "Task06\\imagesTr\\case1.nii", "case1"),
    "in another folder": (["imagesTr/case1.nii"], "imagesTs/case1.nii", None),
    "with a channel": (["case1_0000.nii.gz"], "case1", "case1_0000"),
    "without the table's channel": (["case1.nii.gz"], "case1_0000.nii.gz", "case1"),
    "the channel itself": (["case1.nii.gz", "case1_0000.nii.gz"], "case1_0000", "case1_0000"),
    "one of many of a name": (["s1/ct.nii.gz", "s2/ct.nii.gz"], "s2/ct", "s2/ct"),
    "one of many of a name by its file": (["s1/ct.nii.gz", "s2/ct.nii.gz"], "s2/ct.nii.gz", "s2/ct"),
    "many of a name": (["s1/ct.nii.gz", "s2/ct.nii.gz"], "ct", "name it 's1/ct' or 's2/ct'"),
    "two endings": (["ct.nii.gz", "ct.nii"], "ct", "name it 'ct.nii' or 'ct.nii.gz'"),
    "one of two endings": (["ct.nii.gz", "ct.nii"], "ct.nii", "ct.nii"),
    "none": (["case1.nii.gz"], "case2", None),
    "nothing": (["case1.nii.gz"], "", None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_volume_is_found_by_its_names(tmp_path: Path, case: str) -> None:
    files, name, expected = CASES[case]
    for number, file in enumerate(files, 1):
        write_volume(tmp_path / file, np.full((2, 3, 4), -number, "<i2"), AFFINE)
    found = find_volumes(tmp_path, {name}, 10_000)
    if expected is None:
        assert (found.images, found.names, found.rejected) == ({}, {}, [])
    elif expected.startswith("name it"):
        assert found.images == {}
        (rejected,) = found.rejected
        assert expected in rejected.reason
        assert all(str(tmp_path / file) in rejected.reason for file in files)
    else:
        assert found.names == {name: expected}
        assert list(found.images) == [expected]
        assert found.rejected == []


def test_masks_beside_images_do_not_make_names_unclear(tmp_path: Path) -> None:
    """nnU-Net's and MSD's folders; the mask even has the very name that the table has."""
    write_volume(tmp_path / "imagesTr/case1_0000.nii.gz", np.zeros((2, 3, 4), "<i2"), AFFINE)
    write_volume(tmp_path / "labelsTr/case1.nii.gz", np.zeros((2, 3, 4), "u1"), AFFINE)
    found = find_volumes(tmp_path, {"case1"}, 10_000)
    assert found.names == {"case1": "case1_0000"}
    assert found.masks == 1


@pytest.mark.parametrize("kind", ["<i2", "<f8", "<i8"])
@pytest.mark.parametrize("image", ["imagesTr/case1_0000.nii.gz", "image/case1.nii.gz"])
def test_masks_of_more_bits_are_known_by_their_values(tmp_path: Path, image: str, kind: str) -> None:
    hu = np.random.default_rng(0).integers(-1000, 400, (9, 8, 7)).astype("<i2")
    labels = np.zeros(hu.shape, kind)
    labels[4, 2:5, 2:5] = 1
    write_volume(tmp_path / image, hu, AFFINE)
    write_volume(tmp_path / "labelsTr/case1.nii.gz", labels, AFFINE)
    found = find_volumes(tmp_path, {"case1"}, 10_000)
    assert found.images[found.names["case1"]].path == tmp_path / image
    assert (found.masks, found.rejected) == (1, [])
    (tmp_path / image).unlink()
    assert list(find_volumes(tmp_path, {"case1"}, 10_000).images) == ["case1"]


def test_values_of_8_bits_are_ct_where_the_user_says_how(tmp_path: Path) -> None:
    write_volume(tmp_path / "case1.nii.gz", np.zeros((2, 3, 4), "u1"), AFFINE)
    assert find_volumes(tmp_path, {"case1"}, 10_000).images == {}
    found = find_volumes(tmp_path, {"case1"}, 10_000, rescale=(5.5, -1000.0))
    assert list(found.images) == ["case1"]
    assert found.masks == 0


def test_affines_that_disagree_are_told(tmp_path: Path) -> None:
    write_nifti(tmp_path / "case1.nii", np.zeros((2, 3, 4), "<i2"), AFFINE)
    content = bytearray((tmp_path / "case1.nii").read_bytes())
    content[268:272] = np.float32(3.0).tobytes()  # qoffset_x
    (tmp_path / "case1.nii").write_bytes(content)
    (remark,) = find_volumes(tmp_path, {"case1"}, 10_000).remarks
    assert "its sform and qform differ by" in remark


def test_data_cut_short_give_no_slice(tmp_path: Path) -> None:
    make_collection(tmp_path / "luna")
    found = find_volumes(tmp_path / "luna", {UID}, 10_000)
    found.images[UID].path.with_suffix(".raw").write_bytes(b"")
    slices = list_volume_slices(found.images, tmp_path / "out").rename({PATH: schema.DICOM_PATH})
    written, (rejected,), _ = write_needed(found.images, slices)
    assert written == 0
    assert "ends before slice 0" in rejected.reason
    assert not (tmp_path / "out").exists()
