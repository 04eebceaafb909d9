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
    assert write_needed(found.images, rows.frame) == (1, [])
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
    write_mhd(tmp_path / f"luna/subset9/{UID}.mhd", values)
    (tmp_path / "luna/subset9/broken.mhd").write_text("x")
    (tmp_path / "luna/subset9/other.mhd").write_text("x")
    found = find_volumes(tmp_path / "luna", {UID, "broken"}, 10_000)
    assert found.masks == 1
    assert found.images[UID].path.parent.name == "subset0"
    assert [rejected.reason.split(": ", 1)[1][:20] for rejected in found.rejected] == [
        f"{tmp_path}/luna/subset0"[:20], "is no MetaImage; its",
    ]  # fmt: skip


def test_data_cut_short_give_no_slice(tmp_path: Path) -> None:
    make_collection(tmp_path / "luna")
    found = find_volumes(tmp_path / "luna", {UID}, 10_000)
    found.images[UID].path.with_suffix(".raw").write_bytes(b"")
    slices = list_volume_slices(found.images, tmp_path / "out").rename({PATH: schema.DICOM_PATH})
    written, (rejected,) = write_needed(found.images, slices)
    assert written == 0
    assert "ends before slice 0" in rejected.reason
    assert not (tmp_path / "out").exists()
