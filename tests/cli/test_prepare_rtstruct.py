"""RT Structure Sets through the command: ROIs by name, contours on their slices, holes, and what is no use."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from conftest import Collection, Outcome, call
from importers.segmentations import read_slices
from importers.structure_sets import make_contour, make_structure_set, write_structure_set
from noduleclip import schema
from noduleclip.errors import RejectCode, SliceError
from noduleclip.importers import rtstruct
from noduleclip.io.roi_table import read_roi_table

Slices = list[pydicom.Dataset]


def square(left: float, top: float, side: float) -> NDArray[np.float64]:
    return np.array([[left, top], [left + side, top], [left + side, top + side], [left, top + side]])


OUTER, INNER, ISLAND = square(30, 20, 20), square(35, 25, 10), square(38, 28, 4)


@pytest.fixture
def scan(collection: Collection, tmp_path: Path) -> tuple[Path, Slices]:
    """A phantom's slices, turned by half a turn and of unequal spacing, upwards."""
    root = tmp_path / "scan"
    shutil.copytree(collection.folder / "phantoms/dicom/PHANTOM-0002", root / "ct")
    for path in (root / "ct").iterdir():
        data = pydicom.dcmread(path)
        data.ImageOrientationPatient = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0]
        data.PixelSpacing = ["0.9", "0.6"]
        data.save_as(path)
    return root, sorted(read_slices(list((root / "ct").iterdir())), key=lambda one: one.ImagePositionPatient[2])


def prepare(out: Path, root: Path, *more: object) -> Outcome:
    return call("prepare", "rtstruct", "--data-root", root, "--out", out, "--workers", 1, "--format", "csv", *more)


def read_rows(out: Path) -> pl.DataFrame:
    return read_roi_table(out / schema.ROI_CSV).frame


def read_rejects(out: Path) -> list[tuple[str, str]]:
    return pl.read_csv(out / schema.REJECTS_CSV).select(schema.REJECT_CODE, schema.REJECT_REASON).rows()


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("names_slice", [True, False])
@pytest.mark.parametrize("names_series", [True, False])
def test_contours_become_outlines_on_their_slices(
    scan: tuple[Path, Slices], tmp_path: Path, names_slice: bool, names_series: bool, implicit: bool
) -> None:
    root, slices = scan
    curves = [(slices[0], OUTER), (slices[1], INNER)]
    contours = [make_contour(curve, names_slice=names_slice or not names_series) for curve in curves]
    data = make_structure_set(slices, {"GTV-1": contours}, names_series=names_series, implicit=implicit)
    write_structure_set(root / "rt.dcm", data)
    done = prepare(tmp_path / "out", root)
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "out").sort(schema.Z_MM)
    assert rows[schema.SOP_UID].to_list() == [str(one.SOPInstanceUID) for one in slices[:2]]
    for row, points_px in zip(rows.to_dicts(), (OUTER, INNER), strict=True):
        np.testing.assert_allclose(json.loads(row[schema.POINTS_JSON]), points_px, atol=1e-3)
        side = points_px[1, 0] - points_px[0, 0]
        assert row[schema.DIAMETER_MM] == pytest.approx(side * np.hypot(0.9, 0.6), abs=2e-3)
    assert (rows[schema.NODULE_ID].n_unique(), set(rows[schema.PATIENT_ID])) == (1, {"PHANTOM-0002"})
    assert rows[schema.VOLUME_MM3].null_count() == 2 if schema.VOLUME_MM3 in rows.columns else True


@pytest.mark.parametrize("kind", ["curves", "keyhole", "island", "twice"])
def test_holes_are_left_out_of_the_area(scan: tuple[Path, Slices], tmp_path: Path, kind: str) -> None:
    root, slices = scan
    slit = np.concatenate([OUTER, OUTER[:1], INNER[:1], INNER[:0:-1], INNER[:1]])
    drawn = {
        "curves": [OUTER, INNER], "keyhole": [slit],
        "island": [OUTER, INNER, ISLAND], "twice": [OUTER, INNER, OUTER[::-1]],
    }[kind]  # fmt: skip
    contours = [make_contour((slices[0], points_px)) for points_px in drawn]
    write_structure_set(root / "rt.dcm", make_structure_set(slices, {"GTV-1": contours}))
    done = prepare(tmp_path / "out", root, "--diameter", "equivalent")
    assert done.code == 0, done.err
    sizes_mm = sorted(read_rows(tmp_path / "out")[schema.DIAMETER_MM], reverse=True)
    areas_px = [400 - 100] + [16] * (kind == "island")
    np.testing.assert_allclose(sizes_mm, 2 * np.sqrt(np.array(areas_px) * 0.54 / np.pi), atol=2e-3)


