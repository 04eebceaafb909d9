"""Volumes through the commands: each nodule on its voxel whatever the format, and values that are not HU."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from numpy.typing import NDArray

from conftest import Outcome, call
from noduleclip import schema
from noduleclip.importers.summary import PLACE_ROWS
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.io.roi_table import read_roi_table
from volume_files import permute, write_volume

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
AFFINE = np.array([[0.7, 0, 0, -100.5], [0, 0.9, 0, 20.25], [0, 0, 2.5, -300.125], [0, 0, 0, 1]])
STORED = {  # the axis of the patient along each axis of the file, and whether against it
    "a.mhd": ((0, 1, 2), (False, False, False)),
    "b.nii": ((0, 1, 2), (True, True, False)),
    "c.nii.gz": ((1, 2, 0), (False, True, True)),
    "d.nrrd": ((2, 0, 1), (True, False, False)),
    "e.nhdr": ((0, 2, 1), (False, False, True)),
    "f.mha": ((2, 1, 0), (True, True, True)),
}
CENTERS = [(12, 20, 3), (25, 31, 5)]  # column, row, slice


def make_hu() -> NDArray[np.int16]:
    """Lung with two balls of soft tissue, each with one brightest voxel."""
    hu = np.random.default_rng(0).normal(-850, 30, (8, 48, 40)).round()
    z, y, x = np.indices(hu.shape)
    for column, row, index in CENTERS:
        ball = ((x - column) * 0.7) ** 2 + ((y - row) * 0.9) ** 2 + ((z - index) * 2.5) ** 2 < 4**2
        hu[ball] = 30
        hu[index, row, column] = 333
    return hu.astype("<i2")


HU = make_hu()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same scan in each format, stored along other axes; a table of its two nodules in each."""
    rows = []
    for name, (order, flips) in STORED.items():
        write_volume(tmp_path / "scans" / name, *permute(HU, AFFINE, order, flips))
        for center in CENTERS:
            x, y, z = (AFFINE @ (*center, 1))[:3].tolist()
            rows.append((x, y, z, 8.0, name.partition(".")[0]))
    frame = pl.DataFrame(rows, schema=["x", "y", "z", "diameter_mm", "seriesuid"], orient="row")
    frame.write_csv(tmp_path / "nodules.csv")
    return tmp_path


def prepare(folder: Path, *more: object, name: str = "csv", table: str = "--table") -> Outcome:
    arguments = ["prepare", name, table, folder / "nodules.csv", "--data-root", folder / "scans"]
    return call(*arguments, "--out", folder / "out", "--workers", 1, "--format", "csv", *more)


def read_rows(folder: Path) -> pl.DataFrame:
    return read_roi_table(folder / "out" / schema.ROI_CSV).frame


@pytest.mark.parametrize(("name", "table"), [("csv", "--table"), ("luna16", "--annotations")])
def test_each_format_gives_the_same_voxels(folder: Path, name: str, table: str) -> None:
    done = prepare(folder, name=name, table=table)
    assert done.code == 0, done.err
    rows = read_rows(folder)
    assert rows.height == len(STORED) * len(CENTERS)
    assert set(rows[schema.SERIES_UID]) == {name.partition(".")[0] for name in STORED}
    for row in rows.iter_rows(named=True):
        slice_ = read_ct_slice(Path(row[schema.ABSOLUTE_PATH]))
        x, y = row[schema.CENTROID_X], row[schema.CENTROID_Y]
        column, line = round(x), round(y)
        assert (x, y) == pytest.approx((column, line), abs=0.1 / 0.9)  # 0.1 mm
        assert slice_.hu[line, column] == 333
        index = next(index for at_x, at_y, index in CENTERS if (at_x, at_y) == (column, line))
        np.testing.assert_array_equal(slice_.hu, HU[index])
        header = pydicom.dcmread(row[schema.ABSOLUTE_PATH], stop_before_pixels=True)
        assert float(header.ImagePositionPatient[2]) == pytest.approx(-300.125 + 2.5 * index, abs=1e-3)
        assert [float(part) for part in header.PixelSpacing] == pytest.approx([0.9, 0.7], abs=1e-6)
    assert json.loads((folder / "out" / schema.PREPARE_JSON).read_text())["rescale"] is None
    written = sorted((folder / "out/dicom").rglob("*.dcm"))
    assert len(written) == rows.height


def test_a_data_list_of_nifti_becomes_a_table(folder: Path) -> None:
    boxes = [[*(AFFINE @ (*center, 1))[:3].tolist(), 8.0, 8.0, 8.0] for center in CENTERS]
    lists = {
        "training": [{"image": f"imagesTr/{name}", "box": boxes} for name in STORED if name.startswith(("b", "c"))]
    }
    (folder / "nodules.csv").write_text(json.dumps(lists))
    done = prepare(folder, name="monai", table="--datalist")
    assert done.code == 0, done.err
    for row in read_rows(folder).iter_rows(named=True):
        pixel = read_ct_slice(Path(row[schema.ABSOLUTE_PATH])).hu[
            round(row[schema.CENTROID_Y]), round(row[schema.CENTROID_X])
        ]
        assert pixel == 333
    assert read_rows(folder).height == 4


