"""Evaluation of what the model says of each nodule: sizes with their intervals, ratings and probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from noduleclip import schema
from noduleclip.evaluation.calibration import (
    SIZE_SENTENCES,
    CalibrationError,
    make_rating_sentences,
    measure_calibration,
)
from noduleclip.evaluation.coverage import Coverage, measure_coverage
from noduleclip.evaluation.measures import Measure
from noduleclip.evaluation.ratings import measure_ratings
from noduleclip.evaluation.readers import list_known
from noduleclip.evaluation.sizes import SizeEstimates, measure_sizes
from noduleclip.language import BIN_PROMPTS, BIN_SYNONYMS, parse_intervals
from noduleclip.language.query import parse_queries
from noduleclip.retrieval.estimates import Estimates, estimate
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.workflows.evaluated_nodules import EvaluatedNodules


@dataclass(frozen=True)
class EstimateResult:
    """How good the estimates of a model are.

    Attributes:
        sizes: Errors of the estimated diameter; empty where no nodule has two readers.
        ratings: Mean absolute difference of each estimated rating from a reader's; empty likewise.
        coverage: How many of the readers' diameters the 80 % interval covers.
        calibration: Expected calibration error of sentences about the diameter and about each rated attribute.
        estimates: The estimates of the N nodules.
    """

    sizes: tuple[Measure, ...]
    ratings: tuple[Measure, ...]
    coverage: tuple[Coverage, ...]
    calibration: tuple[CalibrationError, ...]
    estimates: Estimates = field(repr=False)


def evaluate_estimates(
    nodules: EvaluatedNodules, encoder: SentenceEncoder, *, draws: int, resamples: int, seed: int
) -> EstimateResult:
    """Compare the model's estimates with their readers.

    Args:
        nodules: The nodules.
        encoder: The text encoder of their index.
        draws: Draws of the reader who is the truth.
        resamples: Bootstrap samples of patients.
        seed: Seed of draws and bootstrap.

    Raises:
        ArtefactError: The encoder is broken.
    """
    estimates = estimate(encoder, nodules.embeddings)
    readers, patients = nodules.readers, nodules.patients
    bins = np.argmax(encoder.encode(BIN_SYNONYMS) @ nodules.embeddings.T, axis=0)
    sizes = SizeEstimates(bins, estimates.diameter_mm.astype(np.float64), readers.diameters_mm, patients)
    settings = {"draws": draws, "resamples": resamples, "seed": seed}
    low_mm, high_mm = estimates.diameter_low_mm, estimates.diameter_high_mm
    return EstimateResult(
        measure_sizes(sizes, parse_intervals(BIN_PROMPTS), **settings),
        measure_ratings(estimates.ratings, readers, patients, **settings),
        measure_coverage(low_mm, high_mm, readers.diameters_mm, patients, **settings),
        _measure_calibration(nodules, encoder),
        estimates,
    )


def _measure_calibration(nodules: EvaluatedNodules, encoder: SentenceEncoder) -> tuple[CalibrationError, ...]:
    """Measure the calibration of sentences about the diameter and about what both readers and model rate."""
    rated = [name for name in nodules.readers.attributes if name in encoder.attributes]
    subjects: dict[str, Sequence[str]] = {schema.DIAMETER_MM: SIZE_SENTENCES}
    subjects |= {name: make_rating_sentences(name) for name in rated}
    return tuple(_measure_subject(name, sentences, nodules, encoder, rated) for name, sentences in subjects.items())


def _measure_subject(
    name: str, sentences: Sequence[str], nodules: EvaluatedNodules, encoder: SentenceEncoder, rated: Sequence[str]
) -> CalibrationError:
    parsed = parse_queries(sentences)
    known = list_known(parsed, rated)
    some = [sentences[at] for at in known]
    cosines = encoder.encode(some).astype(np.float64) @ nodules.embeddings.astype(np.float64).T
    probabilities = encoder.calibration.to_probability(cosines)
    return measure_calibration(name, some, probabilities, nodules.readers, [parsed[at] for at in known])
