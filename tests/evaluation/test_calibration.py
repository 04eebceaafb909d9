"""Reliability of probabilities that are known to be calibrated."""

import numpy as np
import pytest

from noduleclip import schema
from noduleclip.evaluation.calibration import (
    SIZE_SENTENCES,
    make_rating_sentences,
    measure_calibration,
    trace_reliability,
)
from noduleclip.evaluation.readers import Readers
from noduleclip.language import ATTRIBUTES, last_rating, parse_intervals
from noduleclip.language.query import parse_queries


def test_calibrated_probabilities_lie_on_the_diagonal() -> None:
    generator = np.random.default_rng(1)
    given = generator.random((2, 4000))
    sizes = np.where(generator.random((4000, 50)) < given[0, :, None], 9.0, 5.0)
    readers = Readers(sizes, np.empty((4000, 50, 0)), ())
    calibrated = trace_reliability(given[:1], readers, parse_queries(["> 6 mm"]))
    assert calibrated.error < 0.01
    np.testing.assert_allclose(calibrated.predicted, calibrated.observed, atol=0.02)
    assert calibrated.pairs.sum() == 4000
    assert trace_reliability(given[1:], readers, parse_queries(["> 6 mm"])).error > 0.2


def test_the_error_is_that_of_a_loop_and_the_worst_sentence_is_named() -> None:
    generator = np.random.default_rng(2)
    ratings = generator.integers(1, 6, (80, 3, 1)).astype(float)
    ratings[generator.random(ratings.shape) < 0.3] = np.nan
    readers = Readers(np.full((80, 3), 8.0), ratings, (schema.TEXTURE,))
    sentences = ["a lung nodule, texture >= 4", "a lung nodule, texture <= 2", "a lung nodule, texture 5"]
    given = generator.random((3, 80))
    given[1] = 0.95
    found = measure_calibration("texture", sentences, given, readers, parse_queries(sentences))
    bins: dict[int, list[tuple[float, float]]] = {}
    asked = set()
    for query, is_true in zip(given, (lambda r: r >= 4, lambda r: r <= 2, lambda r: r == 5), strict=True):
        for nodule in range(80):
            known = [rating for rating in ratings[nodule, :, 0] if rating > 0]
            if known:
                share = sum(map(is_true, known)) / len(known)
                bins.setdefault(min(int(query[nodule] * 10), 9), []).append((query[nodule], share))
                asked.add(nodule)
    pairs = sum(map(len, bins.values()))
    error = sum(abs(sum(p for p, _ in one) - sum(s for _, s in one)) for one in bins.values()) / pairs
    assert found.error == pytest.approx(error)
    assert (found.nodules, found.sentences, found.worst) == (len(asked), 3, sentences[1])
    shares = [np.mean(one[one > 0] <= 2) for one in ratings[sorted(asked), :, 0]]
    assert found.worst_gap == pytest.approx(0.95 - np.mean(shares))


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_threshold_rating_and_phrase_is_asked_for(attribute: str) -> None:
    last = last_rating(attribute)
    parsed = parse_queries(make_rating_sentences(attribute))
    asked = {(one.low, one.high) for query in parsed for one in query.ratings if one.attribute == attribute}
    assert all(query.ratings and query.interval is None and not query.notes for query in parsed)
    assert {(low, last) for low in range(2, last + 1)} <= asked
    assert {(1, high) for high in range(1, last)} <= asked
    assert {(one, one) for one in range(1, last + 1)} <= asked


def test_every_whole_millimetre_is_asked_for() -> None:
    intervals = parse_intervals(SIZE_SENTENCES)
    assert {one.low_mm for one in intervals if one.high_mm == np.inf} >= set(range(3, 31))
    assert {one.high_mm for one in intervals if one.low_mm <= 0} >= set(range(3, 31))