@pytest.mark.parametrize("name", ["b.nii", "c.nii.gz", "d.nrrd", "f.mha"])
def test_values_of_another_scale_are_rejected_with_the_remedy(folder: Path, name: str) -> None:
    """Of all the volumes one is HU + 1024 without a sign, as many converters write it."""
    order, flips = STORED[name]
    write_volume(folder / "scans" / name, *permute((HU + 1024).astype("<u2"), AFFINE, order, flips))
    done = prepare(folder, "--max-rejects", 0.5)
    assert done.code == 0, done.err
    (reject,) = pl.read_csv(folder / "out" / schema.REJECTS_CSV).rows(named=True)
    assert reject[schema.REJECT_CODE] == "not-hu"
    assert f"{name}: its values are " in reject[schema.REJECT_REASON]
    assert "as of HU + 1024: no HU; pass --rescale 1,-1024 if they are" in reject[schema.REJECT_REASON]
    assert read_rows(folder).height == 10
    refused = prepare(folder, "--overwrite")
    assert refused.code == 3
    assert "error: 2 of 12 annotations give no row" in refused.err  # both nodules of the volume


def test_nodules_of_a_broken_volume_are_rejected_and_others_absent(folder: Path) -> None:
    (folder / "scans/b.nii").write_bytes(b"cut short")
    (folder / "scans/f.mha").unlink()
    done = prepare(folder, "--max-rejects", 0.2)
    assert done.code == 0, done.err
    assert "2 annotations are of series that are not below" in done.err
    assert "they are left out; first: f\n" in done.err
    counts = json.loads((folder / "out" / schema.PREPARE_JSON).read_text())["counts"]
    assert (counts["annotations that give no row"], counts[PLACE_ROWS]) == (2, 8)
    assert prepare(folder, "--max-rejects", 0.19, "--overwrite").code == 3


def test_a_rescaling_makes_hu_and_is_recorded(folder: Path) -> None:
    for name, (order, flips) in STORED.items():
        write_volume(folder / "scans" / name, *permute(((HU + 1024) / 2).astype("<f4"), AFFINE, order, flips))
    assert prepare(folder).code == 3
    done = prepare(folder, "--rescale", "2,-1024")
    assert done.code == 0, done.err
    assert "no HU" not in done.err
    for row in read_rows(folder).iter_rows(named=True):
        index = next(index for x, _, index in CENTERS if x == round(row[schema.CENTROID_X]))
        np.testing.assert_array_equal(read_ct_slice(Path(row[schema.ABSOLUTE_PATH])).hu, HU[index])
    assert json.loads((folder / "out" / schema.PREPARE_JSON).read_text())["rescale"] == [2.0, -1024.0]


def test_the_word_of_a_user_is_taken_with_a_warning(folder: Path) -> None:
    for name, (order, flips) in STORED.items():
        write_volume(folder / "scans" / name, *permute(HU + 1024, AFFINE, order, flips))
    done = prepare(folder, "--rescale", "1,0")
    assert done.code == 0, done.err
    assert "as of HU + 1024" in done.err
    assert "(used as --rescale says)" in done.err
    assert prepare(folder, "--rescale", "0,1", "--overwrite").code == 2


def test_volumes_of_one_name_are_told_apart_by_their_folders(folder: Path) -> None:
    for number in (1, 2):
        write_volume(folder / f"scans/s{number:04d}/ct.nii.gz", HU, AFFINE)
    x, y, z = (AFFINE @ (*CENTERS[0], 1))[:3].tolist()
    for names in (["s0001/ct", "s0002/ct.nii.gz"], ["ct", "a"]):
        rows = [(x, y, z, 8.0, name) for name in names]
        frame = pl.DataFrame(rows, schema=["x", "y", "z", "diameter_mm", "seriesuid"], orient="row")
        frame.write_csv(folder / "nodules.csv")
        done = prepare(folder, "--max-rejects", 0.9, "--overwrite", "--patient-pattern", "(s[0-9]{4})/")
        assert done.code == 0, done.err
        if "ct" not in names:
            assert read_rows(folder)[schema.SERIES_UID].to_list() == ["s0001/ct", "s0002/ct"]
            assert read_rows(folder)[schema.PATIENT_ID].to_list() == ["s0001", "s0002"]
        else:
            assert read_rows(folder)[schema.SERIES_UID].to_list() == ["a"]
            assert "'ct' may be " in done.err
            assert "name it 's0001/ct' or 's0002/ct'" in done.err


