"""Tables of places in mm: what can be meant is read, what cannot is refused by row and column."""

import math
import re
from pathlib import Path

import pytest

from noduleclip import schema
from noduleclip.errors import InputError, RejectCode, UsageError
from noduleclip.importers.annotations import Sphere
from noduleclip.importers.coordinates import Coordinates, PixelPlace
from noduleclip.importers.point_columns import parse_column_map
from noduleclip.importers.point_table import PointOptions, PointTable, read_point_table

NEEDED = ", where a number in (0, 100] mm is needed"
POINT = " (decimal point, no unit)"
LUNA16 = "seriesuid,coordX,coordY,coordZ,diameter_mm"
UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1002252872223"


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "annotations.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        f"{LUNA16}\n{UID},-128.5,-175.25,-298.5,5.5\n",
        f"\ufeff{LUNA16}\r\n{UID},-128.5,-175.25,-298.5,5.5\r\n\r\n",
        f"X,Y,Z,Diameter_MM,SeriesUID\n-128.5, -175.25 ,-298.5,5.5, {UID} \n",
        f"class,z,y,x,diameter_mm,series_uid\n1,-298.5,-175.25,-128.5,5.5,{UID}\n",
    ],
    ids=["LUNA16", "BOM and CRLF", "other case and spaces", "other order and columns"],
)
def test_a_row_is_a_sphere(tmp_path: Path, content: str) -> None:
    found = read_point_table(write(tmp_path, content))
    assert (found.spheres, found.rejected) == ([Sphere(UID, (-128.5, -175.25, -298.5), 5.5, name="row 1")], [])


def test_ras_is_turned_to_lps(tmp_path: Path) -> None:
    path = write(tmp_path, f"{LUNA16}\n{UID},1,2,3,4\n")
    assert read_point_table(path, PointOptions(coordinates=Coordinates.RAS)).spheres[0].center_mm == (-1.0, -2.0, 3.0)


def test_what_readers_said_is_taken_over(tmp_path: Path) -> None:
    header = "x,y,z,diameter_mm,seriesuid,patient_id,nodule_id,reader,malignancy,calcification"
    path = write(tmp_path, f"{header}\n1,2,3,4,{UID},P7,N2,2,5,\n1,2,3,4,{UID},,,,,6\n")
    first, second = read_point_table(path).spheres
    assert (first.patient_id, first.nodule_id, first.reader, first.ratings) == ("P7", "N2", "2", {schema.MALIGNANCY: 5})
    assert (second.patient_id, second.ratings) == ("", {schema.CALCIFICATION: 6})


def test_means_of_readers_are_kept_and_what_is_off_the_scale_is_missing(tmp_path: Path) -> None:
    header = "x,y,z,seriesuid,margin,texture,calcification,malignancy"
    path = write(tmp_path, f"{header}\n1,2,3,{UID},3.67,6,4.5,0\n4,5,6,{UID},4,5.0,6,\n")
    found = read_point_table(path)
    assert [sphere.ratings for sphere in found.spheres] == [
        {schema.MARGIN: 3.67},
        {schema.MARGIN: 4, schema.TEXTURE: 5, schema.CALCIFICATION: 6},
    ]
    (remark,) = found.remarks
    assert remark.startswith("3 ratings off their scale, taken as missing; first: row 1, calcification 4.5")
    assert "not a whole number in [1, 6]" in remark


def test_a_place_without_a_diameter_is_a_point(tmp_path: Path) -> None:
    alone = read_point_table(write(tmp_path, f"seriesuid,coordX,coordY,coordZ\n{UID},1,2,3\n"))
    assert alone.spheres == [Sphere(UID, (1.0, 2.0, 3.0), None, name="row 1")]
    mixed = read_point_table(write(tmp_path, f"{LUNA16}\n{UID},1,2,3,\n{UID},4,5,6,NaN\n{UID},7,8,9,4\n"))
    assert [sphere.diameter_mm for sphere in mixed.spheres] == [None, None, 4.0]
    assert not mixed.rejected


