"""The protocol on planted rankings and simulated readers."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from noduleclip.evaluation.metrics import average_precision, draw_readers, rank_by_diameter
from noduleclip.evaluation.protocol import Evaluation, Rankings, evaluate_rankings
from noduleclip.evaluation.readers import Readers
from noduleclip.language import EVALUATION_QUERIES, parse_intervals
from noduleclip.language.query import parse_queries

PARSED = parse_queries(EVALUATION_QUERIES)
INTERVALS = parse_intervals(EVALUATION_QUERIES)
NODULES, PATIENTS = 200, 60


def simulate(noise: float = 0.15, readers: int = 4, seed: int = 0) -> tuple[NDArray[np.float64], Rankings]:
    """True sizes (N,), and readers who err by a factor; the scores are those of the true sizes."""
    generator = np.random.default_rng(seed)
    sizes = generator.lognormal(math.log(8), 0.5, NODULES)
    diameters = sizes[:, None] * np.exp(generator.normal(0, noise, (NODULES, readers)))
    patients = generator.integers(PATIENTS, size=NODULES)
    return sizes, rank(score(sizes), diameters, patients)


def rank(scores: NDArray[np.float64], diameters: NDArray[np.float64], patients: NDArray[np.int64]) -> Rankings:
    """Rankings of nodules that nobody rated."""
    return Rankings(scores, Readers(diameters, np.empty((*diameters.shape, 0)), ()), patients)


def score(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([rank_by_diameter(interval, sizes) for interval in INTERVALS])


def evaluate(rankings: Rankings, seed: int = 0, resamples: int = 30) -> Evaluation:
    return evaluate_rankings(rankings, EVALUATION_QUERIES, PARSED, draws=20, resamples=resamples, seed=seed)


def test_a_ranking_by_the_only_reader_is_perfect() -> None:
    sizes, rankings = simulate()
    evaluation = evaluate(rank(score(sizes), sizes[:, None], rankings.patients))
    assert evaluation.model["ap"].mean == pytest.approx(1)
    assert (evaluation.model["ap"].low, evaluation.model["ap"].high) == pytest.approx((1, 1))
    assert evaluation.readers == {}
    assert (evaluation.nodules, evaluation.common) == (NODULES, 0)
    for result, interval in zip(evaluation.queries, INTERVALS, strict=True):
        inside = [interval.contains(size) for size in sizes]
        assert result.model["ap"].mean == pytest.approx(1)
        assert result.base_rate == pytest.approx(np.mean(inside))
        assert result.model["precision_10"].mean == pytest.approx(min(10, sum(inside)) / 10)
        assert result.model["precision_50"].mean == pytest.approx(min(50, sum(inside)) / 50)
        assert result.readers == {}
        assert result.lift_10 == pytest.approx(result.model["precision_10"].mean / result.base_rate)


def test_a_random_ranking_is_worth_the_base_rate() -> None:
    _, rankings = simulate()
    scores = np.random.default_rng(5).random(rankings.scores.shape)
    evaluation = evaluate(rank(scores, rankings.readers.diameters_mm, rankings.patients))
    base_rates = np.array([result.base_rate for result in evaluation.queries])
    np.testing.assert_allclose([result.model["ap"].mean for result in evaluation.queries], base_rates, atol=0.12)
    assert evaluation.model["ap"].mean == pytest.approx(base_rates.mean(), abs=0.04)
    assert evaluation.readers["ap"].above_panel.high < 0


def test_the_truth_beats_the_panel_and_the_panel_a_second_reader() -> None:
    _, rankings = simulate()
    readers = evaluate(rankings).readers["ap"]
    assert readers.model.mean > readers.panel.mean > readers.second_reader.mean + 0.01
    assert readers.above_second.mean == pytest.approx(readers.model.mean - readers.second_reader.mean)
    assert readers.above_panel.mean == pytest.approx(readers.model.mean - readers.panel.mean)
    assert readers.above_second.low > 0


def test_a_model_that_is_a_second_reader_is_worth_one() -> None:
    sizes, rankings = simulate(readers=8)
    like_another = sizes * np.exp(np.random.default_rng(9).normal(0, 0.15, NODULES))
    readers = evaluate(rank(score(like_another), rankings.readers.diameters_mm, rankings.patients)).readers["ap"]
    assert readers.above_second.mean == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_intervals_hold_their_mean(seed: int) -> None:
    evaluation = evaluate(simulate(seed=seed)[1], resamples=60)
    readers = evaluation.readers["ap"]
    for interval in (evaluation.model["ap"], readers.model, readers.second_reader, readers.panel, readers.above_second):
        assert interval.low < interval.mean < interval.high


def test_readers_are_compared_on_nodules_that_two_have_read() -> None:
    _, rankings = simulate()
    diameters = rankings.readers.diameters_mm.copy()
    diameters[::2, 1:] = math.nan
    mixed = evaluate(rank(rankings.scores, diameters, rankings.patients))
    several = rank(rankings.scores, diameters, rankings.patients).take(np.arange(1, NODULES, 2))
    alone = evaluate(several)
    assert (mixed.nodules, mixed.common, alone.common) == (NODULES, NODULES // 2, NODULES // 2)
    assert mixed.readers["ap"].panel == alone.readers["ap"].panel
    assert mixed.readers["ap"].model == alone.readers["ap"].model == alone.model["ap"]
    assert [query.readers["ap"].model for query in mixed.queries] == [query.model["ap"] for query in alone.queries]


def test_the_seed_decides() -> None:
    _, rankings = simulate()
    assert evaluate(rankings, seed=3, resamples=5) == evaluate(rankings, seed=3, resamples=5)
    assert evaluate(rankings, seed=3, resamples=5) != evaluate(rankings, seed=4, resamples=5)


def test_patients_are_drawn_whole() -> None:
    sizes, _ = simulate()
    noisy = score(sizes * np.exp(np.random.default_rng(1).normal(0, 0.5, NODULES)))
    one_patient = evaluate(rank(noisy, sizes[:, None], np.zeros(NODULES, np.int64)))
    assert one_patient.model["ap"].low == pytest.approx(one_patient.model["ap"].mean) == one_patient.model["ap"].high
    own_patients = evaluate(rank(noisy, sizes[:, None], np.arange(NODULES)))
    few_patients = evaluate(rank(noisy, sizes[:, None], np.argsort(np.argsort(sizes)) // 25))
    assert own_patients.model["ap"].high - own_patients.model["ap"].low > 0.01
    assert (
        few_patients.model["ap"].high - few_patients.model["ap"].low
        > own_patients.model["ap"].high - own_patients.model["ap"].low
    )


def test_progress_is_reported_for_each_query() -> None:
    ticks: list[int] = []
    evaluate_rankings(simulate()[1], EVALUATION_QUERIES, PARSED, draws=3, resamples=4, on_query=lambda: ticks.append(1))
    assert len(ticks) == 10


def test_a_query_that_no_nodule_satisfies_is_left_out() -> None:
    sizes, rankings = simulate()
    small = rank(score(sizes), np.minimum(rankings.readers.diameters_mm, 14.0), rankings.patients)
    evaluation = evaluate(small, resamples=5)
    aps = [query.model["ap"].mean for query in evaluation.queries]
    assert [math.isnan(ap) for ap in aps] == [query == EVALUATION_QUERIES[8] for query in EVALUATION_QUERIES]
    assert evaluation.model["ap"].mean == pytest.approx(np.nanmean(aps))


def test_the_ten_queries_follow_the_protocol() -> None:
    """Mean over draws of the AP of model, second reader and panel, one query and one draw at a time."""
    _, rankings = simulate(readers=3)
    drawn = draw_readers(rankings.readers.diameters_mm, 20, seed=0)
    evaluation = evaluate(rankings, resamples=2)
    for at, (result, interval) in enumerate(zip(evaluation.queries, INTERVALS, strict=True)):
        relevance = interval.contains_each(drawn.truth_mm)
        for found, scores in (
            (result.readers["ap"].model, rankings.scores[at]),
            (result.readers["ap"].second_reader, rank_by_diameter(interval, drawn.second_mm)),
            (result.readers["ap"].panel, rank_by_diameter(interval, drawn.panel_mm)),
        ):
            assert found.mean == pytest.approx(np.nanmean(average_precision(scores, relevance)))


def test_a_bootstrap_sample_is_the_drawn_patients_repeated() -> None:
    """Intervals of many samples hold what repeating the rows themselves gives."""
    _, rankings = simulate()
    evaluation = evaluate(rankings, resamples=200)
    generator = np.random.default_rng(11)
    repeated = []
    for _ in range(40):
        chosen = generator.integers(PATIENTS, size=PATIENTS)
        rows = np.concatenate([np.flatnonzero(rankings.patients == patient) for patient in chosen])
        repeated.append(evaluate(rankings.take(rows), resamples=1).readers["ap"].above_panel.mean)
    interval = evaluation.readers["ap"].above_panel
    assert np.std(repeated) == pytest.approx((interval.high - interval.low) / 3.92, rel=0.5)