def test_volumes_beside_dicom_are_not_read_as_dicom(folder: Path) -> None:
    """A table prepared into the folder of the scans: its slices are no series of their own, its volumes no DICOM."""
    done = call(
        "prepare", "csv", "--table", folder / "nodules.csv", "--data-root", folder, "--out", folder / "out",
        "--workers", 1, "--format", "csv",
    )  # fmt: skip
    assert done.code == 0, done.err
    again = call(
        "prepare", "csv", "--table", folder / "nodules.csv", "--data-root", folder, "--out", folder / "out",
        "--workers", 1, "--format", "csv", "--overwrite",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert "cannot be used" not in again.err
    assert not (folder / "out" / schema.REJECTS_CSV).exists()


def test_names_that_no_volume_has_are_told_with_those_that_there_are(folder: Path) -> None:
    table = pl.read_csv(folder / "nodules.csv").with_columns(seriesuid=pl.lit("case_1"))
    table.write_csv(folder / "nodules.csv")
    done = prepare(folder)
    assert done.code == 3
    assert "none of its 1 series is below" in done.err
    assert "the first is case_1;" in done.err
    assert done.err.rstrip().endswith("the 6 volumes there are a.mhd, b.nii, c.nii.gz, …")
    write_volume(folder / "scans/case_1.nrrd", np.zeros((2, 3, 4), "u1"), AFFINE)
    assert "1 volumes of these names have 8 bits, as masks (--rescale takes them for CT)" in prepare(folder).err


@pytest.mark.parametrize("library", ["nibabel", "nrrd"])
def test_a_missing_library_is_named_with_the_extra(folder: Path, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where a volume that the table names needs it."""
    for module in [library, *(one for one in sys.modules if one.startswith(f"{library}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    done = prepare(folder)
    assert done.code == 2
    distribution = {"nrrd": "pynrrd"}.get(library, library)
    assert done.err.splitlines()[-1].endswith(f' needs {distribution}: pip install "noduleclip[volumes]"')
    table = pl.read_csv(folder / "nodules.csv")
    table.filter(pl.col("seriesuid").is_in(["a", "f"])).write_csv(folder / "nodules.csv")
    assert prepare(folder).code == 0


def test_an_oblique_volume_gives_slices_of_its_angle(folder: Path) -> None:
    """By DICOM's formula the voxel of each nodule lies where it lies by the affine, to 0.1 mm."""
    angle = np.deg2rad(15)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = turn @ AFFINE
    affine[1, 2] += 0.3  # and a tilted gantry
    for name in ("b.nii", "d.nrrd"):
        order, flips = STORED[name]
        write_volume(folder / "scans" / name, *permute(HU, affine, order, flips))
    rows = [(*(affine @ (*center, 1))[:3].tolist(), 8.0, name) for name in ("b", "d") for center in CENTERS]
    frame = pl.DataFrame(rows, schema=["x", "y", "z", "diameter_mm", "seriesuid"], orient="row")
    frame.write_csv(folder / "nodules.csv")
    done = prepare(folder)
    assert done.code == 0, done.err
    for row in read_rows(folder).iter_rows(named=True):
        data = pydicom.dcmread(row[schema.ABSOLUTE_PATH])
        column, line = row[schema.CENTROID_X], row[schema.CENTROID_Y]
        assert read_ct_slice(Path(row[schema.ABSOLUTE_PATH])).hu[round(line), round(column)] == 333
        along_row, along_column = np.array(data.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = map(float, data.PixelSpacing)
        place = np.array(data.ImagePositionPatient, float) + column * column_mm * along_row
        place += line * row_mm * along_column
        assert min(np.linalg.norm(place - [x, y, z]) for x, y, z, *_ in rows) < 0.1


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd"])
def test_a_real_crop_is_that_of_its_dicom(tmp_path: Path, ending: str) -> None:
    """The volume LIDC-IDRI-0001_R_1 was cut from the DICOM; its slice at z = -115 mm is there, too."""
    crop = SHARED / "lidc_volumes/image/LIDC-IDRI-0001_R_1.nii.gz"
    folder = SHARED / "lidc_slices/dicom/LIDC-IDRI-0001"
    if not (crop.exists() and folder.is_dir()):
        pytest.skip(f"{SHARED} is not there")
    from noduleclip.io.volumes.formats import open_volume

    volume = open_volume(crop)
    if ending == "nrrd":
        stored = np.array([plane for _, plane in volume.stored.read_planes(range(volume.stored.shape_ijk[2]))])
        volume = open_volume(write_volume(tmp_path / "a.nrrd", stored, volume.stored.affine_lps))
    compared = 0
    slices = [pydicom.dcmread(path) for path in folder.rglob("*.dcm")]
    for index, hu in volume.read_slices(range(volume.shape_zyx[0])):
        plane = volume.planes[index]
        for data in slices:
            origin = np.array(data.ImagePositionPatient, float)
            if abs(origin[2] - plane.position_mm[2]) > 0.01:
                continue
            row_mm, column_mm = map(float, data.PixelSpacing)
            assert plane.spacing_yx_mm == pytest.approx((row_mm, column_mm), abs=1e-6)
            column, row = (np.array(plane.position_mm) - origin)[:2] / (column_mm, row_mm)
            assert (column, row) == pytest.approx((round(column), round(row)), abs=1e-3)
            full = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
            rows, columns = hu.shape
            cut = full[round(row) : round(row) + rows, round(column) : round(column) + columns]
            np.testing.assert_array_equal(hu, cut)
            compared += 1
    assert compared
