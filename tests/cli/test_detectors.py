"""From a scan and a detector's results to a description: docs/how-to/detectors.md, on phantoms."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import polars as pl
import pydicom
import pytest
from numpy.typing import NDArray

from cli.test_prepare_imports import list_places, prepare, read_rows, scans
from cli.test_prepare_places import soft_tissue
from conftest import Command
from importers.test_nndetection import make_box, write_case
from noduleclip import schema

__all__ = ["scans"]
SHAPE = (64, 48, 20)
"""Voxels along the axes of a file."""


def write_results(path: Path, scans: Path) -> Path:
    """Write results as MONAI's bundle does: on each phantom two detections, the second poor and far outside."""
    entries: list[dict[str, object]] = []
    for x, y, z, _, uid, _ in list_places(scans).unique("seriesuid", maintain_order=True).rows():
        entries.append(
            {
                "box": [[x, y, z, 7.5, 6.0, 5.0], [9999.0, y, z, 250.0, 4.0, 4.0]],
                "label": [0, 0],
                "label_scores": [0.5 + len(entries) / 10, 0.03],
                "image": f"/datasets/LUNA16_Images_resample/{uid}/{uid}.nii.gz",
            }
        )
    path.write_text(json.dumps([*entries, {"box": [], "label": [], "label_scores": [], "image": "1.2.3.4.5.6.7.mhd"}]))
    return path


def test_detections_are_prepared_embedded_found_and_described(noduleclip: Command, scans: Path, tmp_path: Path) -> None:
    results = write_results(tmp_path / "result_luna16_fold0.json", scans)
    found, index = tmp_path / "found", tmp_path / "found/index"
    done = prepare("monai", found, "--datalist", results, "--data-root", scans, "--min-score", 0.1)
    assert done.code == 0, done.err
    assert "images without a detection,1" in done.out
    assert 'places below the score 0.1, left out",4' in done.out
    rows = read_rows(found)
    assert rows[schema.DETECTION_SCORE].to_list() == [0.5, 0.6, 0.7, 0.8]
    assert set(rows[schema.DIAMETER_MM]) == {7.5}
    assert set(rows[schema.DIAMETER_KIND]) == {"unknown"}
    assert (found / "splits").is_dir()
    done = noduleclip("embed", "--roi-csv", rows_of(found), "--out-dir", index, "--device", "cpu")
    assert done.code == 0, done.err
    asked = ("--emb-dir", index, "--where", "detection_score > 0.65")
    done = noduleclip("query", *asked, "--query", "> 6 mm", "--format", "csv")
    assert done.code == 0, done.err
    hits = list(csv.DictReader(io.StringIO(done.out)))
    assert sorted(hit[schema.DETECTION_SCORE] for hit in hits) == ["0.7", "0.8"]
    done = noduleclip("query", *asked, "--query", "> 6 mm", "--format", "table")
    assert re.search(r"probability +detection_score +mm", done.out)
    assert "0.800" in done.out
    done = noduleclip("describe", *asked, "--format", "csv")
    assert done.code == 0, done.err
    assert {row[schema.DETECTION_SCORE] for row in csv.DictReader(io.StringIO(done.out))} == {"0.7", "0.8"}
    done = noduleclip("describe", *asked, "--format", "table")
    assert re.search(r"score +mm", done.out)


def rows_of(out: Path) -> Path:
    return out / schema.ROI_CSV


def test_two_detections_of_one_place_stay_two(scans: Path, tmp_path: Path) -> None:
    x, y, z, _, uid, _ = list_places(scans).row(0)
    boxes = [[x, y, z, 6.0, 6.0, 6.0], [x, y, z, 6.5, 6.5, 6.5]]
    path = tmp_path / "result.json"
    path.write_text(json.dumps([{"image": uid, "box": boxes, "label_scores": [0.9, 0.8]}]))
    done = prepare("monai", tmp_path / "out", "--datalist", path, "--data-root", scans)
    assert done.code == 0, done.err
    assert read_rows(tmp_path / "out")[schema.NODULE_ID].to_list() == ["1", "2"]


def test_a_score_that_nothing_reaches_is_told(scans: Path, tmp_path: Path) -> None:
    results = write_results(tmp_path / "result.json", scans)
    done = prepare("monai", tmp_path / "out", "--datalist", results, "--data-root", scans, "--min-score", 0.9)
    assert done.code == 3
    assert "has a score of 0.9 or more; the highest is 0.8" in done.err