def test_rois_are_chosen_by_name_and_the_others_counted(scan: tuple[Path, Slices], tmp_path: Path) -> None:
    root, slices = scan
    far = [make_contour((slices[0], square(60, 50, 9)))]
    names = ("Lung-Left", "GTV-1", "Lungs-GTV", "nodule 2", "heart")
    rois = {name: far if name == "nodule 2" else [make_contour((slices[0], OUTER))] for name in names}
    write_structure_set(root / "rt.dcm", make_structure_set(slices, rois))
    done = prepare(tmp_path / "out", root)
    assert done.code == 0, done.err
    assert read_rows(tmp_path / "out")[schema.NODULE_ID].n_unique() == 2
    assert "ROIs that --roi does not match are left out: Lung-Left (1), Lungs-GTV (1), heart (1)" in done.err
    done = prepare(tmp_path / "out", root, "--roi", "^gtv", "--overwrite")
    assert read_rows(tmp_path / "out").height == 1
    none = prepare(tmp_path / "none", root, "--roi", "spleen")
    assert none.code == 3
    assert "no ROI has a name that --roi matches, 'spleen'; found: Lung-Left (1), GTV-1 (1)" in none.err
    bad = prepare(tmp_path / "none", root, "--roi", "(")
    assert (bad.code, "--roi: '(' is no regular expression" in bad.err) == (2, True)


def test_rois_that_overlap_are_readers_of_one_nodule(scan: tuple[Path, Slices], tmp_path: Path) -> None:
    root, slices = scan
    shifted = make_contour((slices[0], OUTER + 2))
    write_structure_set(root / "a.dcm", make_structure_set(slices, {"GTV": [make_contour((slices[0], OUTER))]}))
    write_structure_set(root / "b.dcm", make_structure_set(slices, {"GTV": [shifted]}))
    done = prepare(tmp_path / "out", root)
    assert done.code == 0, done.err
    rows = read_rows(tmp_path / "out")
    assert (sorted(rows[schema.READER]), rows[schema.NODULE_ID].n_unique()) == (["1", "2"], 1)


def test_contours_between_slices_do_not_become_holes(scan: tuple[Path, Slices], tmp_path: Path) -> None:
    """Some planning systems draw more densely than the CT."""
    root, slices = scan
    contours = []
    for share, points_px in ((0.0, OUTER), (0.3, INNER)):
        contour = make_contour((slices[0], points_px), names_slice=False)
        gap_mm = float(slices[1].ImagePositionPatient[2]) - float(slices[0].ImagePositionPatient[2])
        places = np.array(contour.ContourData, float).reshape(-1, 3) + np.array([0, 0, share * gap_mm])
        contour.ContourData = [f"{part:.4f}" for part in places.ravel()]
        contours.append(contour)
    write_structure_set(root / "rt.dcm", make_structure_set(slices, {"GTV": contours}))
    done = prepare(tmp_path / "out", root)
    assert done.code == 0, done.err
    (row,) = read_rows(tmp_path / "out").to_dicts()
    np.testing.assert_allclose(json.loads(row[schema.POINTS_JSON]), OUTER, atol=1e-3)


def change(contour: Dataset, **values: object) -> Dataset:
    for name, value in values.items():
        if name == "ContourData":
            contour[0x30060050].value = value
        else:
            setattr(contour, name, value)
    return contour


