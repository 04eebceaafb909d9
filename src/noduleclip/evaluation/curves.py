"""The curves of an evaluation: precision over recall, reliability of probabilities, implied against read diameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.readers import Readers, draw_labels
from noduleclip.language.query import ParsedQuery

Floats = NDArray[np.float64]
RECALLS: Floats = np.linspace(0.02, 1, 50)
_BINS = 10


@dataclass(frozen=True)
class PrecisionCurves:
    """Precision of one query at `RECALLS`, in the mean of the draws, on the nodules with two judges or more.

    Attributes:
        model: (50,) of the model.
        second_reader: (50,) of another reader.
        base_rate: Share of true nodules.
    """

    model: Floats
    second_reader: Floats
    base_rate: float


@dataclass(frozen=True)
class SizeErrors:
    """Implied against read diameters, one nodule each.

    Attributes:
        read_mm: (N,) mean of the readers.
        implied_mm: (N,) what the model implies.
        mean_mm: Mean difference.
        limits_mm: 95 % limits of agreement: mean difference minus and plus 1.96 standard deviations.
    """

    read_mm: Floats
    implied_mm: Floats
    mean_mm: float
    limits_mm: tuple[float, float]


@dataclass(frozen=True)
class Reliability:
    """How often a sentence is true where the model finds it probable.

    Attributes:
        predicted: (B,) mean probability in each bin that holds pairs.
        observed: (B,) share of readers of whom the sentence is true there.
        pairs: (B,) pairs of a nodule and a sentence.
        error: Mean absolute difference of the two, weighed by pairs (expected calibration error).
    """

    predicted: Floats
    observed: Floats
    pairs: NDArray[np.int64]
    error: float


def trace_precision(
    scores: Floats, readers: Readers, parsed_queries: Sequence[ParsedQuery], *, draws: int = 50, seed: int = 0
) -> list[PrecisionCurves | None]:
    """Trace precision over recall for each query, interpolated as the best precision at that recall or beyond.

    Args:
        scores: (Q, N) the model's scores.
        readers: What the readers of N nodules say.
        parsed_queries: Q sentences.
        draws: Draws of the judging reader.
        seed: Seed of the draws.

    Returns:
        One pair of curves per query; None where no two readers judge, or nothing is true.
    """
    curves: list[PrecisionCurves | None] = []
    for query, parsed in zip(scores, parsed_queries, strict=True):
        rows = np.flatnonzero(readers.valid_mask(parsed).sum(axis=1) >= 2)
        drawn = draw_labels(readers.take(rows), parsed, draws, seed) if len(rows) else None
        if drawn is None or not drawn.truth.any():
            curves.append(None)
            continue
        model = np.broadcast_to(query[rows], drawn.truth.shape)
        second = _interpolate(drawn.second, drawn.truth)
        curves.append(PrecisionCurves(_interpolate(model, drawn.truth), second, float(drawn.truth.mean())))
    return curves


def _interpolate(scores: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Return (50,) precision at `RECALLS`, in the mean of the draws in which anything is true."""
    order = np.argsort(-scores, axis=1, kind="stable")
    found = np.cumsum(np.take_along_axis(truth, order, axis=1), axis=1)
    precision = found / np.arange(1, truth.shape[1] + 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    traced = []
    for row, total in zip(range(len(truth)), found[:, -1], strict=True):
        if total:
            places = np.searchsorted(found[row], np.ceil(RECALLS * total - 1e-9))
            traced.append(best[row, places])
    return np.asarray(np.mean(traced, axis=0))


def trace_reliability(probabilities: Floats, readers: Readers, parsed_queries: Sequence[ParsedQuery]) -> Reliability:
    """Compare probabilities with the share of readers of whom the sentence is true, in ten bins.

    Args:
        probabilities: (Q, N) by query and nodule.
        readers: What the readers of N nodules say.
        parsed_queries: Q sentences.
    """
    predicted, observed = [], []
    for query, parsed in zip(probabilities, parsed_queries, strict=True):
        valid = readers.valid_mask(parsed)
        rows = valid.any(axis=1)
        share = (readers.find_true(parsed) & valid)[rows].sum(axis=1) / valid[rows].sum(axis=1)
        predicted.append(query[rows])
        observed.append(share)
    said, true = np.concatenate(predicted), np.concatenate(observed)
    bins = np.minimum((said * _BINS).astype(np.int64), _BINS - 1)
    pairs = np.bincount(bins, minlength=_BINS)
    held = np.flatnonzero(pairs)
    means = [np.bincount(bins, values, minlength=_BINS)[held] / pairs[held] for values in (said, true)]
    error = float((np.abs(means[0] - means[1]) * pairs[held]).sum() / pairs.sum())
    return Reliability(means[0], means[1], pairs[held], error)


def compare_sizes(implied_mm: Floats, readers: Readers) -> SizeErrors:
    """Put implied beside read diameters.

    Args:
        implied_mm: (N,) what the model implies.
        readers: What the readers of N nodules say.

    Source: Bland and Altman, Lancet 327:307-310, 1986.
    """
    read = np.nanmean(readers.diameters_mm, axis=1)
    difference = implied_mm - read
    spread = 1.96 * float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    mean = float(difference.mean())
    return SizeErrors(read, implied_mm, mean, (mean - spread, mean + spread))
