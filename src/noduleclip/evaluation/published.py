"""Ratings evaluated by the rules of published work, beside the best constant and beside the readers themselves.

Source: the rules are those of the papers' repositories, github.com/diku-dk/credanno (`extract_LIDC_IDRI_nodules.py`,
`data_LIDC_IDRI.py`, `eval_linear_joint.py`) and github.com/XRad-Ulm/Proto-Caps (`data_loader.py`, `test.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.evaluation.auc import weighted_auc
from noduleclip.evaluation.bootstrap import Interval, summarize_samples
from noduleclip.evaluation.measures import draw_weights, sample_means
from noduleclip.evaluation.ratings import Summary, summarize_others, summarize_ratings
from noduleclip.evaluation.readers import Readers
from noduleclip.language import last_rating

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ACCURACY: Final = "malignancy below/above 3"
AUC: Final = "malignancy, AUC"
WITHIN_ONE: Final = "{attribute} within one"
_MIDDLE = 3
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
class PublishedRules:
    """How a published work evaluates ratings on LIDC-IDRI.

    Nodules of at least three readers count whose malignancy, summarized over the readers, is not 3. The label of an
    attribute is the readers' summary, rounded to a rating.

    Attributes:
        name: Name of the protocol.
        source: The publication.
        summary: How readers are summarized: "median" or "mean".
        most_readers: Nodules of more readers do not count; None = there is no limit.
        thickest_mm: Scans of thicker slices do not count, where the thickness is known; None = there is no limit.
        published: Published figures, by name.
    """

    name: str
    source: str
    summary: Summary
    most_readers: int | None
    thickest_mm: float | None
    published: Mapping[str, float]

    def summarize(self, ratings: Floats) -> Floats:
        """Return (N,) the summary of (N, R) ratings, NaN-padded."""
        return summarize_ratings(ratings, self.summary)

    def round_labels(self, attribute: str, summaries: Floats) -> Floats:
        """Round summaries to ratings: half to even, but Proto-Caps rounds malignancy half down.

        Its label of malignancy is the first of the most probable ratings of a normal distribution around the mean.
        """
        if self.summary == "mean" and attribute == schema.MALIGNANCY:
            return np.asarray(np.ceil(summaries - 0.5))
        return np.asarray(np.rint(summaries))


PROTOCOLS: Final[Mapping[str, PublishedRules]] = MappingProxyType(
    {
        "credanno": PublishedRules(
            "credanno",
            "Lu et al., cRedAnno+: annotation exploitation in self-explanatory lung nodule diagnosis, ISBI 2023, "
            "arXiv 2210.16097",
            "median",
            most_readers=None,
            thickest_mm=2.5,
            published={
                ACCURACY: 0.8756,
                WITHIN_ONE.format(attribute=schema.SUBTLETY): 0.9632,
                WITHIN_ONE.format(attribute=schema.CALCIFICATION): 0.9588,
                WITHIN_ONE.format(attribute=schema.SPHERICITY): 0.9723,
                WITHIN_ONE.format(attribute=schema.MARGIN): 0.9623,
                WITHIN_ONE.format(attribute=schema.LOBULATION): 0.9393,
                WITHIN_ONE.format(attribute=schema.SPICULATION): 0.9406,
                WITHIN_ONE.format(attribute=schema.TEXTURE): 0.9701,
            },
        ),
        "proto-caps": PublishedRules(
            "proto-caps",
            "Gallée et al., Interpretable medical image classification using prototype learning and privileged "
            "information, MICCAI 2023, arXiv 2310.15741",
            "mean",
            most_readers=4,
            thickest_mm=None,
            published={WITHIN_ONE.format(attribute=schema.MALIGNANCY): 0.930},
        ),
    }
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


def find_nodules(rules: PublishedRules, readers: Readers, slice_thickness_mm: Floats) -> NDArray[np.int64]:
    """Return the rows of the nodules that count.

    Args:
        rules: The rules.
        readers: Readings of the N nodules, malignancy among them.
        slice_thickness_mm: (N,) NaN where it is unknown.
    """
    malignancy = readers.rating(schema.MALIGNANCY)
    count = np.isfinite(malignancy).sum(axis=1)
    rows = np.flatnonzero((count >= 3) & (count <= (rules.most_readers or np.inf)))
    if rules.thickest_mm is not None:
        rows = rows[~(slice_thickness_mm[rows] > rules.thickest_mm)]
    return np.asarray(rows[rules.summarize(malignancy[rows]) != _MIDDLE])


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
    above = rules.summarize(ratings) > _MIDDLE
    score = distribution[:, _MIDDLE:].sum(axis=1, dtype=np.float64) + 0.5 * distribution[:, _MIDDLE - 1]
    others, shares = _summarize_others(rules, ratings)
    shares = np.where(others == _MIDDLE, 0, shares)
    accuracies = (
        _sample_mean(_credit(score, 0.5, above), weights),
        _sample_mean(above if above.mean() >= 0.5 else ~above, weights),
        _sample_mean(_credit(ratings, _MIDDLE, others > _MIDDLE), weights, shares),
    )
    everyone = np.vstack([np.ones(len(above)), weights])
    nodules, readers = np.nonzero(shares)
    areas = (
        weighted_auc(score, above, everyone),
        np.full(len(everyone), 0.5),
        weighted_auc(
            ratings[nodules, readers],
            others[nodules, readers] > _MIDDLE,
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
