"""The columns of a table that a user chose for stdout."""

import difflib
import json
from collections.abc import Sequence
from typing import Any, Final

import polars as pl
from rich import box
from rich.table import Table

from noduleclip.errors import UsageError
from noduleclip.report.console import data_console, plain

_MOST_NAMED: Final = 12


def parse_columns(text: str | None) -> tuple[str, ...]:
    """Return the names in a text, "rank,patient_id"; none where there is no text.

    Raises:
        UsageError: It has no names, or one of them twice.
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"--columns: {text[:80]!r} is no list of different names; write --columns rank,patient_id")
    return names


def choose_columns(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the named columns of a frame, in their order; all where none is named.

    Raises:
        UsageError: There is no such column; the message has those with similar names, or the first ones.
    """
    for name in names:
        if name not in frame.columns:
            near = difflib.get_close_matches(name, frame.columns, 3, 0.6)
            near = near or [one for one in frame.columns if name in one][:3]
            known = f"did you mean {' or '.join(near)}?" if near else f"there are {_list_names(frame.columns)}"
            raise UsageError(f"--columns: there is no column {name[:40]!r}; {known}")
    return frame.select(names) if names else frame


def _list_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def print_columns(frame: pl.DataFrame, title: str = "", caption: str = "") -> None:
    """Print all columns of a frame as a table: numbers to the right, texts folded where the window is narrow."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=plain(title) or None,
        caption=plain(caption) or None,
        title_justify="left",
        caption_justify="left",
        collapse_padding=True,
    )
    for name, kind in frame.schema.items():
        is_number = kind.is_numeric()
        table.add_column(plain(name), justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in frame.iter_rows():
        table.add_row(*map(_format_cell, row))
    data_console().print(table)


def _format_cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list):
        return plain(json.dumps(value))
    return plain(str(value))
