"""Which rows of an index may be a hit: those that meet a condition, and of some groups only the best."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import UsageError
from noduleclip.io.index_store import Index

UNIQUE_COLUMNS = {
    "nodule": (schema.PATIENT_ID, schema.NODULE_ID),
    "slice": (schema.DICOM_PATH, schema.FRAME),
    "series": (schema.SERIES_UID,),
    "patient": (schema.PATIENT_ID,),
}
_IMPLIED = {schema.FRAME: "1.0"}  # what a row, or an index without such a column, means by saying nothing


def apply_condition(frame: pl.LazyFrame, where: str, index: Index) -> pl.Series:
    """Say of every row whether it meets a condition.

    Args:
        frame: The rows, as `index.scan` gives them.
        where: A SQL condition on their columns.
        index: Where they come from.

    Raises:
        UsageError: It is no condition on these columns.
    """
    try:
        condition = pl.sql_expr(where)
        index.require_columns([name for name in condition.meta.root_names() if name != schema.ROW])
        kept = frame.select(condition.alias(schema.SATISFIES)).collect()[schema.SATISFIES]
        if kept.dtype != pl.Boolean or kept.len() != index.manifest.rows:
            raise UsageError(f"--where {where!r} is no condition on a row; write for example 'diameter_mm > 4'")
        return kept
    except pl.exceptions.PolarsError as error:
        columns = ", ".join(frame.collect_schema().names())
        reason = str(error).splitlines()[0]
        raise UsageError(f"--where {where!r}: {reason}; the columns are {columns}") from error


def find_groups(index: Index, unique: str | None, rows: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Number the groups of which only the best row may be a hit; a row without an id is a group of its own.

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
    own = pl.concat_str(pl.lit("row "), pl.col(schema.ROW).cast(pl.String))
    texts = [pl.col(name).cast(pl.String).fill_null(_IMPLIED.get(name, "")) for name in names]
    missing = pl.any_horizontal(text == "" for text in texts)
    key = pl.when(missing).then(own).otherwise(pl.concat_str(*texts, separator="\x1f"))
    groups = columns.select(key.rank("dense").cast(pl.Int64)).to_series().to_numpy()
    return groups if rows is None else groups[rows]
