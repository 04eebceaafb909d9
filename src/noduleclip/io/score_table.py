"""Scores of another ranking method, to evaluate it by the same protocol."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.io.text_table import read_text_frame


def read_scores(path: Path, queries: Sequence[str], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Load scores of the rows of an index; higher scores rank first.

    Args:
        path: CSV with a column `row`, the row of the index, and one column per sentence, named by it.
        queries: Q sentences.
        rows: (N,) rows of the index.

    Returns:
        (Q, N) scores.

    Raises:
        InputError: The file is no such table, or a row, a sentence or a score is missing.
    """
    table = read_text_frame(path, "table of scores", (schema.ROW,))
    missing = sorted({schema.ROW, *queries}.difference(table.columns))
    if missing:
        raise InputError(f"{path}: has no column {missing[0]!r}; needed are {schema.ROW} and one per sentence")
    numbers = table.select(pl.col(name).cast(pl.Float64, strict=False) for name in (schema.ROW, *queries))
    wanted = pl.DataFrame({schema.ROW: rows.astype(np.float64)})
    found = wanted.join(numbers.unique(schema.ROW, keep="first"), on=schema.ROW, how="left", maintain_order="left")
    scores = found.select(queries).to_numpy().T.astype(np.float64)
    if not np.isfinite(scores).all():
        query, row = np.argwhere(~np.isfinite(scores))[0]
        raise InputError(f"{path}: row {rows[row]} of the index has no score for {queries[query]!r}")
    return scores
