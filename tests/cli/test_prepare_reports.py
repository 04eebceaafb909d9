"""Reports with their own regions through the command: each nodule on its slice and pixel, without a segmentation."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from conftest import Collection, Outcome, call
from importers.region_reports import (
    AREA,
    CENTER,
    LENGTH,
    LONG_AXIS,
    MM,
    MM2,
    NONE,
    PERIMETER,
    SHORT_AXIS,
    Drawn,
    make_number,
    write_cornerstone,
    write_regions,
)  # fmt: skip
from importers.segmentations import ReaderFinding, read_slices, write_seg, write_sr
from noduleclip import schema
from noduleclip.exporters.dicom_sr import render
from noduleclip.exporters.finding_rows import make_finding
from noduleclip.exporters.findings import Export, Source
from noduleclip.io.dicom.placement import read_placement
from noduleclip.io.roi_table import read_roi_table

CENTER_PX = (40.25, 30.5)  # 0-based, the middle of a pixel being a whole number
ON_IMAGE = np.array(CENTER_PX) + 0.5  # as DICOM counts


@pytest.fixture(scope="module")
def scan(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phantom patients; pixels of 0.6 x 0.9 mm, the first one's slices turned by half a turn."""
    root = tmp_path_factory.mktemp("scan")
    for number in (1, 2):
        name = f"PHANTOM-{number:04d}"
        shutil.copytree(collection.folder / "phantoms/dicom" / name, root / name)
        for path in (root / name).iterdir():
            data = pydicom.dcmread(path)
            data.PixelSpacing = ["0.9", "0.6"]
            if number == 1:
                data.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
            data.save_as(path)
    return root


def slices_of(scan: Path, number: int = 1) -> list[Dataset]:
    return read_slices(sorted((scan / f"PHANTOM-{number:04d}").iterdir()))


