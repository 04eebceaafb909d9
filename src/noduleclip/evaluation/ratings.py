"""Estimated ratings: their distance from a reader's, beside another reader's and the panel's."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.measures import Measure, compare_means, draw_weights
from noduleclip.evaluation.metrics import draw_pairs
from noduleclip.evaluation.readers import Readers

Floats = NDArray[np.float64]
Summary = Literal["median", "mean"]


def measure_ratings(
    estimated: Mapping[str, NDArray[np.floating]],
    readers: Readers,
    patients: NDArray[np.int64],
    *,
    draws: int = 50,
    resamples: int = 300,
    seed: int = 0,
) -> tuple[Measure, ...]:
    """Measure the mean absolute difference of estimated ratings from those of a reader drawn at random.

    Args:
        estimated: (N,) estimated rating by attribute.
        readers: Readings of the N nodules.
        patients: (N,) number of each nodule's patient.
        draws: Draws of the true reader.
        resamples: Bootstrap samples of patients.
        seed: Seed of the draws and of the bootstrap.

    Returns:
        One measure for each attribute that the model estimates and that two readers of a nodule rated. The panel is
        the median of all other readers, as the estimate is the median of the predicted distribution.
    """
    measures = []
    for attribute in readers.attributes:
        ratings = readers.rating(attribute)
        rows = np.flatnonzero(np.isfinite(ratings).sum(axis=1) >= 2)
        if attribute not in estimated or len(rows) == 0:
            continue
        ratings = ratings[rows]
        first, other = draw_pairs(np.isfinite(ratings), draws, seed)
        nodules = np.arange(len(rows))
        truth = ratings[nodules, first]
        model = np.broadcast_to(estimated[attribute][rows].astype(np.float64), truth.shape)
        predicted = (model, ratings[nodules, other], summarize_others(ratings, "median")[nodules, first])
        errors = [np.abs(one - truth) for one in predicted]
        weights = draw_weights(patients[rows], resamples, seed)
        measures.append(compare_means(attribute, errors, np.ones(truth.shape, bool), weights))
    return tuple(measures)


def summarize_ratings(ratings: Floats, by: Summary) -> Floats:
    """Return (N,) the median or mean of (N, R) ratings; NaN is a missing one, and each nodule has one at least."""
    return np.asarray(np.nanmedian(ratings, axis=1) if by == "median" else np.nanmean(ratings, axis=1))


def summarize_others(ratings: Floats, by: Summary) -> Floats:
    """Return (N, R) the summary of all other readers' ratings; NaN where there is no other or no own rating.

    Args:
        ratings: (N, R) by nodule and reader, NaN where one is missing.
        by: How ratings are summarized.
    """
    summaries = np.full(ratings.shape, np.nan)
    for reader in range(ratings.shape[1]):
        others = np.delete(ratings, reader, axis=1)
        known = np.isfinite(ratings[:, reader]) & np.isfinite(others).any(axis=1)
        if known.any():
            summaries[known, reader] = summarize_ratings(others[known], by)
    return summaries
