"""Multi-frame CT through the sources of `prepare`: the rows of the single slices that it was made of, by frame."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from cli.test_prepare_masks import find_affine
from conftest import Collection, call
from enhanced_ct import convert_series
from importers.lidc_phantoms import NODULE, OTHER, Series, add
from importers.mask_phantoms import write_mask
from importers.region_reports import Drawn, write_regions
from importers.segmentations import ReaderFinding, read_slices, write_seg, write_sr
from importers.structure_sets import make_contour, make_structure_set, write_structure_set
from noduleclip import schema
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.io.roi_table import read_roi_table
from volume_files import permute

UID = "1.2.3.4"
SQUARE = np.array([[40.0, 20.0], [50.0, 20.0], [50.0, 31.0], [40.0, 31.0]])
Write = Callable[[Path, list[Dataset]], list[object]]


def make_box(slices: list[Dataset]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A mask on two slices."""
    mask = np.zeros((len(slices), slices[0].Rows, slices[0].Columns), np.uint8)
    mask[1:3, 20:31, 40:50] = 1
    return mask


def write_points(root: Path, slices: list[Dataset]) -> list[object]:
    """Write a table of places between the middles of slices."""
    x, y, z = (find_affine(slices) @ (45, 25, 1.2, 1))[:3]
    text = f"seriesuid,coordX,coordY,coordZ,diameter_mm\n{slices[0].SeriesInstanceUID},{x:.3f},{y:.3f},{z:.3f},7\n"
    (root.parent / "points.csv").write_text(text)
    return ["csv", "--table", root.parent / "points.csv", "--data-root", root]


def write_luna16(root: Path, slices: list[Dataset]) -> list[object]:
    write_points(root, slices)
    return ["luna16", "--annotations", root.parent / "points.csv", "--data-root", root]


def write_masks(root: Path, slices: list[Dataset]) -> list[object]:
    mask = permute(make_box(slices), find_affine(slices), (0, 1, 2), (True, True, False))
    write_mask(root.parent / f"masks/{slices[0].SeriesInstanceUID}.nii.gz", *mask)
    return ["masks", "--images", root, "--masks", root.parent / "masks"]


def write_segments(root: Path, slices: list[Dataset]) -> list[object]:
    write_seg(root / "seg.dcm", slices, [ReaderFinding(make_box(slices).astype(bool))])
    return ["seg", "--data-root", root]


def write_report(root: Path, slices: list[Dataset]) -> list[object]:
    findings = [ReaderFinding(make_box(slices).astype(bool))]
    write_sr(root / "sr.dcm", slices, write_seg(root / "seg.dcm", slices, findings), findings)
    return ["sr", "--data-root", root]


def write_region(root: Path, slices: list[Dataset]) -> list[object]:
    drawn = Drawn("POLYLINE", [np.vstack([SQUARE, SQUARE[:1]])], [slices[2]], diameter_mm=9.0)
    write_regions(root / "sr.dcm", slices, [drawn])
    return ["sr", "--data-root", root]


def write_contours(root: Path, slices: list[Dataset]) -> list[object]:
    contours = [make_contour((slices[at], SQUARE)) for at in (1, 2)]
    write_structure_set(root / "rt.dcm", make_structure_set(slices, {"GTV-1": contours}))
    return ["rtstruct", "--data-root", root]


SOURCES: dict[str, Write] = {
    "csv": write_points, "luna16": write_luna16, "masks": write_masks, "seg": write_segments, "sr": write_report,
    "sr with a region": write_region, "rtstruct": write_contours,
}  # fmt: skip


def read_rows(root: Path, out: Path, arguments: list[object]) -> pl.DataFrame:
    done = call("prepare", *arguments, "--out", out, "--workers", 1)
    assert done.code == 0, done.err
    assert read_roi_table(out / schema.ROI_CSV).frame.height
    return pl.read_csv(out / schema.ROI_CSV, infer_schema=False)


def check_frames(before: pl.DataFrame, after: pl.DataFrame, frames: dict[str, int], volume: Path) -> None:
    """Check that rows on frames are those on their slices."""
    place = [schema.DICOM_PATH, schema.SOP_UID]
    assert schema.FRAME not in before.columns
    assert after.drop(*place, schema.FRAME).equals(before.drop(place))
    assert set(after[schema.SOP_UID]) == {UID}
    assert after[schema.FRAME].to_list() == [str(frames[uid]) for uid in before[schema.SOP_UID]]
    assert set(after[schema.DICOM_PATH]) == {str(volume)}


