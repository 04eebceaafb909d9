"""Excel and Parquet: the table as it is, and no text of it that a spreadsheet runs."""

import io
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl
import pytest
from openpyxl.utils.escape import unescape

from noduleclip import schema
from noduleclip.errors import UsageError
from noduleclip.exporters import excel, parquet
from noduleclip.exporters.findings import Export, Question, Source

SOURCE = Source((Question("=1+1", "no size or rating"), Question("> 6 mm", "diameter in (6, inf) mm")), "m", "0" * 64)


def write_sheets(table: pl.DataFrame) -> dict[str, list[tuple[Any, ...]]]:
    (file,) = excel.render(Export(table, SOURCE), Path("hits.xlsx"))
    book = openpyxl.load_workbook(io.BytesIO(file.content))
    assert all(sheet.freeze_panes == "A2" for sheet in book)
    assert not any(cell.hyperlink for sheet in book for row in sheet.iter_rows() for cell in row)
    assert not any(cell.data_type == "f" for sheet in book for row in sheet.iter_rows() for cell in row)
    return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book}


def test_numbers_are_numbers_and_lists_are_texts() -> None:
    table = pl.DataFrame(
        {
            schema.RANK: [1, 2],
            schema.DIAMETER_MM: [8.2468, None],
            schema.SATISFIES: [True, None],
            schema.READER_DIAMETERS: [[8.0, None], []],
        }
    )
    header, *rows = write_sheets(table)["nodules"]
    assert header == tuple(table.columns)
    assert rows == [(1, 8.2468, True, "8.0, -"), (2, None, None, None)]


@pytest.mark.parametrize(
    "text", ["=1+1", "{=1+1}", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "http://a.b", "mailto:a@b", "007", "1e3"]
)
def test_texts_stay_texts(text: str) -> None:
    header, row = write_sheets(pl.DataFrame({schema.PATIENT_ID: [text], text: ["x"]}))["nodules"]
    assert header == (schema.PATIENT_ID, text)
    assert row == (text, "x")


def test_what_a_sheet_cannot_hold_is_empty_or_spelled_out() -> None:
    table = pl.DataFrame({schema.SCORE: [float("nan"), float("inf"), 0.5], "note": ["a\x0bb", "_x0041_", "\u202eé"]})
    _, *rows = write_sheets(table)["nodules"]
    assert [row[0] for row in rows] == [None, None, 0.5]
    assert unescape(rows[0][1]) == "a\x0bb"
    assert [row[1] for row in rows[1:]] == ["_x0041_", "\u202eé"], "openpyxl takes off what protects the first"


@pytest.mark.parametrize("name", ["a\x0bb", "a\x00b", "a\ufffeb", "a\x1fb"])
def test_names_that_xml_cannot_hold_leave_a_workbook_that_opens(name: str) -> None:
    header, row = write_sheets(pl.DataFrame({name: ["x"], "a_b": ["y"]}))["nodules"]
    assert (header, row) == (("a_b", "a_b (2)"), ("x", "y"))


def test_numbers_of_32_bits_are_the_decimals_that_they_show() -> None:
    table = pl.DataFrame(
        {schema.ESTIMATED_DIAMETER: [12.26, float("nan"), None]}, {schema.ESTIMATED_DIAMETER: pl.Float32}
    )
    _, *rows = write_sheets(table)["nodules"]
    assert [row[0] for row in rows] == [12.26, None, None]


def test_names_that_differ_in_case_and_long_cells_fit_a_table_of_excel() -> None:
    table = pl.DataFrame({"note": ["x" * 40_000], "Note": ["y"], "NOTE (2)": ["z"], "n" * 300: ["w"]})
    header, row = write_sheets(table)["nodules"]
    assert header == ("note", "Note (2)", "NOTE (2) (2)", "n" * 255)
    assert (len(row[0]), row[0][-2:], row[1:]) == (32_767, "x…", ("y", "z", "w"))


def test_the_second_sheet_says_what_was_asked() -> None:
    header, *rows = write_sheets(pl.DataFrame({schema.RANK: [1]}))["about"]
    assert header[:3] == (schema.QUERY, "reading", "model")
    assert [row[:3] for row in rows] == [("=1+1", "no size or rating", "m"), ("> 6 mm", "diameter in (6, inf) mm", "m")]


def test_a_table_without_rows_has_its_header() -> None:
    header, *rows = write_sheets(pl.DataFrame(schema={schema.RANK: pl.Int64, schema.PATIENT_ID: pl.String}))["nodules"]
    assert header == (schema.RANK, schema.PATIENT_ID)
    assert not any(cell for row in rows for cell in row)


def test_more_rows_than_a_sheet_holds_are_refused() -> None:
    table = pl.DataFrame({schema.RANK: pl.int_range(1_048_576, eager=True)})
    with pytest.raises(UsageError, match=r"hits\.xlsx: 1,048,576 rows are more than .* export to \.parquet"):
        list(excel.render(Export(table, SOURCE), Path("hits.xlsx")))


def test_parquet_is_the_table(tmp_path: Path) -> None:
    table = pl.DataFrame({schema.RANK: [1], schema.READER_DIAMETERS: [[8.0, None]], schema.PATIENT_ID: ["=1"]})
    (file,) = parquet.render(Export(table, SOURCE), tmp_path / "hits.parquet")
    assert pl.read_parquet(io.BytesIO(file.content)).equals(table)
    assert file.count == 1