def test_a_score_is_known_by_the_names_that_detectors_use(tmp_path: Path) -> None:
    for name in ("score", "probability", "Confidence", "detection_score"):
        path = write(tmp_path, f"seriesuid,coordX,coordY,coordZ,{name}\n{UID},1,2,3,0.25\n{UID},4,5,6,\n")
        assert [sphere.score for sphere in read_point_table(path).spheres] == [0.25, None], name


def test_the_longer_side_in_the_plane_is_the_diameter_of_a_box(tmp_path: Path) -> None:
    path = write(tmp_path, f"seriesuid,x,y,z,w,h,d\n{UID},1,2,3,4,6,9\n{UID},1,2,3,4,0,9\n")
    found = read_point_table(path)
    assert [sphere.diameter_mm for sphere in found.spheres] == [6.0]
    assert found.rejected[0].reason == f"{path}: row 2: w, h, d are 4, 0, 9, no sides of a box"


@pytest.mark.parametrize(
    ("coordinates", "base", "position"),
    [("voxel", 0, (10.5, 20, 30)), ("voxel", 1, (9.5, 19, 29)), ("instance", 0, (10.5, 20, 30)),
     ("instance", 1, (9.5, 19, 30))],
)  # fmt: skip
def test_places_in_pixels_wait_for_their_series(
    tmp_path: Path, coordinates: str, base: int, position: tuple[float, float, float]
) -> None:
    options = PointOptions(coordinates=Coordinates(coordinates), index_base=base)
    (sphere,) = read_point_table(write(tmp_path, f"seriesuid,x,y,z\n{UID},10.5,20,30\n"), options).spheres
    assert sphere.pixel_place == PixelPlace(position, Coordinates(coordinates))
    assert all(math.isnan(part) for part in sphere.center_mm)


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    path = write(tmp_path, 'Case,px,py,pz,"Size (mm, max)",x\nA,1,2,3,7,99\n')
    columns = parse_column_map("PatientID=case, x=px,coordY=py,z=pz,diameter_mm=Size (mm, max)")
    (sphere,) = read_point_table(path, PointOptions(columns=columns)).spheres
    assert (sphere.patient_id, sphere.center_mm, sphere.diameter_mm) == ("A", (1.0, 2.0, 3.0), 7.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("diam=Size", "--map: 'diam' is no known column; did you mean 'diameter_mm'"),
        ("Size", "--map: 'Size' is no pair; write KNOWN=COLUMN"),
        ("x=", "--map: x= names no column"),
        ("x=a,coordX=b", "--map: x stands twice"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_column_map(text)


def test_a_mapped_or_kept_column_that_is_missing_names_what_is_near(tmp_path: Path) -> None:
    path = write(tmp_path, f"{LUNA16},DiamEq_Rad\n{UID},1,2,3,4,5\n")
    with pytest.raises(InputError, match=r"--map diameter_mm: no column 'DiamEqRad'; did you mean 'DiamEq_Rad'"):
        read_point_table(path, PointOptions(columns={schema.DIAMETER_MM: "DiamEqRad"}))
    with pytest.raises(InputError, match=r"--keep: no column 'label'; found seriesuid, coordX"):
        read_point_table(path, PointOptions(keep=("label",)))
    for name in ("x", schema.SERIES_UID, "similarity"):
        other = write(tmp_path, f"seriesuid,coordX,coordY,coordZ,{name}\n{UID},1,2,3,4\n")
        with pytest.raises(UsageError, match="--keep: the ROI table has its own column"):
            read_point_table(other, PointOptions(keep=(name,), columns={"x": "coordX", schema.SERIES_UID: "seriesuid"}))


def test_further_columns_are_kept_as_text(tmp_path: Path) -> None:
    path = write(tmp_path, f"{LUNA16},label,Age\n{UID},1,2,3,4,1, 62 \n{UID},4,5,6,4,,\n")
    spheres = read_point_table(path, PointOptions(keep=("LABEL", "Age"))).spheres
    assert [sphere.extra for sphere in spheres] == [{"label": "1", "Age": "62"}, {}]


def test_duplicate_rows_count_once(tmp_path: Path) -> None:
    path = write(tmp_path, f"{LUNA16},class\n{UID},1,2,3,4,0\n{UID},1,2,3,4,1\n{UID},1,2,3,5,0\n")
    found = read_point_table(path)
    assert [sphere.name for sphere in found.spheres] == ["row 1", "row 3"]
    assert found.remarks == [f"{path}: dropped 1 duplicate row(s)"]


def read_preset(tmp_path: Path, content: str, preset: str) -> PointTable:
    """Read a table as recognised, which has to be the same as with the preset named."""
    path = write(tmp_path, content)
    found = read_point_table(path)
    assert found.preset == preset
    assert repr(read_point_table(path, PointOptions(preset=preset))) == repr(found)
    return found


def test_luna25_is_recognised(tmp_path: Path) -> None:
    header = (
        "PatientID,SeriesInstanceUID,StudyDate,CoordX,CoordY,CoordZ,LesionID,AnnotationID,NoduleID,label,"
        "Age_at_StudyDate,Gender"
    )
    rows = [f"10,{UID},19990102,1.5,-2.5,3,1,10_1_19990102,10_1,1,61,Male"]
    rows.append(f"10,{UID}9,20000103,1.5,-2.5,4,1,10_1_20000103,10_1,1,62,Male")
    first, second = read_preset(tmp_path, "\n".join((header, *rows)) + "\n", "luna25").spheres
    assert (first.series_uid, first.patient_id, first.center_mm, first.diameter_mm) == (UID, "10", (1.5, -2.5, 3), None)
    assert first.extra == {
        "NoduleID": "10_1", "label": "1", "StudyDate": "19990102", "Age_at_StudyDate": "61", "Gender": "Male",
    }  # fmt: skip
    assert (first.nodule_id, second.nodule_id) == ("10_1_19990102", "10_1_20000103"), "of two scans: two rows"


def test_lndb_of_all_findings_is_recognised(tmp_path: Path) -> None:
    header = (
        "LNDbID,RadID,RadFinding,FindingID,Nodule,x,y,z,DiamEq_Rad,Texture,Calcification,InternalStructure,Lobulation,"
        "Malignancy,Margin,Sphericity,Spiculation,Subtlety,Lobe,TextInstanceID,Where"
    )
    rows = [
        '1,"1,2,3","1,1,2",1,"1,0,1",-68.5,-30.1,-120.2,6.25,4.67,6,1,1.33,2.5,4,4,1,3.67,2,,RadAnnotation',
        '1,"1,2","2,3",2,"0,0",10,20,30,3.5,,,,,,,,,,3,,RadAnnotation',
        "23,,,3,1,,,,4,5,,,,,,,,,1,0,TextReport",
        "23,2,1,1,1,1,2,3,,5,4.5,1,1,0,5,5,1,5,1,0,TextReport+RadAnnotation",
    ]
    found = read_preset(tmp_path, "\n".join((header, *rows)) + "\n", "lndb")
    first, second = found.spheres
    assert (first.series_uid, first.patient_id, first.reader, first.nodule_id) == (
        "LNDb-0001",
        "LNDb-0001",
        "1,2,3",
        "1",
    )
    assert (first.center_mm, first.diameter_mm, found.diameter_kind) == ((-68.5, -30.1, -120.2), 6.25, "volume")
    assert first.ratings[schema.TEXTURE] == 4.67
    assert first.ratings[schema.SUBTLETY] == 3.67
    assert first.ratings[schema.INTERNAL_STRUCTURE] == 1
    assert first.extra == {"Lobe": "2", "Where": "RadAnnotation"}
    assert (second.series_uid, second.diameter_mm) == ("LNDb-0023", None)
    assert schema.MALIGNANCY not in second.ratings, "0 is none"
    assert schema.CALCIFICATION not in second.ratings, "kinds have no mean"
    assert found.counts == {
        "rows that are no nodules, left out": 1, "rows without a place, left out": 1,
        "ratings off their scale, taken as missing": 2,
    }  # fmt: skip


def test_lndb_of_the_challenge_is_recognised(tmp_path: Path) -> None:
    header = "LNDbID,RadID,RadFindingID,FindingID,x,y,z,AgrLevel,Nodule,Volume,Text"
    merged = read_preset(tmp_path, f'{header}\n1.0,"1,3","1,2",4,1,2,3,2,1.0,113.0973,4.5\n', "lndb").spheres[0]
    assert (merged.diameter_mm, merged.volume_mm3) == (6.0, 113.0973)
    assert (merged.series_uid, merged.nodule_id, merged.ratings) == ("LNDb-0001", "4", {schema.TEXTURE: 4.5})
    of_readers = read_preset(
        tmp_path, "LNDbID,RadID,FindingID,x,y,z,Nodule,Volume,Text\n12,1,1,1,2,3,1,50,5\n12,2,1,1,2,3,1,0,5\n", "lndb"
    )
    assert [(one.reader, one.nodule_id, one.diameter_mm) for one in of_readers.spheres] == [
        ("1", "", pytest.approx(4.571)), ("2", "", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        "Scan Number,Nodule Number,Diagnosis,DICOM x,DICOM y,DICOM Slice\nLUNGx-CT001,2,Benign nodule,318,67,145\n",
        (
            'Scan Number,Nodule Number,"Nodule Center x,y Position*",Nodule Center Image,Diagnosis\n'
            'LUNGx-CT001,2,"318, 67",145,Benign nodule\n,,,,\n"*of the centre",,,,\n'
        ),
        (
            'Scan number,Nodule Number,"Nodule Center x,y Position*",Nodule Center Image,Diagnosis\n'
            "LUNGx-CT001,2,318067,145,Benign nodule\n"
        ),
    ],
    ids=["columns", "a cell", "a number"],
)
def test_lungx_is_recognised(tmp_path: Path, content: str) -> None:
    found = read_preset(tmp_path, content, "lungx")
    (sphere,) = found.spheres
    assert sphere.pixel_place == PixelPlace((318, 67, 145), Coordinates.INSTANCE)
    assert (sphere.series_uid, sphere.patient_id, sphere.nodule_id) == ("", "LUNGx-CT001", "2")
    assert sphere.extra == {"Diagnosis": "Benign nodule"}
    assert not found.rejected
    (remark,) = found.remarks
    assert "its columns and rows are taken to count from 0" in remark
    settled = read_point_table(write(tmp_path, content), PointOptions(index_base=1))
    assert settled.remarks == []
    assert settled.spheres[0].pixel_place == PixelPlace((317, 66, 145), Coordinates.INSTANCE)


def test_tables_of_boxes_are_recognised(tmp_path: Path) -> None:
    content = "SAMPLE_ID,ct_path,seg_path,coordX,coordY,coordZ,w,h,d\nA,ct/a.nii.gz,seg/a.nii.gz,1,-2,3,6,8,20\n"
    (sphere,) = read_preset(tmp_path, content, "boxes").spheres
    assert sphere == Sphere("ct/a.nii.gz", (1, -2, 3), 8, name="row 1", patient_id="A")
    header = "patient-id,nodule_id,ct_nifti_file,coordX,coordY,coordZ,w,h,d,Malignant_lbl,benchmark_split"
    (sphere,) = read_preset(tmp_path, f"{header}\nDLCS_1,N1,DLCS_1.nii.gz,1,2,3,4.4,4.3,5,0,train\n", "boxes").spheres
    assert (sphere.series_uid, sphere.patient_id, sphere.nodule_id) == ("DLCS_1.nii.gz", "DLCS_1", "N1")
    assert sphere.extra == {"Malignant_lbl": "0", "benchmark_split": "train"}


def test_a_preset_gives_way_to_what_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, "LNDbID,x,y,z,DiamEq_Rad,Longest\n7,1,2,3,6,8\n")
    options = PointOptions(columns={schema.DIAMETER_MM: "Longest"}, coordinates=Coordinates.RAS)
    (sphere,) = read_point_table(path, options).spheres
    assert (sphere.center_mm, sphere.diameter_mm) == ((-1, -2, 3), 8)
    with pytest.raises(InputError, match="no column for series_uid"):
        read_point_table(path, PointOptions(preset="none"))
    with pytest.raises(InputError, match=r"--preset luna25: needs the columns annotationid, coordx, noduleid"):
        read_point_table(path, PointOptions(preset="luna25"))


@pytest.mark.parametrize(
    ("row", "code", "reason"),
    [
        (f"{UID},1,,3,4", RejectCode.OUTSIDE, "row 1: x, y, z are 1, empty, 3, no place in mm"),
        (f"{UID},1,inf,3,4", RejectCode.OUTSIDE, "row 1: x, y, z are 1, inf, 3, no place in mm"),
        (f"{UID},1,2,3,0", RejectCode.NO_DIAMETER, "row 1: diameter_mm is 0" + NEEDED),
        (f"{UID},1,2,3,101", RejectCode.NO_DIAMETER, "row 1: diameter_mm is 101" + NEEDED),
        (" ,1,2,3,4", RejectCode.NO_SERIES, "row 1: names no series and no patient"),
        (f"{UID},1,2,3,6 mm", RejectCode.BAD_NUMBER, "row 1, column diameter_mm: '6 mm' is not a number" + POINT),
        (f'{UID},"1,5",2,3,6', RejectCode.BAD_NUMBER, "row 1, column x: '1,5' is not a number" + POINT),
    ],
)
def test_a_row_that_gives_none_is_told(tmp_path: Path, row: str, code: RejectCode, reason: str) -> None:
    path = write(tmp_path, f"{LUNA16}\n{row}\n{UID},1,2,3,4\n")
    found = read_point_table(path)
    (rejected,) = found.rejected
    assert [sphere.name for sphere in found.spheres] == ["row 2"]
    assert (rejected.code, rejected.reason) == (code, f"{path}: {reason}")


@pytest.mark.parametrize("score", ["inf", "-inf"])
def test_a_score_that_is_not_finite_rejects_its_row(tmp_path: Path, score: str) -> None:
    found = read_point_table(write(tmp_path, f"seriesuid,x,y,z,score\nA,1,2,3,{score}\nB,1,2,3,nan\nC,1,2,3,0.5\n"))
    assert [(sphere.series_uid, sphere.score) for sphere in found.spheres] == [("B", None), ("C", 0.5)]
    (rejected,) = found.rejected
    assert rejected.code is RejectCode.BAD_NUMBER
    assert "row 1: its score is not finite" in rejected.reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (f"{LUNA16}\n", "has a header but no rows"),
        (f"{LUNA16}\n{UID},1,2,3,4\n".encode("utf-16"), "is encoded in UTF-16; save it as UTF-8"),
        (f"{LUNA16}\n\xe9,1,2,3,4\n".encode("latin-1"), "line 2 is not UTF-8"),
        (LUNA16.replace(",", ";") + f"\n{UID};1;2;3;4\n", "is separated by ';' or tabs"),
        (f"{LUNA16}\n{UID},1,2\n", "row 1 has 3 cells, the header has 5"),
        (f"{LUNA16},coordX\n{UID},1,2,3,4,5\n", "column 'coordX' stands twice in the header"),
        (f"{LUNA16},x\n{UID},1,2,3,4,5\n", "columns 'coordX' and 'x' mean the same; leave one of them out"),
        (f"{LUNA16.replace('coordZ', 'CoordinateZ')}\n{UID},1,2,3,4\n", "no column for z; did you mean 'CoordinateZ'?"),
        ("a,b,c\n1,2,3\n", "no column for x; needed are x, y, z (or coordX"),
        ("a,b,c\n1,2,3\n", "found a, b, c; name them with --map x=COLUMN, or use a --preset"),
        ("coordX,coordY,coordZ\n1,2,3\n", "no column for series_uid; needed are"),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=re.escape(f"{path}: ") + ".*" + re.escape(message)):
        read_point_table(path)


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such table of places"):
        read_point_table(tmp_path / "none.csv")
