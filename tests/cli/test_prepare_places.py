"""Folders of DICOM as they come: several reconstructions, series and patients, localizers; images not in HU."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from numpy.typing import NDArray

from cli.test_prepare_imports import UID, list_places, list_voxels, prepare, read_rows, scans
from importers.lidc_phantoms import NODULE, Series, annotate
from importers.metaimages import write_mhd
from importers.segmentations import ReaderFinding, read_slices, write_seg
from noduleclip import schema

__all__ = ["scans"]


@pytest.fixture
def one_patient(scans: Path, tmp_path: Path) -> Path:
    shutil.copytree(scans / "PHANTOM-0001", tmp_path / "scans/PHANTOM-0001")
    return tmp_path / "scans"


def copy_slices(root: Path, name: str, **changes: object) -> list[Path]:
    """Write the slices of the patient a second time, in files that sort first, with other headers."""
    paths = []
    for number, path in enumerate(sorted((root / "PHANTOM-0001").iterdir())):
        data = pydicom.dcmread(path)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(f"1.2.3.77.{number}")
        for keyword, value in changes.items():
            setattr(data, keyword, value)
        paths.append(path.with_name(f"{name}{number}.dcm"))
        data.save_as(paths[-1])
    return paths


def prepare_csv(root: Path, tmp_path: Path, *more: object, out: str = "out", **columns: str) -> tuple[int, str]:
    """Prepare a place on each slice of the patient; `columns` are added to the table, `-` leaves one out."""
    places = list_places(root).unique(["x", "y", "z"], maintain_order=True).drop("file")
    places = places.drop(name for name, text in columns.items() if text == "-")
    places = places.with_columns(pl.lit(text).alias(name) for name, text in columns.items() if text != "-")
    places.write_csv(tmp_path / "nodules.csv")
    done = prepare("csv", tmp_path / out, "--table", tmp_path / "nodules.csv", "--data-root", root, *more)
    assert "Traceback" not in done.err
    return done.code, done.err


def list_sops(out: Path) -> list[str]:
    return read_rows(out)[schema.SOP_UID].to_list()


def test_two_reconstructions_in_a_series_are_named(one_patient: Path, tmp_path: Path) -> None:
    copies = copy_slices(one_patient, "zz", ConvolutionKernel="B80f")
    for path in set((one_patient / "PHANTOM-0001").iterdir()) - set(copies):
        data = pydicom.dcmread(path)
        data.ConvolutionKernel = "B30f"
        data.save_as(path)
    code, err = prepare_csv(one_patient, tmp_path)
    assert code == 0, err
    assert "1 series hold several reconstructions" in err
    assert "used is 5 slices, 1.25 mm, B30f, not used 5 slices, 1.25 mm, B80f" in err


@pytest.mark.parametrize("name", ["00", "zz"])
def test_files_of_any_name_give_the_same_reconstruction(one_patient: Path, tmp_path: Path, name: str) -> None:
    copy_slices(one_patient, name, ConvolutionKernel="A10f", SliceThickness=2.5)
    code, err = prepare_csv(one_patient, tmp_path)
    assert code == 0, err
    assert "used is 5 slices, 1.25 mm, not used 5 slices, 2.5 mm, A10f" in err
    assert not any(uid.startswith("1.2.3.77.") for uid in list_sops(tmp_path / "out"))
    code, err = prepare_csv(one_patient, tmp_path, "--series", "a10*", out="picked")
    assert code == 0, err
    assert "on the one that --series 'a10*' matches, then with the thinnest slices" in err
    assert all(uid.startswith("1.2.3.77.") for uid in list_sops(tmp_path / "picked"))
    code, err = prepare_csv(one_patient, tmp_path, "--series", "B99", out="wrong")
    assert code == 2
    assert "--series 'B99' matches no Series Instance UID, series description or kernel" in err
    assert "series descriptions: none; kernels: A10f" in err


def test_interleaved_reconstructions_are_told_and_not_mixed(one_patient: Path, tmp_path: Path) -> None:
    for number, path in enumerate(copy_slices(one_patient, "00", ConvolutionKernel="B80f")):
        data = pydicom.dcmread(path)
        data.ImagePositionPatient[2] = float(data.ImagePositionPatient[2]) + 0.625
        data.save_as(path)
        assert number < 5
    code, err = prepare_csv(one_patient, tmp_path, "--max-rejects", "1")
    assert code == 0, err
    assert "1 series hold several reconstructions" in err
    assert not any(uid.startswith("1.2.3.77.") for uid in list_sops(tmp_path / "out"))


def test_a_place_that_only_the_other_reconstruction_reaches_says_so(one_patient: Path, tmp_path: Path) -> None:
    for path in copy_slices(one_patient, "00", ConvolutionKernel="B80f", SliceThickness=2.5):
        data = pydicom.dcmread(path)
        data.ImagePositionPatient[2] = float(data.ImagePositionPatient[2]) + 3
        data.save_as(path)
    code, err = prepare_csv(one_patient, tmp_path, "--max-rejects", "1")
    assert code == 0, err
    reasons = pl.read_csv(tmp_path / "out" / schema.REJECTS_CSV)[schema.REJECT_REASON]
    assert any(
        "used is its reconstruction of 5 slices, 1.25 mm, and the one of 5 slices, 2.5 mm, B80f has a slice there "
        "(--series)" in reason
        for reason in reasons
    )


def test_a_patient_with_several_series_has_the_thinnest(one_patient: Path, tmp_path: Path) -> None:
    copy_slices(one_patient, "00", SeriesInstanceUID="1.2.3.77", SliceThickness=5, SeriesDescription="Routine")
    named = {"seriesuid": "-", schema.PATIENT_ID: "phantom-0001"}
    code, err = prepare_csv(one_patient, tmp_path, **named)
    assert code == 0, err
    assert "1 names in the source have several series" in err
    assert "'phantom-0001' with 2 series: used is 5 slices, 1.25 mm, not used 5 slices, 5 mm, Routine" in err
    assert "1.2.3.77" not in set(read_rows(tmp_path / "out")[schema.SERIES_UID])
    code, err = prepare_csv(one_patient, tmp_path, "--series", "routine", out="picked", **named)
    assert code == 0, err
    assert set(read_rows(tmp_path / "picked")[schema.SERIES_UID]) == {"1.2.3.77"}


def test_a_mask_on_the_second_reconstruction_stays_there(one_patient: Path, tmp_path: Path) -> None:
    slices = read_slices(copy_slices(one_patient, "zz", ConvolutionKernel="B80f"))
    mask = np.zeros((len(slices), slices[0].Rows, slices[0].Columns), bool)
    mask[1, 20:31, 40:52] = True
    write_seg(one_patient / "seg.dcm", slices, [ReaderFinding(mask)])
    done = prepare("seg", tmp_path / "out", "--data-root", one_patient)
    assert done.code == 0, done.err
    (path,) = read_rows(tmp_path / "out")[schema.DICOM_PATH]
    assert Path(path).name == "zz1.dcm"


def test_a_mask_that_names_no_slice_lies_on_one_reconstruction(one_patient: Path, tmp_path: Path) -> None:
    copies = copy_slices(one_patient, "00", ConvolutionKernel="B80f", SliceThickness=5)
    for path in copies:
        data = pydicom.dcmread(path)
        data.ImagePositionPatient[2] = float(data.ImagePositionPatient[2]) + 0.6
        data.save_as(path)
    slices = read_slices(copies)
    mask = np.zeros((len(slices), slices[0].Rows, slices[0].Columns), bool)
    mask[1:4, 20:31, 40:52] = True
    write_seg(one_patient / "seg.dcm", slices, [ReaderFinding(mask)])
    seg = pydicom.dcmread(one_patient / "seg.dcm")
    for frame in seg.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence
    seg.save_as(one_patient / "seg.dcm")
    done = prepare("seg", tmp_path / "out", "--data-root", one_patient)
    assert done.code == 0, done.err
    assert sorted(list_sops(tmp_path / "out")) == ["1.2.3.77.1", "1.2.3.77.2", "1.2.3.77.3"]


def test_two_patients_in_a_series_have_no_places(one_patient: Path, tmp_path: Path) -> None:
    copy_slices(one_patient, "00", PatientID="SOMEBODY")
    code, err = prepare_csv(one_patient, tmp_path)
    assert code == 3
    assert "its series has slices of 2 patients, 'PHANTOM-0001' and 'SOMEBODY', and the annotation names none" in err
    assert "(patient_id)" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["00", "zz"])
@pytest.mark.parametrize("patient_id", ["SOMEBODY", "phantom-0001", "NOBODY"])
def test_a_patient_of_two_in_a_series_is_found_by_its_id(
    one_patient: Path, tmp_path: Path, patient_id: str, name: str
) -> None:
    copy_slices(one_patient, name, PatientID="SOMEBODY", ConvolutionKernel="B80f")
    code, err = prepare_csv(one_patient, tmp_path, patient_id=patient_id)
    if patient_id == "NOBODY":
        assert code == 3
        assert "2 patients, 'PHANTOM-0001' and 'SOMEBODY', and 'NOBODY' is none of them" in err
        return
    assert code == 0, err
    assert {uid.startswith("1.2.3.77.") for uid in list_sops(tmp_path / "out")} == {patient_id == "SOMEBODY"}
    code, err = prepare_csv(one_patient, tmp_path, "--series", "B80f", out="picked")
    assert code == 0, err
    assert all(uid.startswith("1.2.3.77.") for uid in list_sops(tmp_path / "picked"))


def test_curves_that_name_their_slice_find_it_among_two_patients(tmp_path: Path) -> None:
    series = Series(1)
    series.write(tmp_path / "data")
    other = Series(1, "LIDC-IDRI-0002")
    for number, path in enumerate(other.write(tmp_path / "data")):
        data = pydicom.dcmread(path)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(f"1.2.3.77.{number}")
        data.save_as(path)
    annotate(tmp_path / "data/a.xml", series, [[NODULE]])
    done = prepare("lidc", tmp_path / "out", "--data-root", tmp_path / "data")
    assert done.code == 0, done.err
    assert set(read_rows(tmp_path / "out")[schema.PATIENT_ID]) == {"LIDC-IDRI-0001"}


def test_a_localizer_takes_no_nodule(one_patient: Path, tmp_path: Path) -> None:
    copy_slices(one_patient, "00", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    code, err = prepare_csv(one_patient, tmp_path)
    assert code == 0, err
    assert not any(Path(path).name.startswith("00.") for path in read_rows(tmp_path / "out")[schema.DICOM_PATH])
    assert "several reconstructions" not in err


@pytest.mark.parametrize("name", ["00", "zz"])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, id="coronal"),
        pytest.param({"ImageOrientationPatient": [1, 0, 0, 0, 0.906, 0.423]}, id="tilted"),
        pytest.param({"PixelSpacing": [2.5, 2.5], "SliceThickness": 0.5}, id="of another spacing"),
        pytest.param({"SliceThickness": None, "ConvolutionKernel": "A"}, id="without a thickness"),
    ],
)
def test_a_localizer_that_nothing_names_takes_no_nodule(
    one_patient: Path, tmp_path: Path, changes: dict[str, object], name: str
) -> None:
    overview, *others = copy_slices(one_patient, name, **changes)
    for path in others:
        path.unlink()
    places = list_places(one_patient).filter(pl.col("file") != str(overview)).drop("file")
    places.write_csv(tmp_path / "nodules.csv")
    done = prepare("csv", tmp_path / "out", "--table", tmp_path / "nodules.csv", "--data-root", one_patient)
    assert done.code == 0, done.err
    assert "1.2.3.77.0" not in list_sops(tmp_path / "out")
    assert len(list_sops(tmp_path / "out")) == 5


def soft_tissue(shape: tuple[int, ...] = (7, 96, 80)) -> NDArray[np.int16]:
    """Values of a chest in HU: a third soft tissue, the rest lung and air."""
    rng = np.random.default_rng(0)
    tissue, lung = rng.normal(40, 30, shape), rng.normal(-850, 60, shape)
    return np.where(rng.random(shape) < 0.33, tissue, lung).clip(-1024, 3000).astype("<i2")


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ("shifted", "as of HU + 1024: no HU; pass --rescale 1,-1024"),
        ("shifted and padded", "as of HU + 1024: no HU; pass --rescale 1,-1024"),
        ("0 to 1", "as of CT scaled to [0, 1]: no HU; pass --rescale"),
        ("-1 to 1", "as of CT scaled to [-1, 1]: no HU; pass --rescale"),
        ("HU", ""),
    ],
)
def test_an_image_that_is_not_in_hu_is_refused(tmp_path: Path, scale: str, message: str) -> None:
    hu = soft_tissue()
    padded = hu + 1024
    padded[:, :20] = -2000 + 1024
    values = {
        "shifted": hu + 1024,
        "shifted and padded": padded,
        "0 to 1": ((hu + 1024) / 1100).clip(0, 1).astype("<f4"),
        "-1 to 1": ((hu + 1024) / 600 - 1).clip(-1, 1).astype("<f4"),
        "HU": hu,
    }[scale]
    write_mhd(tmp_path / f"luna/{UID}0.mhd", values)
    (tmp_path / "annotations.csv").write_text(list_voxels((0, 20, 30, 1)))
    arguments = ("--annotations", tmp_path / "annotations.csv", "--data-root", tmp_path / "luna")
    done = prepare("luna16", tmp_path / "out", *arguments)
    assert done.code == (3 if message else 0), done.err
    assert message in done.err
    assert not message or not list((tmp_path / "out").rglob("*.dcm"))


def test_patients_are_told_apart_whatever_the_case_of_their_ids(one_patient: Path, tmp_path: Path) -> None:
    copy_slices(one_patient, "zz", PatientID="phantom-0001 ")
    code, err = prepare_csv(one_patient, tmp_path)
    assert code == 0, err
    assert pl.read_csv(tmp_path / "out" / schema.NODULES_CSV).height > 0
