"""Ratings evaluated by published rules, beside the best constant and beside the readers themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.evaluation.auc import weighted_auc
from noduleclip.evaluation.bootstrap import Interval, summarize_samples
from noduleclip.evaluation.measures import draw_weights, sample_means
from noduleclip.evaluation.published_rules import ACCURACY, AUC, MIDDLE, WITHIN_ONE, PublishedRules
from noduleclip.evaluation.ratings import summarize_others
from noduleclip.evaluation.readers import Readers
from noduleclip.language import last_rating

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_ATTRIBUTES = (
    schema.MALIGNANCY,
    schema.SUBTLETY,
    schema.CALCIFICATION,
    schema.SPHERICITY,
    schema.MARGIN,
    schema.LOBULATION,
    schema.SPICULATION,
    schema.TEXTURE,
)


@dataclass(frozen=True)
class RatingEstimates:
    """What a model says of the ratings of N nodules.

    Attributes:
        ratings: (N,) estimated rating by attribute.
        malignancy: (N, 5) probability of each rating of malignancy.
    """

    ratings: Mapping[str, NDArray[np.floating]]
    malignancy: NDArray[np.floating]


@dataclass(frozen=True)
class PublishedFigure:
    """One figure by published rules.

    Attributes:
        name: Name of the figure.
        nodules: Nodules that count.
        model: The model.
        constant: The best constant: one rating, or one side, for every nodule.
        constant_rating: That rating; None for the sides of malignancy.
        one_reader: One reader against the summary of the others, mean over the readers of a nodule.
        above_reader: Model minus reader.
        published: The published figure; None where there is none.
    """

    name: str
    nodules: int
    model: Interval
    constant: Interval
    constant_rating: int | None
    one_reader: Interval
    above_reader: Interval
    published: float | None


def measure_published(
    rules: PublishedRules,
    estimates: RatingEstimates,
    readers: Readers,
    patients: NDArray[np.int64],
    *,
    resamples: int = 300,
    seed: int = 0,
) -> tuple[PublishedFigure, ...]:
    """Measure ratings by published rules.

    Args:
        rules: The rules.
        estimates: What the model says of the N nodules that count.
        readers: Their readings.
        patients: (N,) number of each nodule's patient.
        resamples: Bootstrap samples of patients.
        seed: Seed of the bootstrap.

    Returns:
        Malignancy below or above 3, then each attribute within one that the model estimates and readers rated.
    """
    weights = draw_weights(patients, resamples, seed)
    figures = _measure_sides(rules, estimates.malignancy, readers.rating(schema.MALIGNANCY), weights)
    for attribute in _ATTRIBUTES:
        if attribute not in estimates.ratings or attribute not in readers.attributes:
            continue
        ratings, estimated = readers.rating(attribute), estimates.ratings[attribute]
        rated = np.flatnonzero(np.isfinite(ratings).any(axis=1))
        if len(rated):
            figures.append(_measure_within_one(rules, attribute, estimated[rated], ratings[rated], weights[:, rated]))
    return tuple(figures)


def _measure_sides(
    rules: PublishedRules, distribution: NDArray[np.floating], ratings: Floats, weights: Floats
) -> list[PublishedFigure]:
    """Measure malignancy below or above 3, by the probability above 3 plus half of that of 3; 3 itself is half right.

    Args:
        rules: The rules.
        distribution: (N, 5) probability of each rating.
        ratings: (N, R) malignancy by reader.
        weights: (S, N) of `draw_weights`.
    """
    above = rules.summarize(ratings) > MIDDLE
    score = distribution[:, MIDDLE:].sum(axis=1, dtype=np.float64) + 0.5 * distribution[:, MIDDLE - 1]
    others, shares = _summarize_others(rules, ratings)
    shares = np.where(others == MIDDLE, 0, shares)
    accuracies = (
        _sample_mean(_credit(score, 0.5, above), weights),
        _sample_mean(above if above.mean() >= 0.5 else ~above, weights),
        _sample_mean(_credit(ratings, MIDDLE, others > MIDDLE), weights, shares),
    )
    everyone = np.vstack([np.ones(len(above)), weights])
    nodules, readers = np.nonzero(shares)
    areas = (
        weighted_auc(score, above, everyone),
        np.full(len(everyone), 0.5),
        weighted_auc(
            ratings[nodules, readers],
            others[nodules, readers] > MIDDLE,
            everyone[:, nodules] * shares[nodules, readers],
        ),
    )
    return [_describe(rules, ACCURACY, len(above), accuracies), _describe(rules, AUC, len(above), areas)]


def _measure_within_one(
    rules: PublishedRules, attribute: str, estimated: NDArray[np.floating], ratings: Floats, weights: Floats
) -> PublishedFigure:
    """Measure how often a rating is at most one from the label.

    Args:
        rules: The rules.
        attribute: The attribute.
        estimated: (N,) ratings by the model.
        ratings: (N, R) ratings by reader.
        weights: (S, N) of `draw_weights`.
    """
    labels = rules.round_labels(attribute, rules.summarize(ratings))
    constants = np.arange(1, last_rating(attribute) + 1)
    hits = np.abs(constants[:, None] - labels) <= 1
    best = int(hits.sum(axis=1).argmax())
    others, shares = _summarize_others(rules, ratings)
    values = (
        _sample_mean(np.abs(np.rint(estimated) - labels) <= 1, weights),
        _sample_mean(hits[best], weights),
        _sample_mean(np.abs(ratings - rules.round_labels(attribute, others)) <= 1, weights, shares),
    )
    return _describe(rules, WITHIN_ONE.format(attribute=attribute), len(labels), values, int(constants[best]))


def _summarize_others(rules: PublishedRules, ratings: Floats) -> tuple[Floats, Floats]:
    """Return (N, R) the summary of all other readers, and the shares of a nodule's readers in its weight of one."""
    others = summarize_others(ratings, rules.summary)
    known = np.isfinite(others)
    return others, known / np.maximum(known.sum(axis=1, keepdims=True), 1)


def _credit(values: NDArray[np.floating], middle: float, above: Bools) -> Floats:
    """Return 1 where a value is on the right side of the middle, 1/2 where it is the middle, else 0."""
    return np.where(values == middle, 0.5, (values > middle) == above)


def _sample_mean(values: Floats | Bools, weights: Floats, shares: Floats | None = None) -> Floats:
    """Return (1 + S,) the mean of (N,) values, or of (N, R) values that count by their shares, and its samples."""
    columns = values.reshape(len(values), -1).astype(np.float64)
    return sample_means(columns.T, np.ones(columns.T.shape) if shares is None else shares.T, weights)


def _describe(
    rules: PublishedRules,
    name: str,
    nodules: int,
    samples: tuple[Floats, Floats, Floats],
    constant_rating: int | None = None,
) -> PublishedFigure:
    """Describe a figure from the (1 + S,) values of model, constant and reader."""
    model, constant, reader = samples
    return PublishedFigure(
        name,
        nodules,
        summarize_samples(model),
        summarize_samples(constant),
        constant_rating,
        summarize_samples(reader),
        summarize_samples(model - reader),
        rules.published.get(name),
    )
