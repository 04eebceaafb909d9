"""Tables of described nodules on stdout, and `estimates.csv`."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich import box
from rich.table import Table

from noduleclip import schema
from noduleclip.io.artefacts import write_text
from noduleclip.io.text_table import format_csv
from noduleclip.report.columns import LIST_COLUMNS, choose_columns
from noduleclip.report.console import data_console, plain, write_lines
from noduleclip.report.hit_table import has_values
from noduleclip.report.tables import print_frame
from noduleclip.workflows.describe import DescribeResult

_MOST_ROWS = 200  # of a table on a terminal
_LEAST_WIDTH = 100  # of a window, in characters, for the patient beside the words


def print_descriptions(result: DescribeResult, form: str, columns: Sequence[str] = ()) -> None:
    """Print described nodules as a "table", "csv" or "json" (one object a line).

    Args:
        result: The nodules.
        form: The format.
        columns: Columns to print; none = all, or for a table the diameter, its estimate and the words; `LIST_COLUMNS` =
            the names of all.

    Raises:
        UsageError: There is no such column.
    """
    chosen = choose_columns(result.table, columns)
    if tuple(columns) == LIST_COLUMNS:
        write_lines(chosen.columns)
        return
    if form != "table" or columns:
        print_frame(chosen, form)
        return
    data_console().print(_make_table(result.table))


def write_descriptions(result: DescribeResult, out: Path) -> Path:
    """Write all columns to `estimates.csv`, and unusable rows of a table to `rejects.csv`; return the former's path."""
    out.mkdir(parents=True, exist_ok=True)
    if result.rejects.height:
        write_text(out / schema.REJECTS_CSV, format_csv(result.rejects))
    else:
        (out / schema.REJECTS_CSV).unlink(missing_ok=True)
    path = out / schema.ESTIMATES_CSV
    write_text(path, format_csv(result.table))
    return path


def _make_table(nodules: pl.DataFrame) -> Table:
    shown = nodules.head(_MOST_ROWS)
    rest = f"; {nodules.height - shown.height:,} more with --format csv" if nodules.height > shown.height else ""
    table = Table(
        box=box.SIMPLE_HEAD,
        caption=plain(f"estimate in mm, with its 80 % interval, of the diameter that a reader would measure{rest}"),
        caption_justify="left",
    )
    number = schema.ROW if schema.ROW in nodules.columns else schema.CSV_ROW
    is_wide = data_console().width >= _LEAST_WIDTH
    malignancy = schema.ESTIMATED_PREFIX + schema.MALIGNANCY
    rated = [malignancy] if malignancy in nodules.columns else []
    scored = [schema.DETECTION_SCORE] if has_values(nodules, schema.DETECTION_SCORE) else []
    heads = [number, *(["score"] if scored else []), "mm", "estimate", *([schema.MALIGNANCY] if rated else [])]
    for name in heads:
        table.add_column(name, justify="right", style="dim" if name == number else None, no_wrap=True)
    if is_wide:
        table.add_column("patient", overflow="fold")
    table.add_column("in words", overflow="fold")
    for nodule in shown.iter_rows(named=True):
        low, high = nodule[schema.ESTIMATED_LOW], nodule[schema.ESTIMATED_HIGH]
        measured = nodule[schema.DIAMETER_MM]
        table.add_row(
            str(nodule[number]),
            *("-" if nodule[name] is None else f"{nodule[name]:.3f}" for name in scored),
            "-" if measured is None else f"{measured:.1f}",
            f"{nodule[schema.ESTIMATED_DIAMETER]:.1f} ({low:.1f}-{high:.1f})",
            *(f"{nodule[name]:.0f}" for name in rated),
            *([plain(nodule[schema.PATIENT_ID] or "-")] if is_wide else []),
            plain(nodule[schema.DESCRIPTION].partition(", ")[2]),
        )
    return table
