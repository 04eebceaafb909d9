"""Masks through the command: nodules with outlines, diameters and volumes, in volumes and in DICOM."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest

from conftest import Collection, Outcome, call
from importers.mask_phantoms import AFFINE, BALLS, SPACING, VOXEL_MM3, make_hu, make_mask, write_image, write_mask
from importers.segmentations import ReaderFinding, read_slices, write_seg
from noduleclip import schema
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.io.roi_table import read_roi_table
from volume_files import permute, write_layers


def prepare(out: Path, images: Path, masks: Path, *more: object) -> Outcome:
    return call(
        "prepare", "masks", "--images", images, "--masks", masks, "--out", out, "--workers", 1, "--format", "csv", *more
    )


def read_rows(out: Path) -> pl.DataFrame:
    return read_roi_table(out / schema.ROI_CSV).frame


def read_nodules(out: Path) -> pl.DataFrame:
    return pl.read_csv(out / schema.NODULES_CSV)


def read_rejects(out: Path) -> list[tuple[str, str]]:
    return pl.read_csv(out / schema.REJECTS_CSV).select(schema.REJECT_CODE, schema.REJECT_REASON).rows()


def count(out: Path, name: str) -> int:
    return int(json.loads((out / schema.PREPARE_JSON).read_text())["counts"].get(name, 0))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    """An image and its mask of two balls, and the folder of results."""
    write_image(tmp_path / "images/case1_0000.nii.gz")
    write_mask(tmp_path / "masks/case1.nii.gz")
    return tmp_path / "out", tmp_path / "images", tmp_path / "masks"


def test_balls_become_nodules_with_their_places_diameters_and_volumes(folders: tuple[Path, Path, Path]) -> None:
    out, images, masks = folders
    done = prepare(out, images, masks)
    assert done.code == 0, done.err
    rows, nodules = read_rows(out), read_nodules(out)
    mask = make_mask()
    assert rows.height == sum(len({*np.nonzero(make_mask(values=v))[0].tolist()}) for v in ((1, 0), (0, 1)))
    assert nodules[schema.NODULE_ID].to_list() == [1, 2], "upwards"
    for ball, nodule, values in zip(BALLS, nodules.to_dicts(), ((1, 0), (0, 1)), strict=True):
        place = AFFINE[:3, :3] @ ball.middle + AFFINE[:3, 3]
        np.testing.assert_allclose([nodule[name] for name in (schema.X_MM, schema.Y_MM, schema.Z_MM)], place, atol=0.1)
        assert nodule[schema.DIAMETER_MM] == pytest.approx(ball.diameter_mm, abs=1.2)
        assert nodule[schema.VOLUME_MM3] == pytest.approx(np.count_nonzero(make_mask(values=values)) * VOXEL_MM3)
        assert (nodule[schema.READERS], nodule[schema.DIAMETER_KIND]) == (1, "in-slice")
    assert rows[schema.VOLUME_MM3].unique().sort().to_list() == nodules[schema.VOLUME_MM3].sort().to_list()
    assert set(rows[schema.PATIENT_ID]) == {"case1_0000"}
    hu = make_hu()
    for row in rows.to_dicts():
        slice_ = read_ct_slice(Path(row[schema.ABSOLUTE_PATH]))
        index = round((row[schema.Z_MM] - AFFINE[2, 3]) / SPACING[2])
        np.testing.assert_array_equal(slice_.hu, hu[index])
        assert mask[index, round(row[schema.CENTROID_Y]), round(row[schema.CENTROID_X])]
    written = {path.stem for path in (out / "dicom").rglob("*.dcm")}
    with_nodules = np.flatnonzero(mask.any(axis=(1, 2))).tolist()
    assert written == {f"{index:05d}" for index in with_nodules}


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".nhdr", ".mhd", ".mha", ".seg.nrrd"])
def test_every_format_and_orientation_gives_the_same_table(folders: tuple[Path, Path, Path], suffix: str) -> None:
    out, images, masks = folders
    assert prepare(out, images, masks).code == 0
    expected = read_rows(out)
    shutil.rmtree(masks)
    write_mask(masks / f"case1{suffix}", *permute(make_mask(), AFFINE, (2, 0, 1), (True, False, True)))
    done = prepare(out, images, masks, "--overwrite")
    assert done.code == 0, done.err
    assert read_rows(out).equals(expected)


def test_several_masks_of_an_image_are_readers_of_its_nodules(folders: tuple[Path, Path, Path]) -> None:
    out, images, masks = folders
    (masks / "case1.nii.gz").unlink()
    shrunk = make_mask()
    shrunk[6:] = 0  # the second reader drew the first ball and a part of the second
    shrunk[:3] = 0
    write_mask(masks / "case1_rad1.nii.gz")
    write_mask(masks / "case1_rad2.nii.gz", shrunk)
    done = prepare(out, images, masks)
    assert done.code == 0, done.err
    rows, nodules = read_rows(out), read_nodules(out)
    assert set(rows[schema.READER]) == {"rad1", "rad2"}
    assert nodules[schema.READERS].to_list()[0] == 2
    voxels = [np.count_nonzero(mask * make_mask(values=(1, 0))) for mask in (make_mask(), shrunk)]
    assert nodules[0, schema.VOLUME_MM3] == pytest.approx(np.mean(voxels) * VOXEL_MM3)
    first = rows.filter(pl.col(schema.NODULE_ID) == "1")
    by_reader = first.group_by(schema.READER).agg(pl.col(schema.VOLUME_MM3).max())
    np.testing.assert_allclose(sorted(by_reader[schema.VOLUME_MM3]), np.array(sorted(voxels)) * VOXEL_MM3)


def test_an_index_of_masks_has_their_volumes(folders: tuple[Path, Path, Path], checkpoint: Path) -> None:
    out, images, masks = folders
    assert prepare(out, images, masks).code == 0
    done = call("embed", "--roi-csv", out / schema.ROI_CSV, "--model", checkpoint, "--out-dir", out / "index")
    assert done.code == 0, done.err
    where = f"{schema.VOLUME_MM3} > 400"
    found = call("query", "--emb-dir", out / "index", "--query", "> 3 mm", "--where", where, "--format", "csv")
    assert found.code == 0, found.err
    assert len(found.out.splitlines()) == 2, "a header, and the larger of two balls"


@pytest.fixture
def scans(collection: Collection, tmp_path: Path) -> Path:
    """Two phantom patients in DICOM; the second one's slices turned by half a turn, of unequal spacing."""
    root = tmp_path / "scans"
    for number in (1, 2):
        name = f"PHANTOM-{number:04d}"
        shutil.copytree(collection.folder / "phantoms/dicom" / name, root / name)
    for path in (root / "PHANTOM-0002").iterdir():
        data = pydicom.dcmread(path)
        data.ImageOrientationPatient = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0]
        data.PixelSpacing = ["0.9", "0.6"]
        data.save_as(path)
    return root


