"""Tables as people export them: what can be meant is read, what cannot is refused by row and column."""

import gzip
import json
import re
import tempfile
import zlib
from pathlib import Path

import polars as pl
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import FileMetaDataset

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.roi_table import read_roi_table, select_patients
from noduleclip.io.slice_crops import CutSettings
from noduleclip.io.suspicions import find_suspicions
from noduleclip.io.text_table import format_csv, guard_cells, read_text_frame

HEADER = "dicom_path,diameter_mm,bbox_xmin,bbox_ymin,bbox_xmax,bbox_ymax,patient_id"
ROW = "a.dcm,5.5,1,2,4,6,P1"


def write_table(folder: Path, *lines: str, header: str = HEADER, encoding: str = "utf-8", newline: str = "\n") -> Path:
    path = folder / "rois.csv"
    path.write_bytes(newline.join([header, *lines, ""]).encode(encoding))
    return path


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{ROW}\n",
        f"{HEADER}\n{ROW}",
        f"{HEADER}\r\n{ROW}\r\n",
        f"\ufeff{HEADER}\n{ROW}\n",
        f"{HEADER}\n{ROW}\n\n\n",
        f"{HEADER}\n{ROW}\n,,,,,,\n",
        f"{HEADER.replace(',', ' , ')}\n{ROW.replace(',5.5,', ', 5.5 ,')}\n",
        f'{HEADER}\n"a.dcm","5.5",1,2,4,6,"P1"\n',
    ],
    ids=["plain", "no last newline", "CRLF", "BOM", "blank lines", "empty cells below", "spaces", "quoted"],
)
def test_a_sound_table_is_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rois.csv"
    path.write_text(content, encoding="utf-8", newline="")
    table = read_roi_table(path)
    assert table.duplicates == 0
    (row,) = table.frame.to_dicts()
    assert row[schema.CSV_ROW] == 1
    assert row[schema.DIAMETER_MM] == 5.5
    assert row[schema.PATIENT_ID] == "P1"
    assert (row[schema.CENTER_X], row[schema.CENTER_Y]) == (2.5, 4.0)
    assert row[schema.ABSOLUTE_PATH] == str(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (HEADER.encode(), "has a header but no rows"),
        (f"{HEADER}\n\n,,,,,,\n".encode(), "has a header but no rows"),
        (f"{HEADER}\n{ROW}\nb.dcm,5,1,2,3,4\n".encode(), "row 2 has 6 cells, the header has 7"),
        (f"{HEADER}\n{ROW},more\n".encode(), "not a comma-separated table with equally long rows"),
        (f'{HEADER}\n"a.dcm,5,1,2,3,4,p\n'.encode(), "not a comma-separated table"),
        (f"{HEADER}\n{ROW}\n".replace(",", ";").encode(), "is separated by ';' or tabs"),
        (f"{HEADER}\n{ROW}\n".replace(",", "\t").encode(), "is separated by ';' or tabs"),
        (f"{HEADER}\n{ROW}\n".encode("utf-16"), "is encoded in UTF-16"),
        (b"\xfe\xff" + f"{HEADER}\n{ROW}\n".encode("utf-16-be"), "is encoded in UTF-16"),
        (f"{HEADER}\n{ROW}\nä.dcm,5,1,2,3,4,P\n".encode("latin-1"), r"line 3 is not UTF-8 \(latin-1\?\)"),
        (zlib.compress(f"{HEADER}\n{ROW}\n".encode(), 0), "is compressed by .*; unpack it"),
        (zlib.compress(f"{HEADER}\n{ROW}\n".encode(), 9), "is compressed by .*; unpack it"),
        (gzip.compress(f"{HEADER}\n{ROW}\n".encode(), mtime=0), "is compressed by .*; unpack it"),
        (f"{HEADER},diameter_mm\n{ROW},7\n".encode(), "column 'diameter_mm' stands twice"),
        (f"{HEADER}, diameter_mm\n{ROW},7\n".encode(), "column 'diameter_mm' stands twice"),
        (
            f"{HEADER}\n{ROW}\n".replace("diameter_mm", "size").encode(),
            "column 'diameter_mm' is missing; .*found .*size",
        ),
        (f"{HEADER}\n{ROW}\n".replace("\n", "\r").encode(), "the header line is not CSV"),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rois.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"rois\.csv: {message}"):
        read_roi_table(path)


