"""Diameters and ratings of all readers, from a table beside an index, for the nodules of the index."""

from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.io.consensus import expand_readers
from noduleclip.io.roi_table import find_diameter_kind, read_roi_table

_KEYS = (schema.PATIENT_ID, schema.NODULE_ID, schema.DICOM_PATH)


def read_readers(path: Path, meta: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Replace the rows of an index by those of a table in which every reader has a row.

    Args:
        path: ROI table with `nodule_id`; one row per reader of a nodule on a slice.
        meta: Metadata of the index, in the order of its rows.

    Returns:
        The rows of the readers, each with the `row` of its nodule in the index, in the order of the index, and how
        many nodules of the index are not in the table; these keep their own readers.

    Raises:
        InputError: Table or index name no nodules, not one nodule is in both, or their diameters are of two kinds.
    """
    table = read_roi_table(path).frame
    for where, frame in ((str(path), table), ("the index", meta)):
        if schema.NODULE_ID not in frame.columns:
            raise InputError(f"{where}: has no column {schema.NODULE_ID}, by which readers' rows are found")
    kinds = find_diameter_kind(table), find_diameter_kind(meta)
    if None not in kinds and kinds[0] != kinds[1]:
        raise InputError(
            f"{path}: its {schema.DIAMETER_KIND} is {kinds[0]}, the index's {kinds[1]}; "
            "diameters of two kinds do not compare"
        )
    keys = list(_KEYS)
    if schema.FRAME in table.columns and schema.FRAME in meta.columns:
        keys.append(schema.FRAME)
        table, meta = (each.with_columns(pl.col(schema.FRAME).fill_null(1)) for each in (table, meta))
    nodules = meta.with_row_index(schema.ROW).unique(keys, keep="first", maintain_order=True)
    known = nodules.select(schema.ROW, *keys).join(table, on=keys, how="inner", maintain_order="left_right")
    missing = nodules.join(table, on=keys, how="anti", maintain_order="left")
    if known.height == 0:
        raise InputError(
            f"{path}: none of its nodules is in the index; {', '.join(keys)} must be those of the table embedded"
        )
    of_index = expand_readers(missing)
    shared = [name for name in known.columns if name in of_index.columns]
    rows = pl.concat([known.select(shared), of_index.select(shared)], how="vertical_relaxed")
    return rows.sort(schema.ROW, maintain_order=True), missing.height