def find_affine(slices: list[pydicom.Dataset]) -> np.ndarray:
    """The affine from (x, y, z) of a DICOM series: PS3.3 C.7.6.2.1-1."""
    first, second = slices[:2]
    affine = np.eye(4)
    row_mm, column_mm = map(float, first.PixelSpacing)
    along_row, along_column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    affine[:3, 0], affine[:3, 1] = along_row * column_mm, along_column * row_mm
    affine[:3, 2] = np.array(second.ImagePositionPatient, float) - np.array(first.ImagePositionPatient, float)
    affine[:3, 3] = first.ImagePositionPatient
    return affine


@pytest.mark.parametrize("patient", [1, 2])
def test_masks_lie_on_dicom_series_of_their_folder(scans: Path, tmp_path: Path, patient: int) -> None:
    name = f"PHANTOM-{patient:04d}"
    slices = sorted(read_slices(list((scans / name).iterdir())), key=lambda one: float(one.ImagePositionPatient[2]))
    mask = np.zeros((len(slices), slices[0].Rows, slices[0].Columns), np.uint8)
    mask[:2, 20:31, 40:50] = 1
    write_mask(tmp_path / f"masks/{name}.nii.gz", *permute(mask, find_affine(slices), (0, 1, 2), (True, True, False)))
    done = prepare(tmp_path / "out", scans, tmp_path / "masks")
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "out")
    assert sorted(rows[schema.SOP_UID]) == sorted(str(one.SOPInstanceUID) for one in slices[:2])
    assert set(rows[schema.PATIENT_ID]) == {name}
    for row in rows.to_dicts():
        assert [row[column] for column in schema.BOX_COLUMNS] == [39, 19, 50, 31]
        assert (row[schema.CENTROID_X], row[schema.CENTROID_Y]) == (44.5, 25.0)
    assert not (tmp_path / "out/dicom").exists()
    assert count(tmp_path / "out", "images without a mask") == 1


