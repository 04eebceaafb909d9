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
from noduleclip.report.columns import choose_columns, print_columns
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
        columns: Columns to print; none = all, or for a table those that it has for the sentence.

    Raises:
        UsageError: There is no such column.
    """
    if form == "table" and columns:
        for answer in results:
            print_columns(choose_columns(answer.hits, columns), answer.ranking.question, answer.ranking.description)
        return
    if form == "table":
        for at, answer in enumerate(results):
            data_console().print(make_hit_table(answer, None if pictures is None else pictures[at]))
        return
    hits = pl.concat([answer.hits for answer in results])
    print_frame(choose_columns(hits, columns), form, header=header)


def print_frame(frame: pl.DataFrame, form: str, *, header: bool = True) -> None:
    """Print rows as CSV, guarded as in files, or as JSON lines."""
    if form == "json":
        write_json_lines(_split_lines(frame.write_ndjson()))
    else:
        write_lines(_split_lines(format_csv(frame, header=header)))


def _split_lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []  # `splitlines` splits at other characters, too


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def print_split(splits: Mapping[str, Sequence[str]], bins: Mapping[str, Sequence[int]], form: str) -> None:
    """Print patients, nodules and the shares of the three size bins of each split."""
    records = []
    for name, patients in splits.items():
        counts = [sum(column) for column in zip(*(bins[patient] for patient in patients), strict=True)]
        total = sum(counts)
        shares = {label: count / total if total else 0.0 for label, count in zip(_BIN_LABELS, counts, strict=True)}
        records.append({"split": name, "patients": len(patients), "nodules": total, **shares})
    print_records(records, form, "", percent=_BIN_LABELS)


def print_records(records: Sequence[Mapping[str, Any]], form: str, title: str, percent: Sequence[str] = ()) -> None:
    """Print records that share their keys: a table, CSV, or JSON lines."""
    if form == "json":
        write_json_lines(json.dumps(dict(record)) for record in records)
        return
    if form == "csv":
        print_frame(pl.DataFrame([dict(record) for record in records]), form)
        return
    table = Table(box=box.SIMPLE_HEAD, title=plain(title) or None, title_justify="left", collapse_padding=True)
    for name in records[0]:
        is_text = isinstance(records[0][name], str)  # text folds where the window is narrow, a number never does
        table.add_column(plain(name), justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    for record in records:
        table.add_row(*(_cell(value, name in percent) for name, value in record.items()))
    console = data_console()
    needed = console.measure(table, options=console.options.update(width=_WIDEST)).minimum
    if needed > console.width:  # lines that the window breaks, rather than numbers cut short
        console = Console(width=needed, highlight=False, emoji=False)
    console.print(table)


def _cell(value: Any, as_percent: bool) -> str:
    if isinstance(value, float):
        return f"{value:.1%}" if as_percent else _number(value, 3)
    return plain(f"{value:,}" if isinstance(value, int) else str(value)) if value is not None else "-"
