"""Approximate search by the vector index of a Lance store.

The vector index proposes candidates, whose cosines are then computed exactly: a hit can be missing, its score cannot be
wrong.
"""

import numpy as np
from numpy.typing import NDArray

from noduleclip.io.index.base import Index
from noduleclip.io.index.condition_filters import build_expression, build_lance_filter
from noduleclip.io.index.conditions import parse_condition
from noduleclip.io.index.lance_tables import name_column
from noduleclip.retrieval.top_k import TopK, find_top_k
from noduleclip.workflows.reporter import Reporter

_MOST_HITS = 100
_SPARE = 16  # candidates beyond the hits wanted: the vector index may misjudge a tie


def approximate_search(
    index: Index, vectors: NDArray[np.float32], k: int, *, where: str, excluded: NDArray[np.int64], reporter: Reporter
) -> list[TopK] | None:
    """Find the hits of a query by the vector index.

    Args:
        index: The index.
        vectors: (Q, D) unit vectors.
        k: Hits per vector.
        where: Condition on the rows; empty = none.
        excluded: Ascending rows that are no hits.
        reporter: Receives a note on the result.

    Returns:
        The hits of each vector; None where the exact ranking has to answer: no vector index, many hits, or a condition
        that few rows meet or that Lance evaluates in another way.

    Raises:
        UsageError: The condition cannot be parsed.
    """
    if not index.has_vector_index or k + len(excluded) > _MOST_HITS:
        return None
    condition = _build_filter(index, where) if where else None
    if where and condition is None:
        return None
    hits = []
    for vector in vectors:
        near = index.find_near(vector, k + len(excluded) + _SPARE, condition)
        candidates = np.setdiff1d(near, excluded, assume_unique=True)
        if len(candidates) < k:
            return None
        hits += find_top_k(vector[None], index.embeddings, k, candidates)
    reporter.note("found by the vector index, which may miss a row; --exact looks at all of them")
    return hits


def _build_filter(index: Index, where: str) -> str | None:
    """Return a condition in Lance's SQL; None where Lance might select other rows."""
    condition = parse_condition(where)
    dtypes = index.scan().collect_schema()
    build_expression(condition, dtypes)  # raises for columns that the index does not hold
    return build_lance_filter(condition, {name: kind for name, kind in dtypes.items() if name_column(name) == name})