def test_a_series_that_is_a_volume_too_is_taken_from_its_dicom(scans: Path, tmp_path: Path) -> None:
    slices = read_slices(list((scans / "PHANTOM-0001").iterdir()))
    slices.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    uid, affine = str(slices[0].SeriesInstanceUID), find_affine(slices)
    mask = np.zeros((len(slices), slices[0].Rows, slices[0].Columns), np.uint8)
    mask[0, 20:31, 40:50] = 1
    write_mask(scans / f"volumes/{uid}.nii.gz", mask.astype(np.int16) - 800, affine)
    write_mask(tmp_path / f"masks/{uid}.nii.gz", mask, affine)
    done = prepare(tmp_path / "out", scans, tmp_path / "masks")
    assert done.code == 0, done.err
    assert read_rows(tmp_path / "out")[schema.PATIENT_ID].to_list() == ["PHANTOM-0001"]


def test_segmentations_among_the_masks_are_read_too(scans: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    one, two = (
        sorted(read_slices(list((scans / f"PHANTOM-000{number}").iterdir())), key=lambda it: it.ImagePositionPatient[2])
        for number in (1, 2)
    )
    mask = np.zeros((len(one), one[0].Rows, one[0].Columns), np.uint8)
    mask[0, 20:31, 40:50] = 1
    write_mask(masks / "PHANTOM-0001.nrrd", mask, find_affine(one))
    write_seg(masks / "seg.dcm", two, [ReaderFinding(mask[: len(two)].astype(bool))])
    for place in (masks, scans / "masks"):
        if place != masks:
            shutil.copytree(masks, place)
        done = prepare(tmp_path / "out", scans, place, "--overwrite")
        assert done.code == 0, done.err
        rows = read_rows(tmp_path / "out")
        assert sorted(rows[schema.PATIENT_ID]) == ["PHANTOM-0001", "PHANTOM-0002"]
        assert set(rows[schema.CENTROID_X]) == {44.5}
        assert rows[schema.VOLUME_MM3].null_count() == 0


def test_totalsegmentator_in_the_folder_of_the_images(tmp_path: Path) -> None:
    lungs = np.zeros_like(make_mask())
    lungs[:, 5:45, 5:55] = 1
    for name in ("s0001", "s0002", "s0003"):
        write_image(tmp_path / f"totalseg/{name}/ct.nii.gz")
        write_mask(tmp_path / f"totalseg/{name}/segmentations/lung.nii.gz", lungs)
        write_mask(tmp_path / f"totalseg/{name}/segmentations/lung_nodules.nii.gz", make_mask() * (name != "s0003"))
    root, out = tmp_path / "totalseg", tmp_path / "out"
    done = prepare(out, root, root, "--patient-pattern", "(s[0-9]+)")
    assert done.code == 0, done.err
    assert set(read_rows(out)[schema.PATIENT_ID]) == {"s0001", "s0002"}
    assert read_nodules(out).height == 4
    assert "3 masks or labels have the names of lungs and other anatomy: left out, first:" in done.err
    assert read_rejects(out) == [
        ("empty-mask", f"{root}/s0003/segmentations/lung_nodules.nii.gz: has no voxel of a nodule")
    ]
    assert count(out, "empty masks") == 1


def test_segments_of_3d_slicer_may_overlap(folders: tuple[Path, Path, Path]) -> None:
    out, images, masks = folders
    assert prepare(out, images, masks).code == 0
    expected = read_nodules(out)
    (masks / "case1.nii.gz").unlink()
    lung_and_first, second_and_core = make_mask(values=(2, 0)), make_mask(values=(0, 1))
    lung_and_first[:, 5:45, 5:55][lung_and_first[:, 5:45, 5:55] == 0] = 1
    second_and_core[4][make_mask(values=(1, 0))[4] > 0] = 2
    segments = [(0, 1, "right lung"), (0, 2, "A"), (1, 1, "B"), (1, 2, "core of A")]
    write_layers(masks / "case1.seg.nrrd", [lung_and_first, second_and_core], AFFINE, segments)
    done = prepare(out, images, masks, "--overwrite")
    assert done.code == 0, done.err
    nodules = read_nodules(out)
    assert nodules[schema.READERS].to_list() == [1, 1, 1], "a file is of one reader"
    first, second = expected[schema.VOLUME_MM3]
    core = np.count_nonzero(make_mask(values=(1, 0))[4]) * VOXEL_MM3
    assert sorted(nodules[schema.VOLUME_MM3]) == pytest.approx(sorted([first, second, core]))
    assert "'right lung' in" in done.err


def test_layers_of_segments_are_no_image(folders: tuple[Path, Path, Path]) -> None:
    out, images, masks = folders
    (images / "case1_0000.nii.gz").unlink()
    write_layers(images / "case1_0000.nrrd", [make_mask(), make_mask()], AFFINE, [(0, 1, "A"), (1, 1, "B")])
    done = prepare(out, images, masks)
    assert done.code == 3
    assert f"{images}/case1_0000.nrrd: has 2 layers of segments: a mask, no CT" in done.err


def test_labels_of_a_network_are_chosen(tmp_path: Path) -> None:
    both = np.zeros_like(make_mask())
    both[:, 5:45, 5:55] = 1
    both[make_mask() > 0] = 2
    write_image(tmp_path / "images/a_0000.nii.gz")
    write_mask(tmp_path / "masks/a.nii.gz", both)
    done = prepare(tmp_path / "out", tmp_path / "images", tmp_path / "masks", "--labels", "2")
    assert done.code == 0, done.err
    assert read_nodules(tmp_path / "out").height == 2


def test_a_table_of_pairs_overrides_names(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out, images, masks = folders
    write_mask(masks / "odd name.nii.gz")
    table = tmp_path / "pairs.csv"
    table.write_text(
        "image,mask,reader,patient_id,nodule_id\n"
        "case1_0000.nii.gz,odd name.nii.gz,A,P7,17\n"
        "case1,case1,B,P7,17\n"
        "case1,nowhere.nii.gz,B,P7,17\n"
    )
    done = prepare(out, images, masks, "--pairs", table, "--max-rejects", "0.5")
    assert done.code == 0, done.err
    rows, nodules = read_rows(out), read_nodules(out)
    assert set(rows[schema.READER]) == {"A", "B"}
    assert nodules.select(schema.PATIENT_ID, schema.NODULE_ID, schema.READERS).rows() == [("P7", 17, 2)]
    assert nodules[0, schema.VOLUME_MM3] == pytest.approx(np.count_nonzero(make_mask()) * VOXEL_MM3)
    assert read_rejects(out)[0][1].endswith("row 3: there is no mask 'nowhere.nii.gz' below --masks")


def test_one_image_and_one_mask_may_be_files(folders: tuple[Path, Path, Path]) -> None:
    out, images, masks = folders
    done = prepare(out, images / "case1_0000.nii.gz", masks / "case1.nii.gz")
    assert done.code == 0, done.err
    assert read_nodules(out).height == 2


def test_a_run_goes_on_with_one_bad_mask(folders: tuple[Path, Path, Path]) -> None:
    out, images, masks = folders
    write_image(images / "case2_0000.nii.gz")
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.3
    write_mask(masks / "case2.nii.gz", make_mask(), shifted)
    done = prepare(out, images, masks, "--max-rejects", "0.2")
    assert done.code == 0, done.err
    ((code, reason),) = read_rejects(out)
    assert code == "other-grid"
    assert reason.startswith(f"{masks}/case2.nii.gz: its slice 2 is on no slice of {images}/case2_0000.nii.gz")
    assert read_nodules(out).height == 2


def test_an_image_that_is_not_in_hu_costs_its_masks_only(folders: tuple[Path, Path, Path]) -> None:
    out, images, masks = folders
    write_mask(images / "case2_0000.nii.gz", (make_hu() + 1024).astype(np.uint16))
    write_mask(masks / "case2.nii.gz")
    done = prepare(out, images, masks, "--max-rejects", "0.5")
    assert done.code == 0, done.err
    ((code, _),) = read_rejects(out)
    assert code == "not-hu"
    assert set(read_rows(out)[schema.PATIENT_ID]) == {"case1_0000"}


@pytest.mark.parametrize("kind", ["no folder", "no masks", "no images", "empty", "threshold and labels", "labels"])
def test_what_cannot_be_done_is_told_in_a_line(folders: tuple[Path, Path, Path], kind: str) -> None:
    out, images, masks = folders
    more: list[str] = []
    code, message = 3, ""
    if kind == "no folder":
        shutil.rmtree(masks)
        message = "no such folder of volumes"
    elif kind == "no masks":
        (masks / "case1.nii.gz").unlink()
        message = "holds no mask (.nii.gz, .nrrd, .mha, .mhd or DICOM SEG)"
    elif kind == "no images":
        (images / "case1_0000.nii.gz").unlink()
        message = "no CT slice among 0 files"
    elif kind == "empty":
        write_mask(masks / "case1.nii.gz", make_mask() * 0)
        message = "no nodule has an outline or a diameter"
    elif kind == "labels":
        more, code, message = ["--labels", "x"], 2, "--labels: 'x' are no values of a mask; write them as 1,2"
    else:
        more, code = ["--threshold", "0.5", "--labels", "1"], 2
        message = "--threshold makes a mask of one value, --labels chooses values; give one of them"
    done = prepare(out, images, masks, *more)
    assert done.code == code, done.err
    assert message in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    if kind == "empty":
        assert "found: 1 empty masks" in done.err


def test_the_missing_extra_is_named(folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cc3d", None)
    done = prepare(*folders)
    assert done.code == 2
    assert done.err.splitlines()[-1] == 'error: the parts of a mask need cc3d: pip install "noduleclip[volumes]"'


def test_specks_are_told_and_left_out(folders: tuple[Path, Path, Path]) -> None:
    out, images, masks = folders
    mask = make_mask()
    mask[0, 0, 0] = 1
    write_mask(masks / "case1.nii.gz", mask)
    done = prepare(out, images, masks)
    assert "1 nodules have fewer than 3 voxels" in done.err
    assert read_nodules(out).height == 3
    done = prepare(out, images, masks, "--min-voxels", "3", "--overwrite")
    assert read_nodules(out).height == 2
    assert "smaller than --min-voxels are left out" in done.err


def test_the_first_series_only(folders: tuple[Path, Path, Path]) -> None:
    out, images, masks = folders
    write_image(images / "case0_0000.nii.gz")
    write_mask(masks / "case0.nii.gz")
    done = prepare(out, images, masks, "--limit", "1")
    assert done.code == 0, done.err
    assert set(read_rows(out)[schema.SERIES_UID]) == {"case0_0000"}