def test_a_table_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: no such ROI table"):
        read_roi_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is a folder; the ROI table is a file"):
        read_roi_table(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b.dcm,6 mm,1,2,4,6,P", "row 2, column diameter_mm: '6 mm' is not a number"),
        ('b.dcm,"6,5",1,2,4,6,P', "row 2, column diameter_mm: '6,5' is not a number"),
        ("b.dcm,5,1,2,4px,6,P", "row 2, column bbox_xmax: '4px' is not a number"),
        ("b.dcm,5,4,2,1,6,P", r"row 2, columns bbox_xmin.*\[4.0, 2.0, 1.0, 6.0\] is not a box"),
        ("b.dcm,5,1,6,4,2,P", "row 2, .*is not a box with min <= max"),
        ("b.dcm,5,,2,4,6,P", "row 2, .*is not a box"),
        ("b.dcm,5,NaN,2,4,6,P", "row 2, .*is not a box"),
        ("b.dcm,5,1,2,inf,6,P", "row 2, .*is not a box"),
        (",5,1,2,4,6,P", "row 2, column dicom_path: is empty"),
        ("  ,5,1,2,4,6,P", "row 2, column dicom_path: is empty"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_column(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"rois\.csv: {message}"):
        read_roi_table(write_table(tmp_path, ROW, row))


def test_a_blank_line_counts_as_a_row_of_the_file(tmp_path: Path) -> None:
    assert read_roi_table(write_table(tmp_path, ROW, "", "b" + ROW)).frame[schema.CSV_ROW].to_list() == [1, 3]
    with pytest.raises(InputError, match="row 3, column diameter_mm"):
        read_roi_table(write_table(tmp_path, ROW, "", "b.dcm,x,1,2,4,6,P"))


def test_boxes_may_be_negative_fractional_or_one_pixel(tmp_path: Path) -> None:
    frame = read_roi_table(write_table(tmp_path, "a.dcm,5,-3.5,2,4,6,P", "a.dcm,5,7,7,7,7,P")).frame
    assert frame[schema.CENTER_X].to_list() == [0.25, 7]


@pytest.mark.parametrize("text", ["", "NaN", "nan", "inf", "-inf", "0", "-3", "100.01", "1e300"])
def test_what_is_no_diameter_becomes_null(tmp_path: Path, text: str) -> None:
    table = read_roi_table(write_table(tmp_path, f"a.dcm,{text},1,2,4,6,P", "a.dcm,100,1,2,4,6,P"))
    assert table.frame[schema.DIAMETER_MM].to_list() == [None, 100]


@given(diameter=st.floats(min_value=0, max_value=100, exclude_min=True))
def test_diameters_keep_every_bit(tmp_path_factory: pytest.TempPathFactory, diameter: float) -> None:
    path = write_table(tmp_path_factory.getbasetemp(), f"a.dcm,{diameter!r},1,2,4,6,P")
    assert read_roi_table(path).frame[schema.DIAMETER_MM].to_list() == [diameter]


def test_exact_duplicates_are_dropped_and_counted(tmp_path: Path) -> None:
    other_reader = ROW.replace("5.5", "5.6")
    table = read_roi_table(write_table(tmp_path, ROW, other_reader, ROW, ROW, other_reader))
    assert table.duplicates == 3
    assert table.frame[schema.CSV_ROW].to_list() == [1, 2]


def test_a_table_that_a_command_wrote_is_read_again(tmp_path: Path) -> None:
    path = write_table(tmp_path, f"{ROW},7,1", header=f"{HEADER},csv_row,rank")
    assert read_roi_table(path).frame[schema.CSV_ROW].to_list() == [1]


def test_only_listed_columns_and_those_asked_for_are_kept(tmp_path: Path) -> None:
    path = write_table(tmp_path, f"{ROW},Doe^Jane,left", header=f"{HEADER},patient_name,side")
    assert not {"patient_name", "side"} & set(read_roi_table(path).frame.columns)
    assert read_roi_table(path, keep=["side"]).frame["side"].to_list() == ["left"]
    with pytest.raises(InputError, match="column 'lobe' is missing"):
        read_roi_table(path, keep=["lobe"])


@pytest.mark.parametrize("name", [schema.ABSOLUTE_PATH, schema.CSV_ROW, schema.ROW, schema.CENTER_X])
def test_a_kept_column_cannot_stand_for_one_of_ours(tmp_path: Path, name: str) -> None:
    path = write_table(tmp_path, f"{ROW},/etc/passwd", header=f"{HEADER},{name}")
    with pytest.raises(InputError, match=f"column '{name}' cannot be kept"):
        read_roi_table(path, keep=[name])
    assert "/etc/passwd" not in read_roi_table(path).frame.row(0)


@pytest.mark.parametrize("name", ["*", "^x$", "^.*$", "^$", ""])
def test_a_kept_column_cannot_be_what_polars_takes_for_many(tmp_path: Path, name: str) -> None:
    path = write_table(tmp_path, f"{ROW},'=left", header=f"{HEADER},{name}")
    with pytest.raises(InputError, match=re.escape(f"column {name!r} cannot be kept under this name; rename it")):
        read_roi_table(path, keep=[name])
    assert read_roi_table(path).frame.height == 1


@pytest.mark.parametrize("text", [r"s\1\a.dcm", "s/1/a.dcm", r"s\1/a.dcm", r" s\1\a.dcm "])
def test_both_separators_are_read(tmp_path: Path, text: str) -> None:
    frame = read_roi_table(write_table(tmp_path, ROW.replace("a.dcm", text))).frame
    assert frame[schema.DICOM_PATH].to_list() == ["s/1/a.dcm"]
    assert frame[schema.ABSOLUTE_PATH].to_list() == [str(tmp_path / "s/1/a.dcm")]


@pytest.mark.parametrize(
    ("text", "absolute"),
    [("/data/a.dcm", "/data/a.dcm"), (r"C:\ct\a.dcm", "C:/ct/a.dcm"), (r"\\nas\ct\a.dcm", "//nas/ct/a.dcm")],
)
def test_absolute_paths_start_nowhere_else(tmp_path: Path, text: str, absolute: str) -> None:
    frame = read_roi_table(write_table(tmp_path, ROW.replace("a.dcm", text)), dicom_root=tmp_path / "root").frame
    assert frame[schema.ABSOLUTE_PATH].to_list() == [absolute]


def test_relative_paths_start_at_the_root_else_the_table_else_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, root, beside = (tmp_path / name for name in ("here", "root", "beside"))
    for folder in (here, root, beside):
        folder.mkdir()
    monkeypatch.chdir(here)
    path = write_table(beside, ROW)

    def found(dicom_root: Path | None = None) -> Path:
        return Path(read_roi_table(path, dicom_root).frame[schema.ABSOLUTE_PATH][0]).parent

    assert found() == beside, "found nowhere: said of the table's folder"
    (here / "a.dcm").touch()
    assert found() == here
    (beside / "a.dcm").touch()
    assert found() == beside
    assert found(root) == root
    assert found(Path("../root")).resolve() == root


def write_header(path: Path, patient_id: str) -> None:
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID("1.2.3")
    dataset.PatientID = patient_id
    dataset.save_as(path, enforce_file_format=True)


def test_the_patient_is_that_of_the_column_else_the_path_else_the_header(tmp_path: Path) -> None:
    (tmp_path / "LIDC-IDRI-0007").mkdir()
    write_header(tmp_path / "LIDC-IDRI-0007/b.dcm", "H1")
    write_header(tmp_path / "c.dcm", "H2")
    box = "5,1,2,4,6"
    path = write_table(
        tmp_path,
        f"LIDC-IDRI-0007/b.dcm,{box}, P 1 ",
        f"LIDC-IDRI-0007/b.dcm,{box},",
        f"c.dcm,{box},",
        f"missing.dcm,{box},",
        f"c.dcm,{box},  ",
    )
    assert read_roi_table(path).frame[schema.PATIENT_ID].to_list() == ["P 1", "LIDC-IDRI-0007", "H2", "", "H2"]


def test_patients_are_selected_whatever_their_case() -> None:
    frame = pl.DataFrame({schema.PATIENT_ID: ["A", "b ", "Straße", "C", "a"], schema.ROW: range(5)})
    chosen, unknown = select_patients(frame, [" STRASSE", "B", "a", "x", "Y"])
    assert chosen[schema.ROW].to_list() == [0, 1, 2, 4]
    assert unknown == ["x", "Y"]


GUARDED = {
    "=HYPERLINK(1)": "'=HYPERLINK(1)",
    "+SUM(A1)": "'+SUM(A1)",
    "-cmd": "'-cmd",
    "@x": "'@x",
    "\t=1": "'\t'=1",
    "\rx": "'\rx",
    "  =1": "'  =1",
    "\ufeff=1": "'\ufeff=1",
    "\u200b\x00@x": "'\u200b\x00@x",
    "＝1": "'＝1",
    "－x": "'－x",
    "'=1": "''=1",
    "-1+cmd": "'-1+cmd",
    "-1.5\n": "'-1.5\n",
    "a;=1": "a;'=1",
    "a; '+x": "a; ''+x",
    "a\n@x": "a\n'@x",
    ";-1;=2": ";'-1;'=2",
}
KEPT = ["-1.5", "+1", "-.5e-3", "a=1", "a;1", "1-2", "[[1,-2]]", "'", "", None]


def test_cells_that_a_spreadsheet_would_run_are_guarded() -> None:
    frame = guard_cells(pl.DataFrame({"text": [*GUARDED, *KEPT], "number": [-1.0] * (len(GUARDED) + len(KEPT))}))
    assert frame["text"].to_list() == [*GUARDED.values(), *KEPT]
    assert set(frame["number"]) == {-1.0}
    numbers = pl.DataFrame({"number": [-1]})
    assert guard_cells(numbers).equals(numbers)
    assert guard_cells(pl.DataFrame({"=1": [-1], "a": [2]})).columns == ["'=1", "a"]


TEXTS = st.text(st.sampled_from("'=+-@＝ax1;,\" \n\r\t\ufeff\u200b"), min_size=1, max_size=6)


@given(st.lists(TEXTS, min_size=1, max_size=8), st.text(st.sampled_from("'=+-@＝ax1;, \t\u200b"), max_size=6))
def test_guarded_cells_are_read_as_they_were(cells: list[str], name: str) -> None:
    name = f"{name}text".strip()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(format_csv(pl.DataFrame({"other": ["x"] * len(cells), name: cells})).encode())
        frame = read_text_frame(path, "table", ("other",))
    assert frame.columns == ["other", name]
    assert frame[name].to_list() == cells


@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_a_guarded_cell_begins_with_no_formula_whatever_separates_cells(cells: list[str]) -> None:
    for cell in guard_cells(pl.DataFrame({"text": cells}))["text"]:
        for part in re.split("[;\t\r\n]", cell):
            assert not re.match(r"[\s\ufeff\u200b]*[=+\-@＝]", part) or re.fullmatch("[+-]1+", cell)


def test_a_column_that_stands_twice_once_its_guard_is_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,=x,'=x\n1,2,3\n")
    with pytest.raises(InputError, match="column '=x' stands twice in the header"):
        read_text_frame(tmp_path / "a.csv", "table", ("text",))


def test_messages_show_no_more_of_a_cell_than_fits(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"'{'x' * 40}' is not a number")):
        read_roi_table(write_table(tmp_path, ROW.replace("5.5", "x" * 5000)))


def test_a_path_that_the_system_refuses_costs_its_row_alone(tmp_path: Path) -> None:
    lines = (f"{'long' * 100}.dcm,5.0,1,1,3,3,P1", "b.dcm,6.0,1,1,3,3,P1")
    frame = read_roi_table(write_table(tmp_path, *lines)).frame
    assert frame.height == 2
    cache = CropCache(tmp_path / "cache", frame, CutSettings(fov_mm=48, size_px=32))
    cache.fill(1)
    assert [reject.row for reject in cache.rejects] == [0, 1]


def test_ids_that_differ_in_case_are_one_patient(tmp_path: Path) -> None:
    lines = [f"{name}.dcm,5.0,1,1,3,3,{patient}" for name, patient in (("a", "P1"), ("b", "p1"), ("c", "P2"))]
    frame = read_roi_table(write_table(tmp_path, *lines)).frame
    assert frame[schema.PATIENT_ID].to_list() == ["P1", "P1", "P2"]


def test_frames_are_numbers_and_may_be_empty(tmp_path: Path) -> None:
    header = f"{HEADER},{schema.FRAME}"
    table = read_roi_table(write_table(tmp_path, f"{ROW},12", f"{ROW},", f"{ROW},1.5", header=header))
    assert table.frame[schema.FRAME].to_list() == [12, None, 1.5]
    with pytest.raises(InputError, match=f"row 1, column {schema.FRAME}: 'last' is not a number"):
        read_roi_table(write_table(tmp_path, f"{ROW},last", header=header))


def test_a_text_that_no_index_may_hold_is_refused(tmp_path: Path) -> None:
    path = write_table(
        tmp_path, "a.dcm,6,0,0,9,9,P1,short", f"b.dcm,6,0,0,9,9,P1,{'x' * 65_537}", header=f"{HEADER},note"
    )
    with pytest.raises(InputError, match=r"row 2, column note: is a text of 65,537 bytes, allowed are 65,536"):
        read_roi_table(path, keep=["note"])
    read_roi_table(path)


def test_ratings_off_their_scale_count_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "rois.csv"
    rows = [f"a.dcm,5.0,1,1,3,3,P1,{malignancy},{calcification}" for malignancy, calcification in
            ((9, 6), (5, 7), (0, ""), (4.5, 1))]  # fmt: skip
    path.write_text("\n".join([f"{HEADER},malignancy,calcification", *rows]))
    table = read_roi_table(path)
    assert table.frame["malignancy"].to_list() == [None, 5, None, 4.5]
    assert table.frame["calcification"].to_list() == [6, None, None, 1]
    (found,) = [one for one in find_suspicions(table) if "rating" in one]
    assert "3 rating(s) lie off their scale and count as missing; first: row 2, calcification 7, not in [1, 6]" in found


def test_a_long_outline_before_an_empty_cell_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rois.csv"
    points = json.dumps([[339.123456, 360.123456]] * 8000)
    cell = '"' + points + '"'
    path.write_text(f"{HEADER},points_json,reader\na.dcm,8.4,1,1,3,3,P1,{cell},\nb.dcm,8.4,1,1,3,3,P1,,1\n")
    frame = read_roi_table(path).frame
    assert len(points) > 190_000
    assert frame["points_json"].to_list() == [points, None]
    path.write_text(f"{HEADER},points_json,reader\na.dcm,8.4,1,1,3,3,P1,{cell}\n")
    with pytest.raises(InputError, match="row 1 has 8 cells, the header has 9"):
        read_roi_table(path)


def test_a_parquet_file_is_the_same_table(tmp_path: Path) -> None:
    csv, parquet = tmp_path / "rois.csv", tmp_path / "rois.parquet"
    csv.write_text(f"{HEADER},malignancy,reader\n{ROW},5,=a\n{ROW},,\n{ROW},2,3\n")
    frame = pl.read_csv(csv, schema_overrides={"reader": pl.Categorical})
    frame.write_parquet(parquet)
    assert read_roi_table(parquet).frame.equals(read_roi_table(csv).frame)
    frame.with_columns(points_json=pl.Series([[1.0]] * 3)).write_parquet(parquet)
    with pytest.raises(InputError, match=r"column 'points_json' is of type List.*; write its values as text"):
        read_roi_table(parquet)
    parquet.write_bytes(parquet.read_bytes()[:-50])
    with pytest.raises(InputError, match="a Parquet file that cannot be read"):
        read_roi_table(parquet)


@pytest.mark.slow
def test_a_parquet_file_of_too_many_cells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rois.parquet"
    pl.DataFrame({"dicom_path": pl.repeat("a", 1 << 23, eager=True)}).select(
        pl.col("dicom_path").alias(f"dicom_path{number}") for number in range(40)
    ).write_parquet(path)
    assert path.stat().st_size < 1 << 22
    with pytest.raises(InputError, match="has 8,388,608 rows of 40 columns; split it"):
        read_roi_table(path)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04", "is a spreadsheet"),
        (b"\xd0\xcf\x11\xe0", "is an old spreadsheet"),
        (b"BZh9", "is compressed by bzip2"),
        (b"ARROW1", "is an Arrow"),
        (b"SQLite format 3\0", "is an SQLite database"),
    ],
)
def test_other_files_of_tables_are_named(tmp_path: Path, start: bytes, message: str) -> None:
    path = tmp_path / "rois.xlsx"
    path.write_bytes(start + b"\xff\x00" * 40)
    with pytest.raises(InputError, match=message):
        read_roi_table(path)


