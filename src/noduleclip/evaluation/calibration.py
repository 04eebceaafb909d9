"""Calibration: how often a sentence is true where the model finds it probable."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.readers import Readers
from noduleclip.language.query import ParsedQuery

Floats = NDArray[np.float64]
_BINS = 10


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram of the model's probabilities.

    Attributes:
        predicted: (B,) mean probability in each bin that holds pairs.
        observed: (B,) share of readers by whom the sentence is true there.
        pairs: (B,) pairs of a nodule and a sentence.
        error: Mean absolute difference of the two, weighted by pairs (expected calibration error).
    """

    predicted: Floats
    observed: Floats
    pairs: NDArray[np.int64]
    error: float


def trace_reliability(probabilities: Floats, readers: Readers, parsed_queries: Sequence[ParsedQuery]) -> Reliability:
    """Compare probabilities with the share of readers by whom the sentence is true, in ten bins.

    Args:
        probabilities: (Q, N) by query and nodule.
        readers: Readings of the N nodules.
        parsed_queries: Q sentences.
    """
    predicted, observed = [], []
    for query, parsed in zip(probabilities, parsed_queries, strict=True):
        valid = readers.valid_mask(parsed)
        rows = valid.any(axis=1)
        share = (readers.find_true(parsed) & valid)[rows].sum(axis=1) / valid[rows].sum(axis=1)
        predicted.append(query[rows])
        observed.append(share)
    given, true = np.concatenate(predicted), np.concatenate(observed)
    bins = np.minimum((given * _BINS).astype(np.int64), _BINS - 1)
    pairs = np.bincount(bins, minlength=_BINS)
    held = np.flatnonzero(pairs)
    means = [np.bincount(bins, values, minlength=_BINS)[held] / pairs[held] for values in (given, true)]
    error = float((np.abs(means[0] - means[1]) * pairs[held]).sum() / pairs.sum())
    return Reliability(means[0], means[1], pairs[held], error)