def to_mm(image: Dataset, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
    along_row, along_column = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = map(float, image.PixelSpacing)
    origin = np.array(image.ImagePositionPatient, float)
    return np.asarray(
        origin + points_px[:, :1] * column_mm * along_row + points_px[:, 1:] * row_mm * along_column, np.float64
    )


def prepare(scan: Path, report: Path, tmp_path: Path, *more: object) -> Outcome:
    """Prepare the report on a folder that holds the scan and nothing else."""
    root = tmp_path / "root"
    if not root.exists():
        shutil.copytree(scan, root)
    shutil.move(report, root / report.name)
    return call("prepare", "sr", "--data-root", root, "--out", tmp_path / "out", "--workers", 1, *more)


def read_rows(tmp_path: Path) -> pl.DataFrame:
    return read_roi_table(tmp_path / "out" / schema.ROI_CSV).frame


def check_row(tmp_path: Path, image: Dataset, diameter_mm: float | None) -> None:
    (row,) = read_rows(tmp_path).to_dicts()
    assert row[schema.SOP_UID] == image.SOPInstanceUID
    assert (row[schema.CENTROID_X], row[schema.CENTROID_Y]) == pytest.approx(CENTER_PX, abs=0.01)
    if diameter_mm is None:
        assert row[schema.DIAMETER_MM] is None
    else:
        assert row[schema.DIAMETER_MM] == pytest.approx(diameter_mm, abs=0.01)


# As DICOM counts pixels, around CENTER_PX; 10 columns are 6 mm, 10 rows 9 mm.
DRAWN: dict[str, tuple[str, list[list[float]], float | None]] = {
    "point": ("POINT", [[0, 0]], None),
    "circle": ("CIRCLE", [[0, 0], [0, 5]], 9.0),
    "ellipse": ("ELLIPSE", [[0, -5], [0, 5], [-4, 0], [4, 0]], 9.0),
    "closed curve": ("POLYLINE", [[-6, 0], [0, -5], [6, 0], [0, 5], [-6, 0]], 9.0),
    "curve that a writer left open": ("POLYLINE", [[-6, 0], [0, -5], [6, 0], [0, 5]], 9.0),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("reported_mm", [None, 7.25])
def test_a_region_on_a_slice_is_a_nodule(scan: Path, tmp_path: Path, name: str, reported_mm: float | None) -> None:
    graphic, points, follows_mm = DRAWN[name]
    image = slices_of(scan)[1]
    drawn = Drawn(graphic, [ON_IMAGE + np.array(points)], [image], reported_mm, ratings={schema.MALIGNANCY: 2})
    done = prepare(scan, write_regions(tmp_path / "sr.dcm", [image], [drawn]), tmp_path)
    assert done.code == 0, done.err
    check_row(tmp_path, image, reported_mm or follows_mm)
    assert read_rows(tmp_path)[schema.MALIGNANCY].to_list() == [2]
    assert ("1 diameters are not reported and follow from the regions drawn" in done.err) == (
        reported_mm is None and follows_mm is not None
    )
    assert ("1 measurement groups have no diameter: points" in done.err) == (not reported_mm and not follows_mm)


@pytest.mark.parametrize("graphic", ["POINT", "POLYGON", "ELLIPSE", "ELLIPSOID"])
def test_a_region_in_space_is_a_nodule_on_the_nearest_slice(scan: Path, tmp_path: Path, graphic: str) -> None:
    image = slices_of(scan)[1]
    (center,) = to_mm(image, np.array([CENTER_PX]))
    offsets = {
        "POINT": [[0, 0, 0]],
        "POLYGON": [[4, 0, 0], [0, 3, 0], [-4, 0, 0], [0, -3, 0], [4, 0, 0]],
        "ELLIPSE": [[4, 0, 0], [-4, 0, 0], [0, 3, 0], [0, -3, 0]],
        "ELLIPSOID": [[4, 0, 0], [-4, 0, 0], [0, 3, 0], [0, -3, 0], [0, 0, 2], [0, 0, -2]],
    }
    points = center + np.array(offsets[graphic], np.float64) + np.array([0, 0, 0.2])
    drawn = Drawn(graphic, [points], [image], in_space=True)
    done = prepare(scan, write_regions(tmp_path / "sr.dcm", [image], [drawn]), tmp_path)
    assert done.code == 0, done.err
    check_row(tmp_path, image, None if graphic == "POINT" else 8.0)


def test_a_nodule_of_several_curves_lies_in_their_middle(scan: Path, tmp_path: Path) -> None:
    """Three circles on neighbouring slices, of which the middle one is the largest."""
    images = slices_of(scan)[:3]
    assert len(images) == 3
    heights = [float(image.ImagePositionPatient[2]) for image in images]
    by_height = [images[at] for at in np.argsort(heights)]
    circles = [ON_IMAGE + np.array([[0.0, 0.0], [0.0, radius]]) for radius in (3.0, 5.0, 3.0)]
    drawn = Drawn("CIRCLE", circles, by_height)
    done = prepare(scan, write_regions(tmp_path / "sr.dcm", images, [drawn]), tmp_path)
    assert done.code == 0, done.err
    check_row(tmp_path, by_height[1], 9.0)


def around(*points: Sequence[float]) -> list[list[float]]:
    return [[ON_IMAGE[0] + x, ON_IMAGE[1] + y] for x, y in points]


def make_cornerstone(image: Dataset) -> dict[str, tuple[list[Dataset], float | None]]:
    """Groups as Cornerstone3D's tools write them, and their diameters."""
    return {
        "Length": ([make_number(LENGTH, 6.2, MM, "POLYLINE", around((-5, 0), (5, 0)), image)], 6.2),
        "Bidirectional": (
            [
                make_number(SHORT_AXIS, 3.1, MM, "POLYLINE", around((1, -2), (1, 2)), image),
                make_number(LONG_AXIS, 6.1, MM, "POLYLINE", around((-5, 0), (5, 0)), image),
            ],
            6.1,
        ),
        "CircleROI": (
            [
                make_number(PERIMETER, 28.3, MM, "CIRCLE", around((0, 0), (0, 5)), image),
                make_number(AREA, 63.6, MM2),
            ],
            9.0,
        ),
        "EllipticalROI": (
            [make_number(AREA, 42.4, MM2, "ELLIPSE", around((0, -5), (0, 5), (-5, 0), (5, 0)), image)],
            9.0,
        ),
        "RectangleROI": (
            [make_number(PERIMETER, 30, MM, "POLYLINE", around((-5, -5), (5, -5), (5, 5), (-5, 5), (-5, -5)), image)],
            9.0,
        ),
        "Probe": ([make_number(CENTER, None, NONE, "POINT", around((0, 0)), image)], None),
        "ArrowAnnotate": ([make_number(CENTER, None, NONE, "POINT", around((0, 0), (20, 20)), image)], None),
    }


TOOLS = ["Length", "Bidirectional", "CircleROI", "EllipticalROI", "RectangleROI", "Probe", "ArrowAnnotate"]


@pytest.mark.parametrize("tool", TOOLS)
def test_measurements_of_cornerstone_are_nodules(scan: Path, tmp_path: Path, tool: str) -> None:
    image = slices_of(scan)[1]
    numbers, diameter_mm = make_cornerstone(image)[tool]
    done = prepare(scan, write_cornerstone(tmp_path / "sr.dcm", image, [numbers]), tmp_path)
    assert done.code == 0, done.err
    check_row(tmp_path, image, diameter_mm)


def test_an_estimated_diameter_is_used_on_request_only(scan: Path, tmp_path: Path) -> None:
    image = slices_of(scan)[1]
    circle = [ON_IMAGE + np.array([[0.0, 0.0], [0.0, 5.0]])]
    drawn = Drawn("CIRCLE", circle, [image], 8.0, codes.SCT.Estimated)
    done = prepare(scan, write_regions(tmp_path / "sr.dcm", [image], [drawn]), tmp_path)
    assert done.code == 0, done.err
    assert "1 diameters are marked as estimates and are not used" in done.err
    check_row(tmp_path, image, None)
    shutil.move(tmp_path / "root/sr.dcm", tmp_path / "sr.dcm")
    done = prepare(scan, tmp_path / "sr.dcm", tmp_path, "--estimates", "--overwrite")
    assert done.code == 0, done.err
    check_row(tmp_path, image, 8.0)


def test_groups_with_one_tracking_uid_are_readers_of_a_nodule(scan: Path, tmp_path: Path) -> None:
    """Two readers on one slice, one of whom measured another slice, too."""
    image, other = slices_of(scan)[:2]
    circle = [ON_IMAGE + np.array([[0.0, 0.0], [0.0, 5.0]])]
    spots = [Drawn("CIRCLE", circle, [one], 9.0, tracking_uid="2.25.7") for one in (image, image, other)]
    far = Drawn("CIRCLE", [ON_IMAGE + np.array([[20.0, 20.0], [20.0, 22.0]])], [other], 3.0)
    done = prepare(scan, write_regions(tmp_path / "sr.dcm", [image, other], [*spots, far]), tmp_path)
    assert done.code == 0, done.err
    rows = read_rows(tmp_path)
    together = rows.filter(pl.col(schema.DIAMETER_MM) == 9.0)
    assert together[schema.NODULE_ID].n_unique() == 1
    of_slice = together.group_by(schema.SOP_UID).agg(schema.READER)
    readers = {uid: sorted(names) for uid, names in of_slice.iter_rows()}
    assert readers == {image.SOPInstanceUID: ["1", "2"], other.SOPInstanceUID: ["1"]}
    assert rows[schema.NODULE_ID].n_unique() == 2


def test_of_several_series_in_space_the_report_names_one(scan: Path, tmp_path: Path) -> None:
    """Two reconstructions with one frame of reference: that of the evidence is used, without evidence the finer one."""
    root = tmp_path / "root"
    shutil.copytree(scan, root)
    fine = slices_of(scan)
    (root / "coarse").mkdir()
    coarse = []
    for number, data in enumerate(fine[::2]):
        data.SeriesInstanceUID, data.SOPInstanceUID = "1.2.3.4", f"1.2.3.4.{number}"
        data.SliceThickness = "9"
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.save_as(root / f"coarse/{number}.dcm")
        coarse.append(data)
    place = to_mm(coarse[0], np.array([CENTER_PX]))
    finer = slices_of(scan)
    for evidence, is_kept, series_uid in (
        (coarse, True, "1.2.3.4"),
        (finer, True, finer[0].SeriesInstanceUID),
        (coarse, False, finer[0].SeriesInstanceUID),
    ):
        path = write_regions(tmp_path / "sr.dcm", evidence, [Drawn("POINT", [place], [coarse[0]], in_space=True)])
        if not is_kept:
            data = pydicom.dcmread(path)
            del data.CurrentRequestedProcedureEvidenceSequence
            data.save_as(path)
        done = prepare(scan, path, tmp_path, "--overwrite")
        assert done.code == 0, done.err
        assert read_rows(tmp_path)[schema.SERIES_UID].to_list() == [series_uid]
        assert "1 places in space lie in several series" in done.err or is_kept


def test_our_own_reports_give_the_same_nodules(scan: Path, tmp_path: Path) -> None:
    """Of two series; measured, with the ratings of readers and means of them, estimated only, and a bare place."""
    images = [slices_of(scan, number)[at] for number, at in ((1, 1), (1, 2), (2, 0), (2, 1))]
    estimates = {schema.ESTIMATED_DIAMETER: 7.5, schema.ESTIMATED_PREFIX + schema.MARGIN: 4.0}
    rows: list[dict[str, Any]] = [
        {schema.DIAMETER_MM: 8.245, schema.MALIGNANCY: 5.0, schema.TEXTURE: 3.5, schema.READERS: 2, **estimates},
        {schema.DIAMETER_MM: 11.0, schema.CALCIFICATION: 6.0, schema.INTERNAL_STRUCTURE: 1.0},
        {schema.DIAMETER_MM: None, **estimates},
        {schema.DIAMETER_MM: None},
    ]
    findings = []
    for number, (image, row) in enumerate(zip(images, rows, strict=True)):
        place = {schema.CENTROID_X: 30.0 + 3.21 * number, schema.CENTROID_Y: 25.5, schema.RANK: number + 1}
        path = Path(str(image.filename))
        findings.append(make_finding({**row, **place}, read_placement(path), path))
    files = list(render(Export(pl.DataFrame(), Source((), "lidc", "0123"), tuple(findings)), tmp_path / "hits.dcm"))
    assert [file.count for file in files] == [2, 2]
    root = tmp_path / "root"
    shutil.copytree(scan, root)
    for file in files:
        (root / file.path.name).write_bytes(file.content)
    done = call("prepare", "sr", "--data-root", root, "--out", tmp_path / "out", "--workers", 1)
    assert done.code == 0, done.err
    assert "1 diameters are marked as estimates and are not used" in done.err
    found = {row[schema.SOP_UID]: row for row in read_rows(tmp_path).to_dicts()}
    for finding in findings:
        row = found[finding.sop_uid]
        center_px = np.array([[row[schema.CENTROID_X], row[schema.CENTROID_Y]]])
        assert np.abs(finding.plane.to_patient(center_px)[0] - finding.center_mm).max() < 0.1
        assert row[schema.DIAMETER_MM] == finding.measured_mm
        ratings = {name: row[name] for name in schema.RATING_COLUMNS if row[name] is not None}
        assert ratings == finding.ratings
    again = tmp_path / "with estimates"
    done = call("prepare", "sr", "--data-root", root, "--out", again, "--workers", 1, "--estimates")
    assert done.code == 0, done.err
    found = {row[schema.SOP_UID]: row for row in read_roi_table(again / schema.ROI_CSV).frame.to_dicts()}
    assert [found[finding.sop_uid][schema.DIAMETER_MM] for finding in findings] == [8.245, 11.0, 7.5, None]
    assert [found[finding.sop_uid][schema.MARGIN] for finding in findings] == [4.0, None, 4.0, None]


def write_own(scan: Path, folder: Path, kinds: Sequence[str]) -> list[Path]:
    """Write a report of noduleclip for each kind of diameters, on a slice of the first patient."""
    files = []
    for number, kind in enumerate(kinds):
        path = Path(str(slices_of(scan)[number].filename))
        place = {schema.CENTROID_X: 30.0, schema.CENTROID_Y: 25.5, schema.RANK: 1}
        row = {**place, schema.DIAMETER_MM: 8.0, schema.DIAMETER_KIND: kind}
        finding = make_finding(row, read_placement(path), path)
        (file,) = render(Export(pl.DataFrame(), Source((), "m", "0"), (finding,)), folder / f"own {number}.dcm")
        file.path.write_bytes(file.content)
        files.append(file.path)
    return files


@pytest.mark.parametrize("kind", ["in-slice", "axes-mean", "equivalent", "3d", "volume", "unknown"])
def test_a_report_of_ours_says_what_its_diameters_are(scan: Path, tmp_path: Path, kind: str) -> None:
    done = prepare(scan, write_own(scan, tmp_path, [kind])[0], tmp_path)
    assert done.code == 0, done.err
    assert read_rows(tmp_path)[schema.DIAMETER_KIND].to_list() == [kind]
    done = prepare(scan, write_own(scan, tmp_path, [kind])[0], tmp_path, "--overwrite", "--diameter-kind", "volume")
    assert done.code == 0, done.err
    assert read_rows(tmp_path)[schema.DIAMETER_KIND].to_list() == ["volume"]
    contradicts = (
        f"1 diameters are of kind {kind} as their reports say, recorded is volume (--diameter-kind)" in done.err
    )
    assert contradicts == (kind not in ("volume", "unknown"))


def test_reports_of_several_kinds_are_refused(scan: Path, tmp_path: Path) -> None:
    """Other producers' diameters are pylidc's, as those of the standardised LIDC annotations."""
    image = slices_of(scan)[2]
    groups = [Drawn("CIRCLE", [np.array([ON_IMAGE, ON_IMAGE + 4])], [image], diameter_mm=7.0)]
    other = write_regions(tmp_path / "other.dcm", slices_of(scan), groups)
    assert prepare(scan, other, tmp_path).code == 0
    assert read_rows(tmp_path)[schema.DIAMETER_KIND].to_list() == ["3d"]
    refused = prepare(scan, write_own(scan, tmp_path, ["in-slice"])[0], tmp_path, "--overwrite")
    assert refused.code == 3
    assert "diameters of several kinds, 1 of kind in-slice and 1 of kind 3d" in refused.err.replace(
        "1 of kind 3d and 1 of kind in-slice", "1 of kind in-slice and 1 of kind 3d"
    )
    assert "--diameter-kind unknown" in refused.err
    done = prepare(
        scan, write_own(scan, tmp_path, ["in-slice"])[0], tmp_path, "--overwrite", "--diameter-kind", "unknown"
    )
    assert done.code == 0, done.err
    assert read_rows(tmp_path)[schema.DIAMETER_KIND].to_list() == ["unknown"] * 2


def test_bad_regions_are_rejected_one_by_one(scan: Path, tmp_path: Path) -> None:
    image = slices_of(scan)[1]
    names = ("NaN", "no image", "beside", "large", "sound")
    groups = [
        [make_number(CENTER, None, NONE, "POINT", [[math.nan, 3.0]], image)],
        [make_number(CENTER, None, NONE, "POINT", around((0, 0)), None)],
        [make_number(CENTER, None, NONE, "POINT", [[-40.0, 3.0]], image)],
        [make_number(LENGTH, 240.0, MM, "POLYLINE", around((-5, 0), (5, 0)), image)],
        [make_number(LENGTH, 6.2, MM, "POLYLINE", around((-5, 0), (5, 0)), image)],
    ]
    assert len(groups) == len(names)
    done = prepare(scan, write_cornerstone(tmp_path / "sr.dcm", image, groups), tmp_path, "--max-rejects", 0.9)
    assert done.code == 0, done.err
    check_row(tmp_path, image, 6.2)
    rejects = pl.read_csv(tmp_path / "out" / schema.REJECTS_CSV)
    reasons = dict(zip(rejects[schema.REJECT_REASON], rejects[schema.REJECT_CODE], strict=True))
    for code, reason in {
        "its POINT has the coordinate nan": "bad-report",
        "its region names no image": "bad-report",
        "lies outside slice": "outside",
        "its diameter is 240 mm, not in (0, 100] mm": "no-diameter",
    }.items():
        assert [found for text, found in reasons.items() if code in text] == [reason]


def test_a_region_on_an_image_that_is_not_here_is_told(scan: Path, tmp_path: Path) -> None:
    image = slices_of(scan)[1]
    absent = slices_of(scan)[1]
    absent.SOPInstanceUID = "1.2.3.999"
    groups: list[Any] = [
        [make_number(LENGTH, 6.2, MM, "POLYLINE", around((-5, 0), (5, 0)), one)] for one in (image, absent)
    ]
    done = prepare(scan, write_cornerstone(tmp_path / "sr.dcm", image, groups), tmp_path)
    assert done.code == 0, done.err
    assert "1 annotations are of series that are not below" in done.err
    check_row(tmp_path, image, 6.2)


def test_segments_and_regions_of_one_folder_are_read_together(scan: Path, tmp_path: Path) -> None:
    images = slices_of(scan)
    mask = np.zeros((len(images), images[0].Rows, images[0].Columns), bool)
    mask[1, 60:71, 20:31] = True
    root = tmp_path / "root"
    shutil.copytree(scan, root)
    readings = [ReaderFinding(mask, diameter_mm=5.5)]
    write_sr(root / "of segment.dcm", images, write_seg(root / "seg.dcm", images, readings), readings)
    circle = [ON_IMAGE + np.array([[0.0, 0.0], [0.0, 5.0]])]
    path = write_regions(tmp_path / "sr.dcm", images, [Drawn("CIRCLE", circle, [images[2]], 7.25)])
    done = prepare(scan, path, tmp_path)
    assert done.code == 0, done.err
    rows = read_rows(tmp_path).sort(schema.DIAMETER_MM)
    assert rows[schema.DIAMETER_MM].to_list() == [5.5, 7.25]
    assert rows[schema.CENTROID_X].to_list() == pytest.approx([25.0, CENTER_PX[0]], abs=0.01)
    assert rows[schema.CENTROID_Y].to_list() == pytest.approx([65.0, CENTER_PX[1]], abs=0.01)


def test_reports_without_a_place_are_told(scan: Path, tmp_path: Path) -> None:
    image = slices_of(scan)[1]
    path = write_cornerstone(tmp_path / "sr.dcm", image, [[make_number(LENGTH, 6.2, MM)]])
    done = prepare(scan, path, tmp_path)
    assert done.code == 3
    assert "no report says where a nodule is: none of 1 measurement groups has a region" in done.err
