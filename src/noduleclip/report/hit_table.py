"""The hits of a sentence as a table on a terminal.

In a narrow window the path of the slice is shortened to its end first. Then scores beside the one that ranks are left
out, then the patient, a detector's score, and at last the nodule. The slice stays, and is as long as it must be to be
no other hit's.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from rich import box
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from noduleclip import schema
from noduleclip.errors import make_printable
from noduleclip.report.console import data_console, plain
from noduleclip.report.criteria import ASCII_MARKS, LEGEND, Marks, format_mark, format_value, list_scores
from noduleclip.report.estimates import format_size
from noduleclip.retrieval.criteria import CheckedCriterion, check_criteria, list_criteria
from noduleclip.workflows.search_answer import Answer

_MIN_PATH_WIDTH = 12
_GAP = 2
_SEPARATORS = " _-./:"  # between a patient's id and the rest of a nodule's


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


@dataclass(frozen=True)
class _Column:
    """A column without the slice.

    Attributes:
        title: Its header.
        cells: One per hit.
        leaves: When it is left out of a narrow window: the lowest number first; 0 = never.
        is_text: Whether it is aligned to the left.
        is_estimated: Whether a cell holds an estimate.
    """

    title: str
    cells: Sequence[Text]
    leaves: int = 0
    is_text: bool = False
    is_estimated: bool = False

    @property
    def width(self) -> int:
        """Characters that it takes, without the gap."""
        return max(cell_len(self.title), *(cell.cell_len for cell in self.cells), 1)


def find_picture_room(results: Sequence[Answer]) -> tuple[int, int]:
    """Return the characters that the window leaves beside every table, and those beside every shortened table."""
    listed = [list(_list_columns(answer)) for answer in results]
    least = [[column for column in columns if not column.leaves] for columns in listed]
    window = data_console().width - _MIN_PATH_WIDTH - _GAP
    return window - max(map(_measure, listed)), window - max(map(_measure, least))


def make_hit_table(answer: Answer, pictures: PictureColumn | None) -> Table:
    """Return the table of the hits of one answer, with their pictures if there are any."""
    window = data_console().width - (0 if pictures is None else pictures.width + _GAP)
    columns = list(_list_columns(answer))
    while _measure(columns) + _MIN_PATH_WIDTH > window and any(column.leaves for column in columns):
        first = min(column.leaves for column in columns if column.leaves)
        columns = [column for column in columns if column.leaves != first]
    slices = shorten_paths(_name_slices(answer.hits), max(_MIN_PATH_WIDTH, window - _measure(columns)))
    is_estimated = any(column.is_estimated for column in columns)
    title = plain(": ".join(filter(None, (answer.ranking.question, answer.ranking.summary))))
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        min_width=None if answer.hits.height else min(cell_len(title), window),
        caption=plain(answer.ranking.description) + (f"\n{LEGEND}" if is_estimated else ""),
        title_justify="left",
        caption_justify="left",
        collapse_padding=True,
        leading=0 if pictures is None else 1,
    )
    ranks, *others = columns
    table.add_column(ranks.title, justify="right", style="dim", no_wrap=True)
    if pictures is not None:
        table.add_column(pictures.title, min_width=pictures.width, no_wrap=True)
    for column in others:
        table.add_column(column.title, justify="left" if column.is_text else "right", no_wrap=True)
    table.add_column("slice", overflow="fold")
    for at, path in enumerate(slices):
        shown = [] if pictures is None else [pictures.cells[at]]
        table.add_row(ranks.cells[at], *shown, *(column.cells[at] for column in others), Text(path))
    return table


def _measure(columns: Sequence[_Column]) -> int:
    """Return the characters of columns with the gap up to the slice, and the edges of the table."""
    return sum(column.width + _GAP for column in columns) + 2 * _GAP


def _list_columns(answer: Answer) -> Iterator[_Column]:
    hits, parsed = answer.hits, answer.ranking.parsed
    rows = list(hits.iter_rows(named=True))
    yield _Column("#", [Text(str(hit[schema.RANK])) for hit in rows])
    for place, name in enumerate(list_scores(hits.columns, parsed)):
        yield _Column(name, [Text(_number(hit[name])) for hit in rows], leaves=0 if place == 0 else 4 - place)
    if has_values(hits, schema.DETECTION_SCORE):
        yield _Column(schema.DETECTION_SCORE, [Text(_number(hit[schema.DETECTION_SCORE])) for hit in rows], leaves=5)
    checked = [check_criteria(parsed, hit) for hit in rows]
    marks = Marks() if data_console().encoding.startswith("utf") else ASCII_MARKS
    if parsed.interval is None:
        sizes = [format_size(hit) or "-" for hit in rows]
        yield _Column("mm", list(map(Text, sizes)), is_estimated=any(size[0] == "~" for size in sizes))
    for at, criterion in enumerate(list_criteria(parsed)):
        yield _mark_values(
            "mm" if criterion.name == schema.DIAMETER_MM else criterion.name, [one[at] for one in checked], marks
        )
    if has_values(hits, schema.NODULE_ID):
        yield _Column("nodule", [Text(_name_nodule(hit)) for hit in rows], leaves=6, is_text=True)
    patients = [Text(make_printable(hit[schema.PATIENT_ID] or "-")) for hit in rows]
    yield _Column("patient", patients, leaves=4, is_text=True)


def _mark_values(title: str, checked: Sequence[CheckedCriterion], marks: Marks) -> _Column:
    """Return a column of values with their marks, green or red where measured.

    Numbers stand below each other whatever mark follows, so cells are filled from the left: rich cuts blanks behind.
    """
    shown = [format_mark(one, marks) for one in checked]
    most = max(map(cell_len, shown), default=0)
    texts = [f"{format_value(one)} {mark.ljust(most)}" for one, mark in zip(checked, shown, strict=True)]
    width = max([len(title), *map(cell_len, texts)])
    cells = []
    for one, text in zip(checked, texts, strict=True):
        style = "dim" if one.is_estimated or one.satisfied is None else "green" if one.satisfied else "red"
        cells.append(Text(text.rjust(width), style))
    is_estimated = any(one.is_estimated for one in checked)
    return _Column(title.rjust(width), cells, is_text=True, is_estimated=is_estimated)


def has_values(frame: pl.DataFrame, name: str) -> bool:
    """Return whether a frame has a column with a value in it."""
    return name in frame.columns and frame[name].null_count() < frame.height


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _name_nodule(hit: Mapping[str, Any]) -> str:
    """Return the id of a nodule, without the patient's before it: "N1" for PHANTOM-0017_N1."""
    name, patient = str(hit[schema.NODULE_ID] or "-"), str(hit[schema.PATIENT_ID] or "")
    rest = name.removeprefix(patient) if patient else name
    is_behind = len(rest) < len(name) and rest[:1] in _SEPARATORS
    return make_printable(rest.lstrip(_SEPARATORS) or name if is_behind else name)


