"""Exact Top-K over unit rows. Filters come before it: only the rows asked for are ranked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import ArtefactError

_ROWS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class TopK:
    """Rows of a gallery, best first; ties stand in the order of their rows.

    Attributes:
        rows: (k,) row numbers.
        scores: (k,) their scores.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


def compute_cosines(
    query: NDArray[np.float32], gallery: NDArray[np.float32], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Give the cosine of a query with rows of a gallery, read once and in pieces.

    Args:
        query: (D,) unit vector.
        gallery: (N, D) unit rows; may be memory-mapped.
        rows: (M,) ascending rows to compare with; None = all N.

    Returns:
        (M,) or (N,) cosines in [-1, 1].

    Raises:
        ArtefactError: A row is not finite.
    """
    count = len(gallery) if rows is None else len(rows)
    cosines = np.empty(count, np.float32)
    for start in range(0, count, _ROWS_AT_ONCE):
        piece = slice(start, min(start + _ROWS_AT_ONCE, count))
        part = gallery[piece] if rows is None else gallery[rows[piece]]
        np.vecdot(part, query, out=cosines[piece])  # matmul may give equal rows different last bits
    if not np.isfinite(cosines).all():
        row = int(np.flatnonzero(~np.isfinite(cosines))[0])
        raise ArtefactError(
            f"row {row if rows is None else int(rows[row])} of the embeddings is not finite; embed again"
        )
    return np.clip(cosines, -1, 1, out=cosines)


def select_top_k(scores: NDArray[np.floating], k: int, groups: NDArray[np.integer] | None = None) -> TopK:
    """Select the best of some scored items.

    Args:
        scores: (N,) higher is better; no NaN.
        k: Items wanted, at least 1; clipped to what there is.
        groups: (N,) group of each item; only the best item of each group can be selected.

    Returns:
        At most `k` items, best first, ties to the lower one.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if groups is not None:
        ranked = np.argsort(-scores, kind="stable")
        _, firsts = np.unique(groups[ranked], return_index=True)
        rows = ranked[np.sort(firsts)][:k]
    elif k >= len(scores):
        rows = np.argsort(-scores, kind="stable")
    else:
        lowest = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > lowest)
        level = np.flatnonzero(scores == lowest)[: k - len(above)]
        rows = np.concatenate([above[np.argsort(-scores[above], kind="stable")], level])
    return TopK(rows.astype(np.int64), scores[rows].astype(np.float64))


def find_top_k(query: NDArray[np.float32], gallery: NDArray[np.float32], k: int) -> TopK:
    """Find the `k` gallery rows most similar to a query.

    Args:
        query: (D,) unit vector.
        gallery: (N, D) unit rows; may be memory-mapped.
        k: Rows wanted, at least 1; clipped to N.

    Returns:
        Rows (k,), best first, ties to the lower row; cosines (k,) in [-1, 1].
    """
    return select_top_k(compute_cosines(query, gallery), k)
