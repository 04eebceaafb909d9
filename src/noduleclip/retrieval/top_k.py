"""Exact Top-K over unit rows. Filters come first: only the given rows are ranked.

Scores are made by `numpy.vecdot`, row by row: a matrix product may give equal rows different last bits, and ties would
then not stand in the order of their rows. Many sentences at once are sifted by a matrix product, and what it lets
through is scored anew.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import ArtefactError
from noduleclip.machine import count_cores

_ROWS_AT_ONCE = 1 << 14  # of a matrix product; a thread's share of few sentences is up to eight times as large
_MANY_QUERIES = 4
_MEMBERS = 16  # of a group that are looked at first: readers of a nodule, nodules of a patient
_LENGTH_ERROR = 1e-3
_PRODUCT_ERROR = 1e-4  # far above what a product of unit vectors of any usual width is off by in float32

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


class Gallery(Protocol):
    """(N, D) unit rows: an array, or an object that reads rows on access."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Rows, /) -> Floats: ...


@dataclass(frozen=True)
class TopK:
    """Rows of a gallery, best first; ties stand in the order of their rows.

    Attributes:
        rows: (k,) row numbers.
        scores: (k,) their scores.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


def compute_cosines(query: Floats, gallery: Gallery, rows: Rows | None = None) -> Floats:
    """Return the cosine of a query with rows of a gallery, read once, in pieces, on all cores.

    Args:
        query: (D,) unit vector.
        gallery: (N, D) unit rows; may be memory-mapped.
        rows: (M,) ascending rows to compare with; None = all N.

    Returns:
        (M,) or (N,) cosines in [-1, 1].

    Raises:
        ArtefactError: A row is not finite.
    """
    cosines = np.empty(len(gallery) if rows is None else len(rows), np.float32)
    for piece, scores in _score_pieces(query[None], gallery, rows):
        cosines[piece] = scores[0]
    return np.clip(cosines, -1, 1, out=cosines)


def find_top_k(queries: Floats, gallery: Gallery, k: int, rows: Rows | None = None) -> list[TopK]:
    """Find the `k` gallery rows most similar to each query, in memory that does not grow with the gallery.

    Args:
        queries: (Q, D) unit vectors.
        gallery: (N, D) unit rows; may be memory-mapped.
        k: Rows wanted, at least 1; clipped to what there is.
        rows: (M,) ascending rows to choose from; None = all N.

    Returns:
        For each query its rows (k,), best first, ties to the lower row, and their cosines (k,) in [-1, 1], those of
        `compute_cosines`.

    Raises:
        ArtefactError: A row is not finite.
    """
    best = [TopK(np.empty(0, np.int64), np.empty(0)) for _ in queries]
    floors = np.full(len(queries), -np.inf, np.float32)  # a lower score is not among the best
    for piece, scores in _score_pieces(queries, gallery, rows):
        for query in np.flatnonzero(scores.max(axis=1) >= floors):
            if np.isneginf(floors[query]) and scores.shape[1] > k:
                floors[query] = np.partition(scores[query], -k)[-k] - _PRODUCT_ERROR
            found = np.flatnonzero(scores[query] >= floors[query]) + piece.start
            exact = np.vecdot(gallery[found if rows is None else rows[found]], queries[query])
            old = best[query]
            merged = select_top_k(np.concatenate([old.scores, np.clip(exact, -1, 1)]), k)
            best[query] = TopK(np.concatenate([old.rows, found])[merged.rows], merged.scores)
            if len(merged.rows) == k:
                floors[query] = merged.scores[-1] - _PRODUCT_ERROR
    return [one if rows is None else TopK(rows[one.rows], one.scores) for one in best]


def check_unit_norm(gallery: Gallery, rows: Rows) -> None:
    """Refuse rows that are no unit vectors.

    Called for the rows ranked first: a row that is too long is among them.

    Args:
        gallery: (N, D) rows.
        rows: (M,) those to look at.

    Raises:
        ArtefactError: Names the first of them.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.linalg.norm(gallery[rows].astype(np.float64), axis=1)
    odd = np.flatnonzero(~(np.abs(lengths - 1) <= _LENGTH_ERROR))  # NaN is odd, too
    if len(odd):
        raise ArtefactError(
            f"row {rows[odd[0]]} of the embeddings is no unit vector, its length is {lengths[odd[0]]:g}; embed again"
        )


def _score_pieces(queries: Floats, gallery: Gallery, rows: Rows | None) -> Iterator[tuple[slice, Floats]]:
    """Score a gallery piece by piece, in order: (Q, n) for each slice of n rows.

    Few queries are scored by as many threads as there are cores; many by a matrix product, which has its own.
    """
    count = len(gallery) if rows is None else len(rows)
    step, cores = _ROWS_AT_ONCE, count_cores()
    if len(queries) < _MANY_QUERIES:  # each piece costs the others' threads a moment
        step = min(max(step, count // (4 * cores)), 8 * step)
    pieces = [slice(start, min(start + step, count)) for start in range(0, count, step)]

    def score(piece: slice) -> Floats:
        part = gallery[piece] if rows is None else gallery[rows[piece]]
        with np.errstate(invalid="ignore", over="ignore"):  # values that are not finite are refused below
            if len(queries) < _MANY_QUERIES:
                scores: Floats = np.stack([np.vecdot(part, query) for query in queries])
            else:
                scores = queries @ part.T
        if not np.isfinite([scores.min(), scores.max()]).all():  # NaN wins in both
            at = piece.start + int(np.flatnonzero(~np.isfinite(scores).all(axis=0))[0])
            raise ArtefactError(
                f"row {at if rows is None else int(rows[at])} of the embeddings is not finite; embed again"
            )
        return scores

    if len(pieces) == 1 or len(queries) >= _MANY_QUERIES:
        yield from zip(pieces, map(score, pieces), strict=True)
        return
    with ThreadPoolExecutor(cores) as pool:
        yield from zip(pieces, pool.map(score, pieces), strict=True)


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
        rows = _select_in_groups(scores, k, groups)
    elif k >= len(scores):
        rows = np.argsort(-scores, kind="stable")
    else:
        lowest = np.partition(scores, len(scores) - k)[len(scores) - k]
        above = np.flatnonzero(scores > lowest)
        level = np.flatnonzero(scores == lowest)[: k - len(above)]
        rows = np.concatenate([above[np.argsort(-scores[above], kind="stable")], level])
    return TopK(rows.astype(np.int64), scores[rows].astype(np.float64))


def _select_in_groups(scores: NDArray[np.floating], k: int, groups: NDArray[np.integer]) -> Rows:
    """Select the best item of each group, among a growing number of the best items, until there are `k`."""
    looked_at = k
    while True:
        looked_at *= _MEMBERS
        if looked_at >= len(scores):
            best = np.arange(len(scores))
        else:
            best = np.flatnonzero(scores >= np.partition(scores, len(scores) - looked_at)[len(scores) - looked_at])
        ranked = best[np.argsort(-scores[best], kind="stable")]
        _, firsts = np.unique(groups[ranked], return_index=True)
        if len(firsts) >= k or len(best) == len(scores):
            chosen: Rows = ranked[np.sort(firsts)][:k]
            return chosen
