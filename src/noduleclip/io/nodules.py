"""Nodules of a ROI table: the rows of several readers of one nodule are one sample with several diameters."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.language import ATTRIBUTES, last_rating


@dataclass(frozen=True)
class Nodules:
    """Nodules of a table, each on one slice.

    Attributes:
        rows: (N,) row whose crop represents the nodule: its first.
        members: (N,) the rows of each nodule's readers, `rows` first.
        diameters_mm: (N, R) diameters by reader, NaN-padded; each nodule has at least one.
    """

    rows: NDArray[np.int64]
    members: tuple[tuple[int, ...], ...]
    diameters_mm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


def group_nodules(frame: pl.DataFrame) -> Nodules:
    """Group a checked ROI frame by nodule and slice; without a column `nodule_id` each row is a nodule.

    Rows without a diameter are left out.
    """
    rows = frame.with_row_index(schema.ROW).filter(pl.col(schema.DIAMETER_MM).is_not_null())
    if schema.NODULE_ID not in frame.columns:
        numbers = rows[schema.ROW].to_list()
        return _make_nodules([(number,) for number in numbers], [[size] for size in rows[schema.DIAMETER_MM]])
    nameless = pl.when(pl.col(schema.NODULE_ID).is_null()).then(pl.col(schema.ROW))  # each a nodule
    keys = [pl.col(name) for name in (schema.PATIENT_ID, schema.NODULE_ID, schema.DICOM_PATH)]
    if schema.FRAME in frame.columns:
        keys.append(pl.col(schema.FRAME).fill_null(1))
    groups = rows.group_by(*keys, nameless.alias("nameless"), maintain_order=True).agg(
        pl.col(schema.ROW), pl.col(schema.DIAMETER_MM)
    )
    return _make_nodules([tuple(members) for members in groups[schema.ROW]], groups[schema.DIAMETER_MM].to_list())


def parse_ratings(frame: pl.DataFrame, nodules: Nodules) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the ratings of each nodule's readers.

    Args:
        frame: The rows that the nodules were grouped from.
        nodules: N nodules with up to R readers.

    Returns:
        (N, R, A) ratings in the order of `Nodules.diameters_mm`, NaN where one is missing or not a whole number on its
        scale; and the A attributes of which there is any rating.
    """
    ratings = np.full((*nodules.diameters_mm.shape, len(ATTRIBUTES)), np.nan)
    for at, name in enumerate(ATTRIBUTES):
        if name in frame.columns:
            column = frame[name].cast(pl.Float64).to_numpy()
            fits = (column >= 1) & (column <= last_rating(name)) & (column == np.round(column))
            column = np.where(fits, column, np.nan)
            for nodule, rows in enumerate(nodules.members):
                ratings[nodule, : len(rows), at] = column[list(rows)]
    known = np.flatnonzero(np.isfinite(ratings).any(axis=(0, 1)))
    return ratings[:, :, known], tuple(ATTRIBUTES[at] for at in known)


def _make_nodules(members: list[tuple[int, ...]], sizes_mm: list[list[float]]) -> Nodules:
    readers = max((len(sizes) for sizes in sizes_mm), default=1)
    diameters = np.full((len(members), readers), np.nan)
    for nodule, sizes in enumerate(sizes_mm):
        diameters[nodule, : len(sizes)] = sizes
    return Nodules(np.array([rows[0] for rows in members], np.int64), tuple(members), diameters)
