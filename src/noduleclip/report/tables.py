"""Results as rich tables, CSV or JSON lines on stdout."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table

from noduleclip import schema
from noduleclip.errors import make_printable
from noduleclip.io.text_table import format_csv
from noduleclip.language.query import list_attributes
from noduleclip.report.console import data_console, plain, write_json_lines, write_lines
from noduleclip.report.estimates import format_size
from noduleclip.workflows.search import Answer

_MIN_PATH_WIDTH = 16
_DIAMETER_WIDTH = 6
_GAP = 3
_WIDEST = 500
_BIN_LABELS = ("<= 6 mm", "6-10 mm", "> 10 mm")


@dataclass(frozen=True)
class PictureColumn:
    """The pictures of the hits of one answer.

    Attributes:
        title: Header of the column.
        width: Characters of each.
        cells: One per hit.
    """

    title: str
    width: int
    cells: Sequence[RenderableType]


def choose_format(wanted: str) -> str:
    """Return "table" on a terminal and "csv" elsewhere for "auto"."""
    if wanted != "auto":
        return wanted
    return "table" if data_console().is_terminal else "csv"


def print_hits(
    results: Sequence[Answer], form: str, pictures: Sequence[PictureColumn] | None = None, *, header: bool = True
) -> None:
    """Print the Top-K of each sentence.

    Args:
        results: One answer per sentence.
        form: "table", "csv" or "json" (one object a line).
        pictures: For a table, the pictures of each answer's hits.
        header: For CSV, whether the names of the columns come first.
    """
    if form == "table":
        for at, answer in enumerate(results):
            data_console().print(_make_hits_table(answer, None if pictures is None else pictures[at]))
        return
    hits = pl.concat([answer.hits for answer in results])
    print_frame(hits, form, header=header)


def print_frame(frame: pl.DataFrame, form: str, *, header: bool = True) -> None:
    """Print rows as CSV, guarded as in files, or as JSON lines."""
    if form == "json":
        write_json_lines(_split_lines(frame.write_ndjson()))
    else:
        write_lines(_split_lines(format_csv(frame, header=header)))


def _split_lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []  # `splitlines` splits at other characters, too


@dataclass(frozen=True)
class _HitColumns:
    """Columns of a table of hits, without the slice.

    Attributes:
        scores: Columns of scores.
        rated: Columns of ratings.
        patient_width: Characters of the longest patient id; 0 = no such column.
        width: Characters of all, with the gap up to the slice.
    """

    scores: Sequence[str]
    rated: Sequence[str]
    patient_width: int
    width: int


def _list_columns(answer: Answer, is_short: bool = False) -> _HitColumns:
    hits = answer.hits
    fused: list[str] = [
        name for name in (schema.SCORE, schema.COSINE, schema.RULE, schema.LIKENESS) if name in hits.columns
    ]
    likely = [schema.PROBABILITY] if schema.PROBABILITY in hits.columns else []
    detected = [schema.DETECTION_SCORE] if has_values(hits, schema.DETECTION_SCORE) else []
    scores = [*likely, *(fused or [schema.SIMILARITY]), *detected]
    rated = [name for name in list_attributes([answer.ranking.parsed]) if name in hits.columns]
    diameter_width = _DIAMETER_WIDTH + bool(hits[schema.DIAMETER_MM].null_count())  # estimates have a mark
    if is_short:
        return _HitColumns(scores[:1], rated, 0, _fixed_width(hits.height, scores[:1], diameter_width, rated))
    patient_width = max([7, *(cell_len(make_printable(name or "-")) for name in hits[schema.PATIENT_ID])])
    return _HitColumns(
        scores, rated, patient_width, _fixed_width(hits.height, scores, diameter_width, rated) + patient_width + _GAP
    )


def has_values(frame: pl.DataFrame, name: str) -> bool:
    """Return whether a frame has a column with a value in it."""
    return name in frame.columns and frame[name].null_count() < frame.height


def find_picture_room(results: Sequence[Answer]) -> tuple[int, int]:
    """Return the characters that the window leaves beside every table, and those beside every shortened table."""
    room, least_room = (
        data_console().width - _MIN_PATH_WIDTH - _GAP - max(_list_columns(answer, short).width for answer in results)
        for short in (False, True)
    )
    return room, least_room


def _make_hits_table(answer: Answer, pictures: PictureColumn | None) -> Table:
    hits = answer.hits
    window = data_console().width - (0 if pictures is None else pictures.width + _GAP)
    columns = _list_columns(answer)
    if columns.width + _MIN_PATH_WIDTH > window:
        columns = _list_columns(answer, is_short=True)
    room = max(_MIN_PATH_WIDTH, window - columns.width)
    table = Table(
        box=box.SIMPLE_HEAD,
        title=plain(": ".join(filter(None, (answer.ranking.question, answer.ranking.summary)))),
        caption=plain(answer.ranking.description),
        title_justify="left",
        caption_justify="left",
        leading=0 if pictures is None else 1,
    )
    table.add_column("#", justify="right", style="dim", no_wrap=True)
    if pictures is not None:
        table.add_column(pictures.title, min_width=pictures.width, no_wrap=True)
    for name in columns.scores:
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("mm", *columns.rated):
        table.add_column(name, justify="right", no_wrap=True)
    if columns.patient_width:
        table.add_column("patient", no_wrap=True)
    table.add_column("slice", overflow="fold")
    for at, hit in enumerate(hits.iter_rows(named=True)):
        numbers = [_number(hit[name], 3) for name in columns.scores]
        path = plain(shorten_path(hit[schema.DICOM_PATH], room))
        shown = [] if pictures is None else [pictures.cells[at]]
        named = [plain(hit[schema.PATIENT_ID] or "-")] if columns.patient_width else []
        ratings = [_number(hit[name], 0) for name in columns.rated]
        table.add_row(str(hit[schema.RANK]), *shown, *numbers, _diameter(hit), *ratings, *named, path)
    return table


def _fixed_width(rows: int, scores: Sequence[str], diameter_width: int, rated: Sequence[str]) -> int:
    """Return the characters that rank, scores, diameter and ratings take, with the gaps up to the next column."""
    widths = [len(str(rows)), *(max(len(name), 5) for name in scores), diameter_width, *map(len, rated)]
    return sum(widths) + _GAP * (len(widths) + 1) + 1


def _diameter(hit: Mapping[str, Any]) -> str:
    """Return the diameter, green with a tick where it satisfies the sentence, red with a cross where it does not.

    Where none was measured, it is the model's estimate, as "~8.2".
    """
    size, satisfies = format_size(hit), hit[schema.SATISFIES]
    if size is None:
        return "[dim]-[/]"
    if satisfies is None:
        return f"{size}  "
    yes, no = ("✓", "✗") if data_console().encoding.startswith("utf") else ("+", "x")
    return f"[green]{size} {yes}[/]" if satisfies else f"[red]{size} {no}[/]"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def shorten_path(path: str, width: int) -> str:
    """Shorten a path to its end, whole folders first: "…/LIDC-IDRI-0001/000017.dcm"."""
    parts = path.split("/")
    for start in range(len(parts)):
        short = "/".join(parts[start:]) if start == 0 else "…/" + "/".join(parts[start:])
        if len(short) <= width:
            return short
    return "…" + parts[-1][-(width - 1) :]


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
        console = Console(width=needed, highlight=False)
    console.print(table)


def _cell(value: Any, as_percent: bool) -> str:
    if isinstance(value, float):
        return f"{value:.1%}" if as_percent else _number(value, 3)
    return plain(f"{value:,}" if isinstance(value, int) else str(value)) if value is not None else "-"
