"""Average precision of rankings against readers drawn at random."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.ranked import Ranked
from noduleclip.language import SizeInterval

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def average_precision(scores: Floats, relevance: Bools) -> Floats:
    """Compute average precision for several relevance judgements; tied items count as found together.

    Args:
        scores: (N,) or (K, N), one ranking for all judgements or one for each; higher ranks first; without NaN.
        relevance: (K, N) which items are relevant in each judgement.

    Returns:
        (K,) in (0, 1]; NaN for a judgement without relevant items.

    Source: sklearn.metrics.average_precision_score: sum over thresholds of precision times gain in recall.
    """
    return np.asarray(Ranked(scores, relevance).measure()[0])


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
    """Diameters of the true reader and of the others in K draws over N nodules.

    Attributes:
        truth_mm: (K, N) diameter by the true reader.
        second_mm: (K, N) diameter by another reader; NaN where there is none.
        panel_mm: (K, N) mean diameter of all other readers; NaN where there is none.
    """

    truth_mm: Floats
    second_mm: Floats
    panel_mm: Floats


def draw_pairs(present: Bools, draws: int = 50, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a true reader and another reader for each nodule.

    Args:
        present: (N, R) whether a reader has read a nodule.
        draws: K.
        seed: Seed of the draws.

    Returns:
        (K, N) numbers of the true readers, and (K, N) of the others; for a nodule with one reader the other's `present`
        is False, or it is the same reader where R is 1.
    """
    generator = np.random.default_rng(seed)
    keys = np.where(present, generator.random((draws, *present.shape)), -1.0)
    order = np.argsort(-keys, axis=2)
    return order[:, :, 0], order[:, :, min(1, present.shape[1] - 1)]


def draw_readers(diameters_mm: Floats, draws: int = 50, seed: int = 0) -> Draws:
    """Draw a true reader for each nodule, and diameters of another reader and of the panel.

    Args:
        diameters_mm: (N, R) diameters by reader; NaN where a nodule has fewer than R, at least one is a number.
        draws: K.
        seed: Seed of the draws.
    """
    present = np.isfinite(diameters_mm)
    first, other = draw_pairs(present, draws, seed)
    nodules = np.arange(len(diameters_mm))
    truth, second = diameters_mm[nodules, first], diameters_mm[nodules, other]
    others = present.sum(axis=1) - 1
    second = np.where(others > 0, second, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        panel: Floats = np.where(others > 0, (np.nansum(diameters_mm, axis=1) - truth) / others, np.nan)
    panel = np.where(others == 1, second, panel)  # the rounding of a difference would break ties
    return Draws(truth, second, panel)


def mean_average_precisions(
    scores: Floats | Sequence[Floats], intervals: Sequence[SizeInterval], truth_mm: Floats
) -> Floats:
    """Compute the average precision of each query, mean over draws with a relevant nodule.

    Args:
        scores: (Q, N) one ranking per query, or (Q, K, N) one per query and draw.
        intervals: Q intervals; a nodule inside is relevant.
        truth_mm: (K, N) true diameters.

    Returns:
        (Q,) NaN for a query without a relevant nodule in any draw.
    """
    values = []
    for query_scores, interval in zip(scores, intervals, strict=True):
        precisions = average_precision(query_scores, interval.contains_each(truth_mm))
        known = precisions[np.isfinite(precisions)]
        values.append(known.mean() if known.size else np.nan)
    return np.array(values)
