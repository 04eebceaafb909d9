"""Ranking metrics with weights: items are sorted once, and weighted anew for each bootstrap sample."""

import functools
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]

METRICS: Final = ("ap", "precision_10", "precision_50", "ndcg")


class Ranked:
    """K rankings of N items, best first, with the relevant items of each.

    Items of equal score share a place: they count as found together, and a cut through them counts their share.

    Args:
        scores: (N,) or (K, N), one ranking for all judgements or one for each; higher ranks first; without NaN.
        relevance: (K, N) which items are relevant in each judgement.
    """

    def __init__(self, scores: Floats, relevance: Bools) -> None:
        scores = np.atleast_2d(scores)
        order = np.argsort(-scores, axis=1, kind="stable")
        ranked = np.take_along_axis(scores, order, axis=1)
        places = np.arange(scores.shape[1])
        starts = np.ones(ranked.shape, bool)
        starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
        ends = np.ones(ranked.shape, bool)
        ends[:, :-1] = starts[:, 1:]
        first = np.maximum.accumulate(np.where(starts, places, 0), axis=1)
        last = np.minimum.accumulate(np.where(ends, places, scores.shape[1])[:, ::-1], axis=1)[:, ::-1]
        self.tied = not (starts.all() and ends.all())
        self.order: Indices = np.broadcast_to(order, relevance.shape)
        self.first: Indices = np.broadcast_to(first, relevance.shape)
        self.last: Indices = np.broadcast_to(last, relevance.shape)
        self.relevant: Bools = np.take_along_axis(relevance, self.order, axis=1)

    def measure(self, counts: NDArray[np.integer] | None = None, judgements: Indices | None = None) -> Floats:
        """Return (4, K) of `METRICS`; NaN for a judgement without relevant items.

        Args:
            counts: (N,) integer weight of each item; None = one.
            judgements: Which of the K judgements to measure; None = all.

        Source: sklearn.metrics.average_precision_score and ndcg_score with binary relevance and `counts` copies of
        every item; precision at k as its expectation over the orders of tied items.
        """
        some = slice(None) if judgements is None else judgements
        order, relevant = self.order[some], self.relevant[some]
        weight: Indices = (
            np.ones(order.shape, np.int64) if counts is None else counts.astype(np.int64, copy=False).take(order)
        )
        gain: Indices = weight * relevant
        seen, found = _sum_up(weight), _sum_up(gain)
        if self.tied:
            rows = np.arange(len(order))[:, None] * seen.shape[1]
            starts, ends = self.first[some] + rows, self.last[some] + rows + 1
            to_start, to_end = (seen.take(starts), found.take(starts)), (seen.take(ends), found.take(ends))
        else:
            to_start, to_end = (seen[:, :-1], found[:, :-1]), (seen[:, 1:], found[:, 1:])
        total = found[:, -1]
        known = np.where(total > 0, total, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.where(to_end[0] > 0, to_end[1] / to_end[0], 0)
            ap = (precision * gain).sum(axis=1) / known
            discounts = _sum_discounts(1 << int(seen[:, -1].max()).bit_length())
            tied = to_end[0] - to_start[0]
            shared = np.where(tied > 0, (discounts[to_end[0]] - discounts[to_start[0]]) / tied, 0)
            ndcg = (gain * shared).sum(axis=1) / np.where(total > 0, discounts[total], np.nan)
        precisions = [_precision_at(k, to_start, to_end, total) for k in (10, 50)]
        return np.stack([ap, *precisions, ndcg])


def _sum_up(values: Indices) -> Indices:
    """Return (K, N + 1) sums of the first 0 to N of (K, N) values."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1), np.int64)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


@functools.lru_cache(maxsize=32)
def _sum_discounts(most: int) -> Floats:
    """Return (most + 1,) sums of the discounts of the first places."""
    return np.concatenate([[0], np.cumsum(1 / np.log2(np.arange(most) + 2))])


def _precision_at(k: int, to_start: tuple[Indices, Indices], to_end: tuple[Indices, Indices], total: Indices) -> Floats:
    """Return (K,) share of relevant items among the best k, or among all where there are fewer."""
    k_of = np.minimum(k, to_end[0][:, -1])
    where = np.arange(len(k_of)), np.argmax(to_end[0] >= k_of[:, None], axis=1)
    seen, found, seen_after, found_after = (part[where] for part in (*to_start, *to_end))
    tied = np.maximum(seen_after - seen, 1)
    with np.errstate(invalid="ignore"):
        share = (found + (found_after - found) * (k_of - seen) / tied) / k_of
    return np.asarray(np.where(total > 0, share, np.nan))
