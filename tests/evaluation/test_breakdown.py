"""Parts of an evaluation against the evaluation of the part alone."""

import numpy as np
import pytest

from noduleclip.evaluation.breakdown import BANDS, evaluate_bands, evaluate_groups, sweep_alpha
from noduleclip.evaluation.protocol import Rankings, evaluate_rankings
from noduleclip.evaluation.readers import Readers
from noduleclip.language import EVALUATION_QUERIES, parse_intervals
from noduleclip.language.query import parse_queries

N = 150
SETTINGS = {"draws": 10, "seed": 0}


def make_rankings(queries: tuple[str, ...], noise: float) -> Rankings:
    """Nodules that two readers measure alike, ranked by size with some noise."""
    generator = np.random.default_rng(1)
    sizes = np.exp(generator.uniform(np.log(3.2), np.log(25), N))
    diameters = sizes[:, None] * np.exp(generator.normal(0, 0.02, (N, 2)))
    seen = sizes * np.exp(generator.normal(0, noise, N))
    scores = []
    for interval in parse_intervals(queries):
        middle = np.sqrt(max(interval.low_mm, 2.0) * min(interval.high_mm, 60.0))
        scores.append(-np.abs(np.log(seen / middle)))
    readers = Readers(diameters, np.empty((N, 2, 0)), ())
    return Rankings(np.array(scores), readers, np.arange(N) // 2)


def test_bands_without_nodules_are_left_out() -> None:
    rankings = make_rankings(BANDS, 0.0)
    parts = evaluate_bands(rankings, parse_queries(BANDS), **SETTINGS)
    assert [part.name for part in parts] == list(BANDS[:-1])  # nothing lies above 30 mm
    assert sum(part.nodules for part in parts) == pytest.approx(N, abs=4)
    assert all(part.ap.model.mean > 0.8 for part in parts[1:-1])
    assert all(part.ap.model.low <= part.ap.model.mean <= part.ap.model.high for part in parts)


def test_a_group_is_evaluated_as_if_it_were_alone() -> None:
    rankings = make_rankings(EVALUATION_QUERIES, 0.3)
    parsed_queries = parse_queries(EVALUATION_QUERIES)
    groups = ["A"] * 90 + ["B"] * 40 + ["C"] * 10 + [""] * 10
    parts = evaluate_groups(rankings, groups, EVALUATION_QUERIES, parsed_queries, **SETTINGS)
    assert [(part.name, part.nodules) for part in parts] == [("A", 90), ("B", 40)]
    alone = evaluate_rankings(
        rankings.take(np.arange(90, 130)), EVALUATION_QUERIES, parsed_queries, draws=10, resamples=100, seed=0
    )  # fmt: skip
    assert parts[1].ap == alone.readers["ap"]


def test_a_useless_image_leaves_the_diameter_alone() -> None:
    rankings = make_rankings(EVALUATION_QUERIES, 0.0)
    noise = np.random.default_rng(0).uniform(0.4, 0.6, rankings.scores.shape)
    means = dict(sweep_alpha(noise, rankings.readers.diameters_mm, parse_intervals(EVALUATION_QUERIES), 1.5))
    assert (min(means), max(means)) == (0, 1)
    assert means[0] > 0.95 > 0.7 > means[1]
    single = rankings.readers.diameters_mm * np.array([1, np.nan])
    assert sweep_alpha(noise, single, parse_intervals(EVALUATION_QUERIES), 1.5) == []