@pytest.fixture
def scan(collection: Collection, tmp_path: Path) -> tuple[Path, list[Dataset]]:
    """A phantom's slices upwards, in a folder of their own."""
    root = tmp_path / "scan"
    shutil.copytree(collection.folder / "phantoms/dicom/PHANTOM-0002", root)
    for path in root.iterdir():
        data = pydicom.dcmread(path)
        data.FrameOfReferenceUID = "1.2.3.5"
        data.save_as(path)
    return root, sorted(read_slices(list(root.iterdir())), key=lambda one: float(one.ImagePositionPatient[2]))


@pytest.mark.parametrize("source", SOURCES)
def test_rows_on_frames_are_those_on_their_slices(
    scan: tuple[Path, list[Dataset]], tmp_path: Path, source: str
) -> None:
    root, slices = scan
    arguments = SOURCES[source](root, slices)
    before = read_rows(root, tmp_path / "before", arguments)
    expected = {str(one.SOPInstanceUID): read_ct_slice(Path(str(one.filename))).hu for one in slices}
    frames = convert_series(root, UID)
    after = read_rows(root, tmp_path / "after", arguments)
    check_frames(before, after, frames, root / "volume.dcm")
    for uid, frame in zip(before[schema.SOP_UID], after[schema.FRAME], strict=True):
        np.testing.assert_array_equal(read_ct_slice(root / "volume.dcm", frame=int(frame)).hu, expected[uid])
    nodules = [pl.read_csv(tmp_path / name / schema.NODULES_CSV, infer_schema=False) for name in ("before", "after")]
    pages = [(tmp_path / name / "prepare.html").read_text() for name in ("before", "after")]
    pictures = [re.findall(r'<polygon[^>]*>|data:image[^"]*', page) for page in pages]
    assert pictures[0] == pictures[1] != []
    place = [schema.DICOM_PATH, schema.SOP_UID]
    assert nodules[1].drop(*place, schema.FRAME).equals(nodules[0].drop(place))


def test_lidcs_annotations_are_placed_by_height(tmp_path: Path) -> None:
    series = Series(1)
    add(tmp_path / "root", series, [[NODULE], [OTHER]])
    arguments: list[object] = ["lidc", "--data-root", tmp_path / "root"]
    before = read_rows(tmp_path / "root", tmp_path / "before", arguments)
    frames = convert_series(series.folder(tmp_path / "root"), UID)
    after = read_rows(tmp_path / "root", tmp_path / "after", arguments)
    check_frames(before, after, frames, series.folder(tmp_path / "root") / "volume.dcm")


def test_a_table_of_frames_is_embedded_as_that_of_their_slices(
    scan: tuple[Path, list[Dataset]], tmp_path: Path, checkpoint: Path
) -> None:
    root, slices = scan
    arguments = write_contours(root, slices)
    embedded = []
    for name in ("before", "after"):
        read_rows(root, tmp_path / name, arguments)
        table, index = tmp_path / name / schema.ROI_CSV, tmp_path / f"index {name}"
        done = call("embed", "--roi-csv", table, "--model", checkpoint, "--out-dir", index, "--device", "cpu")
        assert done.code == 0, done.err
        embedded.append(np.load(index / "img_embeds.npy"))
        if name == "before":
            convert_series(root, UID)
    np.testing.assert_array_equal(*embedded)


def drop_frame(data: Dataset, element: DataElement) -> None:
    if element.keyword == "ReferencedFrameNumber":
        del data[element.tag]


def test_a_region_that_names_no_frame_is_told(scan: tuple[Path, list[Dataset]], tmp_path: Path) -> None:
    root, slices = scan
    arguments = write_region(root, slices)
    convert_series(root, UID)
    report = pydicom.dcmread(root / "sr.dcm")
    report.walk(drop_frame)
    report.save_as(root / "sr.dcm")
    done = call("prepare", *arguments, "--out", tmp_path / "out", "--workers", 1)
    assert done.code == 3
    assert f"its region names no frame of image {UID}, which has several" in done.err