POINT = {schema.CENTER_X: 10.25, schema.CENTER_Y: 20.5, schema.CENTROID_X: 10.25, schema.CENTROID_Y: 20.5}
PIXEL = {schema.BBOX_XMIN: 10, schema.BBOX_XMAX: 10, schema.BBOX_YMIN: 21, schema.BBOX_YMAX: 21}


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("dicom_path,x,y", "a.dcm,10.25,20.5"),
        ("dicom_path,centroid_x,centroid_y", "a.dcm,10.25,20.5"),
        ("dicom_path,centroid_x,x,y", "a.dcm,,10.25,20.5"),
        (f"{HEADER},x,y", "a.dcm,,,,,,,10.25,20.5"),
    ],
    ids=["x and y", "centroid", "both", "an empty box"],
)
def test_a_point_stands_for_a_box(tmp_path: Path, header: str, row: str) -> None:
    table = read_roi_table(write_table(tmp_path, row, header=header))
    (found,) = table.frame.to_dicts()
    assert {name: found[name] for name in POINT} == POINT
    assert {name: found[name] for name in PIXEL} == PIXEL
    assert found[schema.DIAMETER_MM] is None
    assert not find_suspicions(table) or "known patient" in find_suspicions(table)[0]


def test_a_box_outweighs_a_point(tmp_path: Path) -> None:
    path = write_table(tmp_path, "a.dcm,5,1,2,4,6,P1,50,60", "a.dcm,5,,,,,P1,50,60", header=f"{HEADER},x,y")
    frame = read_roi_table(path).frame
    assert frame.select(schema.CENTER_X, schema.CENTER_Y).rows() == [(2.5, 4.0), (50.0, 60.0)]
    assert frame[schema.DIAMETER_MM].to_list() == [5.0, 5.0]


