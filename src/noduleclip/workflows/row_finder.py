"""Rows of an index by filter and group, and its columns of numbers; kept in memory between requests."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.index.base import Index
from noduleclip.io.index.rows import apply_condition, find_groups
from noduleclip.io.patients import read_patient_list
from noduleclip.io.roi_table import select_patients
from noduleclip.language import ATTRIBUTES
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.search_request import RowFilter

_KEPT_COLUMNS = 2 * (1 + len(ATTRIBUTES))  # a sentence may ask for all sizes and ratings, measured and estimated

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class RowFinder:
    """Finds the rows of an index that a request is about.

    Attributes:
        read_numbers: Returns a column as (N,) numbers, NaN where a value or the whole column is missing.
    """

    def __init__(self, index: Index, kept: int = 0) -> None:
        """Prepare to find rows.

        Args:
            index: The index.
            kept: How many filters and groups are kept in memory for later requests, and with them all columns of
                numbers; 0 = none.
        """
        self._index, self._columns = index, index.scan().collect_schema().names()
        self._filter = functools.lru_cache(kept)(self._filter_rows)
        self._group = functools.lru_cache(kept)(lambda unique: find_groups(index, unique, None))
        self.read_numbers = functools.lru_cache(kept and _KEPT_COLUMNS)(self._load_numbers)

    def find_rows(self, filters: RowFilter, reporter: Reporter = SILENT) -> Rows | None:
        """Return the ascending rows that a filter leaves, which may be none; None where it is no filter.

        Raises:
            UsageError: The condition cannot be parsed.
            InputError: The list of patients cannot be read.
        """
        if not filters:
            return None
        rows, unknown = self._filter(filters)
        if unknown and filters.patients is not None:
            name = str(filters.patients) if isinstance(filters.patients, Path) else "patients"
            reporter.warning(f"{name}: {unknown} patient(s) are not among the rows to rank")
        return rows

    def find_groups(self, unique: str | None) -> Rows | None:
        """Return for each of the N rows the number of its nodule, slice, series or patient."""
        return self._group(unique)

    def _load_numbers(self, name: str) -> Floats:
        """Return a column as (N,) numbers; NaN where a value, or the whole column, is missing."""
        if name not in self._columns:
            return np.full(self._index.manifest.rows, np.nan)
        return self._index.read_columns([name])[name].cast(pl.Float64).to_numpy()

    def _filter_rows(self, filters: RowFilter) -> tuple[Rows, int]:
        """Return the ascending rows that a filter leaves, and how many patients of its list have no row."""
        unknown: Sequence[str] = ()
        kept = self._index.collect(self._index.scan().select(schema.ROW, schema.PATIENT_ID, schema.DIAMETER_MM))
        if filters.where:  # a value for each row of the index
            kept = kept.filter(apply_condition(filters.where, self._index))
        if filters.rows is not None:
            kept = kept.filter(pl.col(schema.ROW).is_in(list(filters.rows)))
        if filters.min_diameter_mm is not None:
            kept = kept.filter(pl.col(schema.DIAMETER_MM) >= filters.min_diameter_mm)
        if filters.max_diameter_mm is not None:
            kept = kept.filter(pl.col(schema.DIAMETER_MM) <= filters.max_diameter_mm)
        if filters.patients is not None:
            listed = filters.patients
            kept, unknown = select_patients(kept, read_patient_list(listed) if isinstance(listed, Path) else listed)
        return kept[schema.ROW].cast(pl.Int64).to_numpy(), len(unknown)
