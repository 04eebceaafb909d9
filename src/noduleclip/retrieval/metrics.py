"""How good a ranking is: average precision over queries, judged by readers drawn at random."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.size import SizeInterval

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def average_precision(scores: Floats, relevance: Bools) -> Floats:
    """Average precision under several judgements; tied items count as found together.

    Args:
        scores: (N,) or (K, N), one ranking for all judgements or one for each; higher ranks first; no NaN.
        relevance: (K, N) which items are relevant, in each of K judgements.

    Returns:
        (K,) in (0, 1]; NaN for a judgement in which nothing is relevant.

    Source: sklearn.metrics.average_precision_score: sum over thresholds of precision times gain in recall.
    """
    scores = np.atleast_2d(scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked_scores = np.take_along_axis(scores, order, axis=1)
    ranked = np.take_along_axis(relevance, np.broadcast_to(order, relevance.shape), axis=1)
    last_of_tie = np.broadcast_to(_find_last_of_ties(ranked_scores), relevance.shape)
    found = np.cumsum(ranked, axis=1)
    precision = np.take_along_axis(found, last_of_tie, axis=1) / (last_of_tie + 1)
    total = found[:, -1]
    with np.errstate(invalid="ignore"):
        return np.asarray((precision * ranked).sum(axis=1) / np.where(total > 0, total, np.nan))


def normalized_dcg(scores: Floats, relevance: Bools) -> Floats:
    """Normalised discounted cumulative gain of a whole ranking; tied items share the mean of their discounts.

    Args:
        scores: (N,) higher ranks first; no NaN.
        relevance: (K, N) which items are relevant, in each of K judgements.

    Returns:
        (K,) in (0, 1]; NaN for a judgement in which nothing is relevant.

    Source: sklearn.metrics.ndcg_score with binary relevance.
    """
    discounts = 1 / np.log2(np.arange(len(scores)) + 2)
    order = np.argsort(-scores, kind="stable")
    _, ties = np.unique(-scores[order], return_inverse=True)
    shared = (np.bincount(ties, discounts) / np.bincount(ties))[ties]
    best = np.cumsum(discounts)
    total = relevance.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(relevance[:, order] @ shared / np.where(total > 0, best[total - 1], np.nan))


def _find_last_of_ties(ranked_scores: Floats) -> NDArray[np.int64]:
    """Give for each place of (K, N) descending scores the last place with the same score."""
    places = np.arange(ranked_scores.shape[1])
    ends = np.ones(ranked_scores.shape, bool)
    ends[:, :-1] = ranked_scores[:, :-1] != ranked_scores[:, 1:]
    ahead = np.where(ends, places, ranked_scores.shape[1])
    return np.minimum.accumulate(ahead[:, ::-1], axis=1)[:, ::-1]


def contains_all(interval: SizeInterval, diameters_mm: Floats) -> Bools:
    """Say of an array of diameters which lie in an interval; NaN lies in none."""
    low = diameters_mm >= interval.low_mm if interval.closed in ("left", "both") else diameters_mm > interval.low_mm
    high = diameters_mm <= interval.high_mm if interval.closed in ("right", "both") else diameters_mm < interval.high_mm
    return np.asarray(low & high)


def rank_by_diameter(interval: SizeInterval, diameters_mm: Floats) -> Floats:
    """Score items by a diameter as a reader would rank them for a sentence; higher is better.

    Descending for a lower bound, ascending for an upper bound, by distance of the logarithm from the middle of a range.
    """
    if interval.high_mm == np.inf:
        return diameters_mm
    if interval.low_mm <= 0:
        return -diameters_mm
    middle = np.log(max(interval.low_mm * interval.high_mm, np.finfo(np.float64).tiny)) / 2
    return np.asarray(-np.abs(np.log(diameters_mm) - middle))


@dataclass(frozen=True)
class Draws:
    """Which reader is the truth, and what the others say, in each of K draws over N nodules.

    Attributes:
        truth_mm: (K, N) diameter by the reader drawn.
        second_mm: (K, N) diameter by another reader drawn; NaN where there is no other.
        panel_mm: (K, N) mean diameter of all other readers; NaN where there is none.
    """

    truth_mm: Floats
    second_mm: Floats
    panel_mm: Floats


def draw_readers(diameters_mm: Floats, draws: int = 50, seed: int = 0) -> Draws:
    """Draw a reader for each nodule as the truth, and another to be compared with.

    Args:
        diameters_mm: (N, R) diameters by reader; NaN where a nodule has fewer than R, at least one is a number.
        draws: K.
        seed: Seed of the draws.
    """
    generator = np.random.default_rng(seed)
    nodules, readers = diameters_mm.shape
    present = np.isfinite(diameters_mm)
    keys = np.where(present, generator.random((draws, nodules, readers)), -1.0)
    order = np.argsort(-keys, axis=2)
    everyone = np.broadcast_to(diameters_mm, keys.shape)
    truth = np.take_along_axis(everyone, order[:, :, :1], axis=2)[:, :, 0]
    second = (
        np.take_along_axis(everyone, order[:, :, 1:2], axis=2)[:, :, 0] if readers > 1 else np.full_like(truth, np.nan)
    )
    others = present.sum(axis=1) - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        panel: Floats = np.where(others > 0, (np.nansum(diameters_mm, axis=1) - truth) / others, np.nan)
    panel = np.where(others == 1, second, panel)  # the rounding of a difference would break ties
    return Draws(truth, second, panel)


def mean_average_precisions(
    scores: Floats | Sequence[Floats], intervals: Sequence[SizeInterval], truth_mm: Floats
) -> Floats:
    """Average precision of each query, averaged over draws in which anything is relevant.

    Args:
        scores: (Q, N) one ranking per query, or (Q, K, N) one per query and draw.
        intervals: Q intervals that say what is relevant.
        truth_mm: (K, N) the judging diameters.

    Returns:
        (Q,) NaN for a query that is true of nothing in every draw.
    """
    values = []
    for query_scores, interval in zip(scores, intervals, strict=True):
        precisions = average_precision(query_scores, contains_all(interval, truth_mm))
        known = precisions[np.isfinite(precisions)]
        values.append(known.mean() if known.size else np.nan)
    return np.array(values)


def precision_at(k: int, scores: Floats, relevance: Bools) -> float:
    """Share of relevant items among the best `k` (or all, if fewer) of (N,) scores, over (K, N) judgements."""
    best = np.argsort(-scores, kind="stable")[:k]
    return float(relevance[:, best].mean())
