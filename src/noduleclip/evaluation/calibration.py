"""Calibration: how often a sentence is true where the model finds it probable."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.readers import Readers
from noduleclip.language import EVALUATION_QUERIES, last_rating
from noduleclip.language.query import ParsedQuery
from noduleclip.language.rating_words import EDGES, PHRASES

Floats = NDArray[np.float64]
_BINS = 10
_CALIBRATED_MM = range(3, 31)
SIZE_SENTENCES = (
    *EVALUATION_QUERIES,
    *(f"a lung nodule with diameter {sign} {mm} mm" for sign in (">", "<=") for mm in _CALIBRATED_MM),
)
"""Sentences about size by which calibration is measured: those of the protocol, and every whole millimetre."""


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error of the sentences about one subject.

    Attributes:
        name: Column of the rated attribute or of the diameter.
        sentences: Number of sentences.
        nodules: Nodules with a reader who gave what the sentences ask for.
        error: The error of all sentences together, as in `Reliability`.
        worst: The sentence whose mean probability is farthest from the share of readers who agree.
        worst_gap: Mean probability minus share of readers there.
    """

    name: str
    sentences: int
    nodules: int
    error: float
    worst: str
    worst_gap: float


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram of the model's probabilities.

    Attributes:
        predicted: (B,) mean probability in each bin that holds pairs.
        observed: (B,) share of readers by whom the sentence is true there.
        pairs: (B,) pairs of a nodule and a sentence.
        nodules: Nodules with a reader who gave what a sentence asks for.
        error: Mean absolute difference of the two, weighted by pairs (expected calibration error).
    """

    predicted: Floats
    observed: Floats
    pairs: NDArray[np.int64]
    nodules: int
    error: float


def trace_reliability(probabilities: Floats, readers: Readers, parsed_queries: Sequence[ParsedQuery]) -> Reliability:
    """Compare probabilities with the share of readers by whom the sentence is true, in ten bins.

    Args:
        probabilities: (Q, N) by query and nodule.
        readers: Readings of the N nodules.
        parsed_queries: Q sentences.
    """
    predicted, observed = [], []
    asked = np.zeros(len(readers.diameters_mm), bool)
    for query, parsed in zip(probabilities, parsed_queries, strict=True):
        given, share, rows = _pair(query, readers, parsed)
        asked |= rows
        predicted.append(given)
        observed.append(share)
    given, share = np.concatenate(predicted), np.concatenate(observed)
    bins = np.minimum((given * _BINS).astype(np.int64), _BINS - 1)
    pairs = np.bincount(bins, minlength=_BINS)
    held = np.flatnonzero(pairs)
    means = [np.bincount(bins, values, minlength=_BINS)[held] / pairs[held] for values in (given, share)]
    error = float((np.abs(means[0] - means[1]) * pairs[held]).sum() / pairs.sum())
    return Reliability(means[0], means[1], pairs[held], int(asked.sum()), error)


def measure_calibration(
    name: str,
    sentences: Sequence[str],
    probabilities: Floats,
    readers: Readers,
    parsed_queries: Sequence[ParsedQuery],
) -> CalibrationError:
    """Measure the calibration of sentences about one subject.

    Args:
        name: The subject.
        sentences: Q sentences.
        probabilities: (Q, N) by sentence and nodule.
        readers: Readings of the N nodules.
        parsed_queries: The sentences parsed.
    """
    together = trace_reliability(probabilities, readers, parsed_queries)
    gaps = []
    for query, parsed in zip(probabilities, parsed_queries, strict=True):
        given, share, _ = _pair(query, readers, parsed)
        gaps.append(float(given.mean() - share.mean()) if len(given) else 0.0)
    worst = int(np.argmax(np.abs(gaps)))
    return CalibrationError(name, len(sentences), together.nodules, together.error, sentences[worst], gaps[worst])


def _pair(probabilities: Floats, readers: Readers, parsed: ParsedQuery) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return the probabilities and the shares of readers who agree, of the nodules that a valid reader has read."""
    valid = readers.valid_mask(parsed)
    rows = np.asarray(valid.any(axis=1))
    share: Floats = (readers.find_true(parsed) & valid)[rows].sum(axis=1) / valid[rows].sum(axis=1)
    return probabilities[rows], share, rows


def make_rating_sentences(attribute: str) -> list[str]:
    """Return the sentences by which an attribute's calibration is measured.

    They are every threshold, ">= k" and "<= k", every single rating, and every phrase in words; a phrase that asks for
    several attributes counts for its first.
    """
    ratings = range(1, last_rating(attribute) + 1)
    asked = [f"{attribute} >= {rating}" for rating in ratings[1:]]
    asked += [f"{attribute} <= {rating}" for rating in ratings[:-1]]
    asked += [f"{attribute} {rating}" for rating in ratings]
    asked += [
        " ".join(phrase)
        for phrase, ranges in PHRASES.items()
        if ranges[0].attribute == attribute and phrase[-1] not in EDGES
    ]
    return [f"a lung nodule, {one}" for one in asked]