def test_each_fault_has_its_reason(scan: tuple[Path, Slices], tmp_path: Path) -> None:
    root, slices = scan

    def contour() -> Dataset:
        return make_contour((slices[0], OUTER))

    tilted = contour()
    places = np.array(tilted.ContourData, float).reshape(-1, 3)
    places[0, 2] += 2.0
    tilted.ContourData = [f"{part:.3f}" for part in places.ravel()]
    outside = make_contour((slices[0], OUTER + 1000))
    away = make_contour((slices[0], OUTER), names_slice=False)
    far = np.array(away.ContourData, float).reshape(-1, 3) + np.array([0, 0, 500])
    away.ContourData = [f"{part:.3f}" for part in far.ravel()]
    rois = {
        "GTV good": [contour()],
        "GTV empty": [],
        "GTV point": [make_contour((slices[0], OUTER[:1]), kind="POINT")],
        "GTV numbers": [change(contour(), ContourData=["1", "2", "3", "4"])],
        "GTV tilted": [tilted],
        "GTV outside": [outside],
        "GTV away": [away],
    }
    write_structure_set(root / "rt.dcm", make_structure_set(slices, rois))
    text = write_structure_set(root / "cut.dcm", make_structure_set(slices, rois)).read_bytes()
    words = make_structure_set(slices, {"GTV words": [contour()]})
    write_structure_set(root / "words.dcm", words)
    first = str(words.ROIContourSequence[0].ContourSequence[0].ContourData[0]).encode()
    content = (root / "words.dcm").read_bytes()
    (root / "words.dcm").write_bytes(content.replace(first, b"x" * len(first), 1))
    lost = make_structure_set(
        slices, {"GTV lost": [make_contour((slices[0], OUTER), names_slice=False)]}, names_series=False
    )
    write_structure_set(root / "lost.dcm", lost)
    elsewhere = make_structure_set(slices, {"GTV elsewhere": [contour()]})
    study = elsewhere.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    study.RTReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"
    write_structure_set(root / "elsewhere.dcm", elsewhere)
    (root / "cut.dcm").write_bytes(text[: len(text) // 2])
    done = prepare(tmp_path / "out", root, "--max-rejects", "0.9")
    assert done.code == 0, done.err
    assert read_rows(tmp_path / "out").height == 1
    rejects = {reason.split(f"{root}/")[-1]: code for code, reason in read_rejects(tmp_path / "out")}
    expected = {
        "rt.dcm: ROI 2 'GTV empty': has no contours": "no-diameter",
        "rt.dcm: ROI 3 'GTV point': has 1 points or open curves, and no closed contour": "no-diameter",
        "rt.dcm: ROI 4 'GTV numbers': contour 1: it has 4 numbers, no multiple of 3": "bad-structure-set",
        "words.dcm: ROI 1 'GTV words': contour 1: its coordinates are no numbers": "bad-structure-set",
        "lost.dcm: ROI 1 'GTV lost': the file names no series, nor slices of one that is here": "no-series",
    }
    assert expected.items() <= rejects.items()
    reasons = " ".join(reason for _, reason in read_rejects(tmp_path / "out"))
    assert "ROI 5 'GTV tilted': its contour at (" in reasons
    assert "ROI 7 'GTV away': its contour at (" in reasons
    assert "mm lies in no slice of its series" in reasons
    assert "ROI 6 'GTV outside' of rt.dcm: its curve lies outside slice" in reasons
    assert any(reason.startswith("cut.dcm: ") for reason in rejects)
    assert "1 annotations are of series that are not below" in done.err


def test_a_folder_without_structure_sets_is_told(scan: tuple[Path, Slices], tmp_path: Path) -> None:
    done = prepare(tmp_path / "out", scan[0])
    assert done.code == 3
    assert "no RT Structure Set (RTSTRUCT) among 0 DICOM files that are no CT" in done.err


def test_a_long_structure_set_is_read(scan: tuple[Path, Slices], tmp_path: Path) -> None:
    """Those of NSCLC-Radiomics have up to 30 MB, most of it outlines of lungs."""
    root, slices = scan
    turns = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    lung = [make_contour((slices[0], 40 + 20 * np.column_stack([np.cos(turns), np.sin(turns)])))] * 170
    data = make_structure_set(slices, {"Lung": lung, "GTV-1": [make_contour((slices[1], OUTER))]})
    for name in ("ROIContourSequence", "StructureSetROISequence"):
        data[name].is_undefined_length = True
    path = write_structure_set(root / "rt.dcm", data)
    assert path.stat().st_size > 8 * 2**20
    done = prepare(tmp_path / "out", root)
    assert done.code == 0, done.err
    assert read_rows(tmp_path / "out").height == 1


def test_a_structure_set_over_the_limit_is_told_with_its_own(
    scan: tuple[Path, Slices], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtstruct, "_LARGEST_BYTES", 2**20)
    turns = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    lung = [make_contour((scan[1][0], 40 + 20 * np.column_stack([np.cos(turns), np.sin(turns)])))] * 30
    path = write_structure_set(tmp_path / "long.dcm", make_structure_set(scan[1], {"Lung": lung}))
    with pytest.raises(SliceError, match=r"long\.dcm: its header is longer than 1 MB") as caught:
        rtstruct.read_structure_set(path, 512 * 512)
    assert caught.value.code is RejectCode.TOO_LARGE
