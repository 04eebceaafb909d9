"""Approximate search by the vector index of a Lance store.

The vector index proposes candidates; their cosines are computed exactly, so that only a row that it does not propose
can be missing from the hits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.index.base import Index
from noduleclip.io.index.conditions import Condition, Membership, build_expression, build_lance_filter, parse_condition
from noduleclip.io.index.lance_tables import name_column
from noduleclip.io.patients import read_patient_list
from noduleclip.io.roi_table import select_patients
from noduleclip.retrieval.top_k import TopK, find_top_k
from noduleclip.workflows.reporter import Reporter

_MOST_HITS = 100
_MOST_PATIENTS = 1000
_SPARE = 16  # rows looked for beyond those wanted: the vector index may misjudge a tie
_LEAST_SHARE = 0.05  # of the rows: among fewer the nearest ones lie in parts that are not looked into


@dataclass(frozen=True)
class _Filter:
    """A filter as the vector index takes it, and ids of patients that it does not know."""

    condition: str | None
    unknown: int = 0


def approximate_search(
    index: Index,
    vectors: NDArray[np.float32],
    k: int,
    *,
    where: str,
    patients: Sequence[str] | Path | None,
    left_out: NDArray[np.int64],
    reporter: Reporter,
) -> list[TopK] | None:
    """Find the hits of a query by the vector index.

    Args:
        index: The index.
        vectors: (Q, D) unit vectors.
        k: Hits per vector.
        where: Condition on the rows; empty = none.
        patients: The only patients to rank: ids, or a file of them; None = all.
        left_out: Ascending rows that are no hits.
        reporter: Receives notes on the result.

    Returns:
        The hits of each vector; None where only the exact ranking can answer.
    """
    if not index.has_vector_index or k + len(left_out) > _MOST_HITS:
        return None
    pushed = _push_down(index, where, patients)
    if pushed is None:
        return None
    if pushed.condition is not None:
        least = max(k + len(left_out), int(_LEAST_SHARE * index.manifest.rows))
        if index.count_rows(pushed.condition) < least:
            return None
    hits = []
    for vector in vectors:
        near = index.find_near(vector, k + len(left_out) + _SPARE, pushed.condition)
        candidates = np.setdiff1d(near, left_out, assume_unique=True)
        if len(candidates) < k:
            return None
        hits += find_top_k(vector[None], index.embeddings, k, candidates)
    if pushed.unknown and patients is not None:
        warn_of_unknown_patients(patients, pushed.unknown, reporter)
    reporter.note("found by the vector index, which may miss a row; --exact looks at all of them")
    return hits


def list_patients(patients: Sequence[str] | Path) -> Sequence[str]:
    """Return the ids of a list, or of the file that holds it.

    Raises:
        InputError: The file cannot be read.
    """
    return read_patient_list(patients) if isinstance(patients, Path) else patients


def warn_of_unknown_patients(patients: Sequence[str] | Path, count: int, reporter: Reporter) -> None:
    """Warn that patients of a list have no row."""
    name = str(patients) if isinstance(patients, Path) else "patients"
    reporter.warning(f"{name}: {count} patient(s) are not among the rows to rank")


def _push_down(index: Index, where: str, patients: Sequence[str] | Path | None) -> _Filter | None:
    """Return the filters as one condition of Lance; None where the vector index cannot apply one of them."""
    rows = index.scan()
    dtypes = rows.collect_schema()
    conditions: list[Condition] = []
    if where:
        conditions.append(parse_condition(where))
        rows = rows.filter(build_expression(conditions[0], dtypes))
    unknown: Sequence[str] = ()
    if patients is not None:
        present = index.collect(rows.select(schema.PATIENT_ID).unique())
        known, unknown = select_patients(present, list_patients(patients))
        if not 0 < known.height <= _MOST_PATIENTS:
            return None
        conditions.append(Membership(schema.PATIENT_ID, tuple(known[schema.PATIENT_ID])))
    stored = {name: dtype for name, dtype in dtypes.items() if name_column(name) == name}
    filters = [build_lance_filter(condition, stored) for condition in conditions]
    if None in filters:
        return None
    return _Filter(" AND ".join(f"({one})" for one in filters) or None, len(unknown))