def _name_slices(hits: pl.DataFrame) -> list[str]:
    """Return the path of each slice, with the frame of files that hold several: "scan.nii.gz#57"."""
    paths = [make_printable(path) for path in hits[schema.DICOM_PATH]]
    frames = hits[schema.FRAME].to_list() if schema.FRAME in hits.columns else []
    if not any(frame is not None and frame > 1 for frame in frames):
        return paths
    return [path if frame is None else f"{path}#{frame:g}" for path, frame in zip(paths, frames, strict=True)]


def shorten_paths(paths: Sequence[str], width: int) -> list[str]:
    """Shorten each path to its end; those of different slices stay different.

    Paths that look alike are cut within a folder's name, "…NTOM-0090/00002.dcm", and are longer where that needs it.
    """
    shown = {path: shorten_path(path, width) for path in paths}
    while alike := [path for path, count in zip(shown, _count_alike(shown), strict=True) if count > 1]:
        shown |= {path: path if len(path) <= width else "…" + path[-(width - 1) :] for path in alike}
        width += 1 + width // 8
    return [shown[path] for path in paths]


def _count_alike(shown: Mapping[str, str]) -> list[int]:
    """Return for each path how many paths have its short form."""
    counts = Counter(shown.values())
    return [counts[text] for text in shown.values()]


def shorten_path(path: str, width: int) -> str:
    """Shorten a path to its end, whole folders first: "…/LIDC-IDRI-0001/000017.dcm"."""
    parts = path.split("/")
    for start in range(len(parts)):
        short = "/".join(parts[start:]) if start == 0 else "…/" + "/".join(parts[start:])
        if len(short) <= width:
            return short
    return "…" + parts[-1][-(width - 1) :]
