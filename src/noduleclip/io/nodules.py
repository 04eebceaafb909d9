"""From rows to nodules: the rows of several readers on one nodule are one sample with several diameters."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema


@dataclass(frozen=True)
class Nodules:
    """Nodules of a frame, each seen on one slice.

    Attributes:
        rows: (N,) the row of the frame whose crop stands for the nodule: its first.
        diameters_mm: (N, R) diameters by reader, NaN-padded; each nodule has at least one.
    """

    rows: NDArray[np.int64]
    diameters_mm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


def group_nodules(frame: pl.DataFrame) -> Nodules:
    """Group a checked ROI frame by nodule and slice; without a column `nodule_id` each row is a nodule.

    Rows without a diameter are left out.
    """
    rows = frame.with_row_index(schema.ROW).filter(pl.col(schema.DIAMETER_MM).is_not_null())
    if schema.NODULE_ID not in frame.columns:
        return Nodules(rows[schema.ROW].to_numpy().astype(np.int64), rows[schema.DIAMETER_MM].to_numpy()[:, None])
    nameless = pl.when(pl.col(schema.NODULE_ID).is_null()).then(pl.col(schema.ROW))  # each a nodule of its own
    groups = rows.group_by(
        schema.PATIENT_ID, schema.NODULE_ID, schema.DICOM_PATH, nameless.alias("nameless"), maintain_order=True
    ).agg(pl.col(schema.ROW).first(), pl.col(schema.DIAMETER_MM))
    readers = max((len(values) for values in groups[schema.DIAMETER_MM]), default=1)
    diameters = np.full((groups.height, readers), np.nan)
    for nodule, values in enumerate(groups[schema.DIAMETER_MM]):
        diameters[nodule, : len(values)] = values.to_numpy()
    return Nodules(groups[schema.ROW].to_numpy().astype(np.int64), diameters)
