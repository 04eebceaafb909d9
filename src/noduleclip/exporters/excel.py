"""The table of hits or of described nodules as an Excel workbook; a second sheet says what was asked.

Numbers are numbers, and no text is taken for a formula, a link or a number, whatever it begins with.
"""

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import polars as pl
import polars.selectors as cs

from noduleclip import __version__, schema
from noduleclip.errors import UsageError
from noduleclip.exporters.findings import Export, ExportFile

TABLE_SHEET: Final = "nodules"
SOURCE_SHEET: Final = "about"
_MOST_ROWS: Final = 1_048_575  # below the header
_LONGEST_CELL: Final = 32_767  # characters
_LONGEST_NAME: Final = 255
_NO_VALUE: Final = "-"  # of a reader, in a list
_CUT: Final = "…"
_NO_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that XML cannot hold; XlsxWriter writes those of cells in another way, but not those of names."""


def render(export: Export, path: Path) -> Iterator[ExportFile]:
    """Make the workbook.

    Raises:
        UsageError: There are more rows than a sheet holds.
    """
    from xlsxwriter import Workbook

    if export.table.height > _MOST_ROWS:
        raise UsageError(
            f"{path}: {export.table.height:,} rows are more than the {_MOST_ROWS:,} that a sheet of Excel holds; "
            "export to .parquet, or ask for fewer"
        )
    file = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with Workbook(file, options) as book:
        for name, frame in ((TABLE_SHEET, export.table), (SOURCE_SHEET, _describe_source(export))):
            _as_cells(frame).write_excel(
                book, name, freeze_panes=(1, 0), autofit=True, column_formats={cs.integer(): "0", cs.float(): "0.000"}
            )
    yield ExportFile(path, file.getvalue(), export.table.height)


def _describe_source(export: Export) -> pl.DataFrame:
    """Return a row for each question."""
    questions = export.source.questions
    return pl.DataFrame(
        {
            schema.QUERY: [question.text for question in questions],
            "reading": [question.reading for question in questions],
            "model": [export.source.model_id] * len(questions),
            "made by": [f"noduleclip {__version__}"] * len(questions),
        },
        schema_overrides={schema.QUERY: pl.String, "reading": pl.String},
    )


def _as_cells(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with lists as texts, texts that fit a cell, and names that a table of Excel may have."""
    joined = cs.list().list.eval(pl.element().cast(pl.String).fill_null(_NO_VALUE)).list.join(", ")
    texts = pl.when(cs.string().str.len_chars() > _LONGEST_CELL).then(
        cs.string().str.slice(0, _LONGEST_CELL - 1) + _CUT
    )
    exact = cs.by_dtype(pl.Float32).cast(pl.String).cast(pl.Float64)  # 12.26, not 12.260000228881836
    numbers = pl.when(cs.float().is_finite()).then(cs.float()).name.keep()  # a sheet has no NaN
    cells = (
        frame.with_columns(joined, exact).with_columns(numbers).with_columns(texts.otherwise(cs.string()).name.keep())
    )
    return cells.rename(dict(zip(frame.columns, _name_columns(frame.columns), strict=True)))


def _name_columns(names: Sequence[str]) -> list[str]:
    """Return names of at most 255 characters of XML that differ in more than case."""
    taken: set[str] = set()
    found = []
    for name in (_NO_XML.sub("_", name) for name in names):
        number, choice = 1, name[:_LONGEST_NAME]
        while choice.casefold() in taken:
            number += 1
            ending = f" ({number})"
            choice = name[: _LONGEST_NAME - len(ending)] + ending
        taken.add(choice.casefold())
        found.append(choice)
    return found