def test_the_centre_of_a_box_of_one_pixel_is_the_centroid_in_it(tmp_path: Path) -> None:
    rows = ["a.dcm,,7,9,7,9,P1,6.75,9.5", "a.dcm,,7,9,7,9,P1,8,9", "a.dcm,,7,9,8,9,P1,7.25,9", "a.dcm,,7,9,7,9,P1,,"]
    frame = read_roi_table(write_table(tmp_path, *rows, header=f"{HEADER},centroid_x,centroid_y")).frame
    assert frame.select(schema.CENTER_X, schema.CENTER_Y).rows() == [(6.75, 9.5), (7, 9), (7.5, 9), (7, 9)]


def test_columns_of_a_point_may_be_kept_as_text(tmp_path: Path) -> None:
    frame = read_roi_table(write_table(tmp_path, "a.dcm, 1.50,2", header="dicom_path,x,y"), keep=("x",)).frame
    assert frame["x"].to_list() == [" 1.50"]
    assert "y" not in frame.columns
    assert frame[schema.CENTER_X].to_list() == [1.5]


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("dicom_path,x,y", "a.dcm,1,", "row 1, columns x, y: no place in pixels, and no box"),
        ("dicom_path,x,y", "a.dcm,1,inf", "row 1, columns x, y: no place in pixels, and no box"),
        ("dicom_path,x,y", "a.dcm,1,2 px", "row 1, column y: '2 px' is not a number"),
        ("dicom_path,x", "a.dcm,1", "column 'diameter_mm' is missing; needed are dicom_path, diameter_mm, bbox_xmin"),
        ("dicom_path,x", "a.dcm,1", "(or dicom_path and a point in pixels: x, y or centroid_x, centroid_y)"),
        ("dicom_path,x,y,bbox_xmin", "a.dcm,1,2,3", "column 'diameter_mm' is missing"),
        (f"{HEADER},x,y", "a.dcm,5,1,2,,,P1,5,5", "row 1, columns x, y: no place in pixels, and no box"),
    ],
)
def test_what_is_neither_a_point_nor_a_box_is_refused(tmp_path: Path, header: str, row: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        read_roi_table(write_table(tmp_path, row, header=header))
