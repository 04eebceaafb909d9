"""The way past the exact ranking, where an index has a vector index and a question needs no more than its best rows.

The vector index names candidates, whose cosines are then made as those of all rows are: scores and order are the exact
ones, and only a row that it does not name can be missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.index.conditions import Condition, Membership, build_expression, build_lance_filter, parse_condition
from noduleclip.io.index.folder import Index
from noduleclip.io.index.lance_tables import name_column
from noduleclip.io.patients import read_patient_list
from noduleclip.io.roi_table import select_patients
from noduleclip.report.console import say, warn
from noduleclip.retrieval.top_k import TopK, find_top_k

_MOST_HITS = 100
_MOST_PATIENTS = 1000
_SPARE = 16  # rows looked for beyond those wanted: the vector index may misjudge a tie
_LEAST_SHARE = 0.05  # of the rows: among fewer the nearest ones lie in parts that are not looked into


@dataclass(frozen=True)
class _Filter:
    """A filter as the vector index takes it, and ids of patients that it does not know."""

    condition: str | None
    unknown: int = 0


def take_shortcut(
    index: Index,
    vectors: NDArray[np.float32],
    k: int,
    *,
    where: str | None,
    patients_file: Path | None,
    left_out: NDArray[np.int64],
    tells: bool = True,
) -> list[TopK] | None:
    """Find the hits of a query by the vector index.

    Args:
        index: What is searched.
        vectors: (Q, D) unit vectors.
        k: Hits wanted.
        where: Condition on the rows.
        patients_file: The only patients to rank.
        left_out: Ascending rows that are no hits.
        tells: Whether to print the notes on how the hits were found; later batches of sentences do not.

    Returns:
        The hits of each vector; None where only the exact ranking can answer.
    """
    if not index.has_vector_index or k + len(left_out) > _MOST_HITS:
        return None
    chosen = _push_down(index, where, patients_file)
    if chosen is None:
        return None
    if chosen.condition is not None:
        least = max(k + len(left_out), int(_LEAST_SHARE * index.manifest.rows))
        if index.count_rows(chosen.condition) < least:
            return None
    hits = []
    for vector in vectors:
        near = index.find_near(vector, k + len(left_out) + _SPARE, chosen.condition)
        candidates = np.setdiff1d(near, left_out, assume_unique=True)
        if len(candidates) < k:
            return None
        hits += find_top_k(vector[None], index.embeddings, k, candidates)
    if chosen.unknown and tells:
        warn(f"{patients_file}: {chosen.unknown} patient(s) are not among the rows to rank")
    if tells:
        say("note: found by the vector index, which may miss a row; --exact looks at all of them")
    return hits


def _push_down(index: Index, where: str | None, patients_file: Path | None) -> _Filter | None:
    """Return the filters as one condition of Lance; None where the vector index cannot apply one of them."""
    rows = index.scan()
    dtypes = rows.collect_schema()
    conditions: list[Condition] = []
    if where is not None:
        conditions.append(parse_condition(where))
        rows = rows.filter(build_expression(conditions[0], dtypes))
    unknown: Sequence[str] = ()
    if patients_file is not None:
        patients = index.collect(rows.select(schema.PATIENT_ID).unique())
        known, unknown = select_patients(patients, read_patient_list(patients_file))
        if not 0 < known.height <= _MOST_PATIENTS:
            return None
        conditions.append(Membership(schema.PATIENT_ID, tuple(known[schema.PATIENT_ID])))
    stored = {name: dtype for name, dtype in dtypes.items() if name_column(name) == name}
    filters = [build_lance_filter(condition, stored) for condition in conditions]
    if None in filters:
        return None
    return _Filter(" AND ".join(f"({one})" for one in filters) or None, len(unknown))
