"""Results as rich tables, CSV or JSON lines on stdout."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table

from noduleclip.io.text_table import format_csv
from noduleclip.report.columns import LIST_COLUMNS, choose_columns
from noduleclip.report.console import data_console, plain, write_json_lines, write_lines
from noduleclip.report.hit_table import PictureColumn, make_hit_table
from noduleclip.workflows.search_answer import Answer

_WIDEST = 500
_BIN_LABELS = ("<= 6 mm", "6-10 mm", "> 10 mm")


def choose_format(wanted: str) -> str:
    """Return "table" on a terminal and "csv" elsewhere for "auto"."""
    if wanted != "auto":
        return wanted
    return "table" if data_console().is_terminal else "csv"


def print_hits(
    results: Sequence[Answer],
    form: str,
    pictures: Sequence[PictureColumn] | None = None,
    *,
    header: bool = True,
    columns: Sequence[str] = (),
) -> None:
    """Print the Top-K of each sentence.

    Args:
        results: One answer per sentence.
        form: "table", "csv" or "json" (one object a line).
        pictures: For a table, the pictures of each answer's hits.
        header: For CSV, whether the names of the columns come first.
        columns: Columns to print; none = all, or for a table those that it has for the sentence; `LIST_COLUMNS` = the
            names of all.

    Raises:
        UsageError: There is no such column.
    """
    if tuple(columns) == LIST_COLUMNS:
        write_lines(results[0].hits.columns if header else [])
        return
    if form == "table" and columns:
        for answer in results:
            ranking = answer.ranking
            print_frame(choose_columns(answer.hits, columns), form, ranking.question, caption=ranking.description)
        return
    if form == "table":
        for at, answer in enumerate(results):
            data_console().print(make_hit_table(answer, None if pictures is None else pictures[at]))
        return
    hits = pl.concat([answer.hits for answer in results])
    print_frame(choose_columns(hits, columns), form, header=header)


def print_frame(
    frame: pl.DataFrame,
    form: str,
    title: str = "",
    *,
    caption: str = "",
    percent: Sequence[str] = (),
    counts: bool = False,
    header: bool = True,
) -> None:
    """Print all rows and columns of a frame.

    Args:
        frame: The rows.
        form: "table", "csv", guarded as in files, or "json" (one object a line).
        title: For a table, the line above it.
        caption: For a table, the lines below it.
        percent: For a table, columns of shares that are shown as percentages.
        counts: For a table, whether integers are counts, with their thousands marked.
        header: For CSV, whether the names of the columns come first.
    """
    if form == "json":
        write_json_lines(_split_lines(frame.write_ndjson()))
        return
    if form == "csv":
        write_lines(_split_lines(format_csv(frame, header=header)))
        return
    table = Table(
        box=box.SIMPLE_HEAD,
        title=plain(title) or None,
        caption=plain(caption) or None,
        title_justify="left",
        caption_justify="left",
        collapse_padding=True,
    )
    for name, kind in frame.schema.items():
        is_text = not kind.is_numeric()  # text folds where the window is narrow, a number never does
        table.add_column(plain(name), justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    for row in frame.iter_rows(named=True):
        table.add_row(*(_format_cell(value, counts, name in percent) for name, value in row.items()))
    console = data_console()
    needed = console.measure(table, options=console.options.update(width=_WIDEST)).minimum
    if needed > console.width:  # lines that the window breaks, rather than numbers cut short
        console = Console(width=needed, highlight=False, emoji=False)
    console.print(table)


def print_records(
    records: Sequence[Mapping[str, Any]], form: str, title: str = "", percent: Sequence[str] = ()
) -> None:
    """Print records that share their keys; see `print_frame`."""
    frame = pl.DataFrame([dict(record) for record in records], infer_schema_length=None)
    print_frame(frame, form, title, percent=percent, counts=True)


def _split_lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []  # `splitlines` splits at other characters, too


def print_split(splits: Mapping[str, Sequence[str]], bins: Mapping[str, Sequence[int]], form: str) -> None:
    """Print patients, nodules and the shares of the three size bins of each split."""
    records = []
    for name, patients in splits.items():
        counts = [sum(column) for column in zip(*(bins[patient] for patient in patients), strict=True)]
        total = sum(counts)
        shares = {label: count / total if total else 0.0 for label, count in zip(_BIN_LABELS, counts, strict=True)}
        records.append({"split": name, "patients": len(patients), "nodules": total, **shares})
    print_records(records, form, percent=_BIN_LABELS)


def _format_cell(value: Any, is_count: bool, is_share: bool) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.1%}" if is_share else f"{value:.3f}"
    if isinstance(value, list):
        return plain(json.dumps(value))
    return plain(f"{value:,}" if is_count and isinstance(value, int) else str(value))
