"""The columns of a table that a user chose for stdout."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from noduleclip.errors import UsageError, suggest_names

LIST_COLUMNS: Final = ("list",)
"""What `parse_columns` returns where the names of all columns are asked for."""


def parse_columns(text: str | None) -> tuple[str, ...]:
    """Return the names in a text, "rank,patient_id"; none where there is no text.

    Raises:
        UsageError: It has no names, or one of them twice.
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(
            f"--columns: {text[:80]!r} is no list of different names; write --columns rank,patient_id, or "
            "--columns list for the names"
        )
    return names


def choose_columns(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return the named columns of a frame, in their order; all where none is named, or their names are asked for.

    Raises:
        UsageError: There is no such column; the message has similar names.
    """
    if tuple(names) in ((), LIST_COLUMNS):
        return frame
    for name in names:
        if name not in frame.columns:
            near = suggest_names(name, frame.columns)
            names_all = f"--columns list prints the {frame.width} names"
            raise UsageError(f"--columns: there is no column {name[:40]!r}{f'{near} ' if near else '; '}{names_all}")
    return frame.select(names)