def write_volume(path: Path, affine: NDArray[np.float64]) -> NDArray[np.int16]:
    values = np.ascontiguousarray(soft_tissue(SHAPE))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return values


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, 1), (1, -1, -1)])
def test_boxes_of_nndetection_lie_where_their_voxels_do(tmp_path: Path, signs: tuple[int, int, int]) -> None:
    affine = np.diag([*(np.array(signs) * (0.7, 0.9, 2.5)), 1.0])
    affine[:3, 3] = (-30.0, 12.5, -200.0)
    values = write_volume(tmp_path / "imagesTs/case_001_0000.nii.gz", affine)
    mask_zyx = np.zeros(SHAPE[::-1], bool)
    mask_zyx[7:10, 20:31, 40:46] = True
    write_case(tmp_path / "nii", "case_001", (make_box(mask_zyx), 0.75, 0), ([0, 1, 9, 9, 1, 9], 0.2, 0))
    arguments = ("--results", tmp_path / "nii", "--data-root", tmp_path / "imagesTs", "--min-score", 0.5)
    done = prepare("nndetection", tmp_path / "out", *arguments)
    assert done.code == 0, done.err
    row = read_rows(tmp_path / "out").row(0, named=True)
    assert row[schema.DETECTION_SCORE] == 0.75
    assert row[schema.DIAMETER_MM] == pytest.approx(11 * 0.9)
    lps_mm = np.diag([-1, -1, 1]) @ (affine @ (42.5, 25.0, 8.0, 1.0))[:3]
    nodule = pl.read_csv(tmp_path / "out" / schema.NODULES_CSV).row(0, named=True)
    placed_mm = [nodule[name] for name in (schema.X_MM, schema.Y_MM, schema.Z_MM)]
    assert placed_mm == pytest.approx(lps_mm.tolist(), abs=0.1)
    pixels = pydicom.dcmread(row[schema.ABSOLUTE_PATH])
    middle = pixels.pixel_array[round(row[schema.CENTROID_Y]), round(row[schema.CENTROID_X])]
    near = values[42:44, 25, 8]
    assert int(middle * pixels.RescaleSlope + pixels.RescaleIntercept) in near.tolist()


def test_boxes_in_voxels_use_the_volume_where_dicom_is_there_too(scans: Path, tmp_path: Path) -> None:
    places = list_places(scans)
    x, y, z, _, uid, _ = places.row(0)
    affine = np.diag([-0.5, -0.5, 1.25, 1.0])
    affine[:3, 3] = (10.0 - x, 20.0 - y, z - 2 * 1.25)  # the voxel (20, 40, 2) is the place
    write_volume(tmp_path / "both" / f"{uid}.nii.gz", affine)
    path = tmp_path / "result.json"
    path.write_text(json.dumps([{"image": uid, "box": [[20, 40, 2, 8, 8, 4]], "label_scores": [0.9]}]))
    arguments = ("--datalist", path, "--coordinates", "voxel", "--data-root", scans)
    done = prepare("monai", tmp_path / "alone", *arguments)
    assert "boxes in voxels of 1 series are taken as column, row and slice" in done.err
    both = tmp_path / "both"
    shutil.copytree(scans, both / "dicom")
    done = prepare("monai", tmp_path / "out", *arguments[:-1], both)
    assert done.code == 0, done.err
    assert "boxes in voxels" not in done.err
    row = read_rows(tmp_path / "out").row(0, named=True)
    assert (row[schema.CENTROID_X], row[schema.CENTROID_Y]) == pytest.approx((40.25, 30.5), abs=0.2)
    assert "PHANTOM-0001" in row[schema.DICOM_PATH]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("case_boxes.pkl", b"\x80\x04.", "a pickle is not loaded"),
        ("case_boxes.json", b"{}", "no box in 1 files of results"),
        ("results.csv", b"a,b\n1,2\n", "no column for x"),
    ],
)
def test_results_that_cannot_be_used_are_one_line(
    scans: Path, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    done = prepare("nndetection", tmp_path / "out", "--results", tmp_path / name, "--data-root", scans)
    assert done.code in (2, 3)
    assert message in done.err
    assert "Traceback" not in done.err


def test_the_csv_of_nndetections_script_for_luna16_is_read(scans: Path, tmp_path: Path) -> None:
    x, y, z, _, uid, _ = list_places(scans).row(0)
    table = f",seriesuid,coordX,coordY,coordZ,probability\n0,{uid},{x},{y},{z},0.9\n1,{uid},{x},{y},{z},0.1\n"
    (tmp_path / "RetinaUNetV001.csv").write_text(table)
    arguments = ("--results", tmp_path / "RetinaUNetV001.csv", "--data-root", scans, "--min-score", 0.5)
    done = prepare("nndetection", tmp_path / "out", *arguments)
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "out")
    assert rows[schema.DETECTION_SCORE].to_list() == [0.9]
    assert rows[schema.DIAMETER_MM].to_list() == [None]


def test_the_known_case_of_a_wrong_mode_names_the_box(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "odd_inputs/monai_wrong_mode"
    done = prepare("monai", tmp_path / "out", "--datalist", folder / "j.json", "--data-root", folder / "data")
    assert done.code == 3
    assert "training[0], box[0]: read as cccwhd, its sides are 9, 2 and -74 mm" in done.err
    assert "they do with --box-mode" in done.err
