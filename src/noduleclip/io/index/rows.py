"""Selection of rows: by a condition, and in groups of which only the best row is a hit."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.index.base import Index
from noduleclip.io.index.condition_filters import build_expression
from noduleclip.io.index.conditions import list_columns, parse_condition

UNIQUE_NODULE = "nodule"
UNIQUE_COLUMNS = {
    UNIQUE_NODULE: (schema.PATIENT_ID, schema.NODULE_ID),
    "slice": (schema.DICOM_PATH, schema.FRAME),
    "series": (schema.SERIES_UID,),
    "patient": (schema.PATIENT_ID,),
}
_IMPLIED = {schema.FRAME: "1.0"}  # value of a row, or of an index, without one


def apply_condition(where: str, index: Index) -> pl.Series:
    """Evaluate a condition on every row of an index.

    Args:
        where: A condition in the language of `io.index.conditions`.
        index: The index.

    Returns:
        (N,) booleans, null where a value that decides is missing.

    Raises:
        UsageError: It is no condition on the columns of the index.
    """
    condition = parse_condition(where)
    expression = build_expression(condition, index.scan().collect_schema())
    columns = index.read_columns(list_columns(condition))  # first: their texts are checked
    return columns.select(expression.alias(schema.SATISFIES))[schema.SATISFIES]


def find_groups(index: Index, unique: str | None, rows: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Assign numbers to the groups of which only the best row is a hit; a row without an id is a group of its own.

    Args:
        index: Where the rows come from.
        unique: A key of `UNIQUE_COLUMNS`; None where every row may be a hit.
        rows: (M,) those that are ranked; None = all N.

    Returns:
        (M,) or (N,) numbers of groups, None where `unique` is.
    """
    if unique is None:
        return None
    held = index.scan().collect_schema().names()
    names = [name for name in UNIQUE_COLUMNS[unique] if name in held or name not in _IMPLIED]
    columns = index.read_columns(names).with_row_index(schema.ROW)
    own = -1 - pl.col(schema.ROW).cast(pl.Int64)
    texts = [pl.col(name).cast(pl.String).fill_null(_IMPLIED.get(name, "")) for name in names]
    missing = pl.any_horizontal(text == "" for text in texts)
    key = pl.lit(0, pl.Int64)
    for text in texts:  # numbers, not one text of both: that would be as long as all of them
        number = text.rank("dense").cast(pl.Int64)
        key = key * (number.max() + 1) + number
    key = pl.when(missing).then(own).otherwise(key)
    groups = columns.select(key.rank("dense").cast(pl.Int64)).to_series().to_numpy()
    return groups if rows is None else groups[rows]
