"""The protocol on planted rankings and simulated readers."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from noduleclip.retrieval.evaluation import Evaluation, Rankings, evaluate_rankings
from noduleclip.retrieval.metrics import rank_by_diameter
from noduleclip.size import EVALUATION_QUERIES, parse_intervals

INTERVALS = parse_intervals(EVALUATION_QUERIES)
NODULES, PATIENTS = 200, 60


def simulate(noise: float = 0.15, readers: int = 4, seed: int = 0) -> tuple[NDArray[np.float64], Rankings]:
    """True sizes (N,), and readers who err by a factor; the scores are those of the true sizes."""
    generator = np.random.default_rng(seed)
    sizes = generator.lognormal(math.log(8), 0.5, NODULES)
    diameters = sizes[:, None] * np.exp(generator.normal(0, noise, (NODULES, readers)))
    patients = generator.integers(PATIENTS, size=NODULES)
    return sizes, Rankings(score(sizes), diameters, patients)


def score(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([rank_by_diameter(interval, sizes) for interval in INTERVALS])


def evaluate(rankings: Rankings, seed: int = 0, resamples: int = 30) -> Evaluation:
    return evaluate_rankings(rankings, EVALUATION_QUERIES, INTERVALS, draws=20, resamples=resamples, seed=seed)


def test_a_ranking_by_the_only_reader_is_perfect() -> None:
    sizes, rankings = simulate()
    evaluation = evaluate(Rankings(score(sizes), sizes[:, None], rankings.patients))
    assert evaluation.ap.mean == pytest.approx(1)
    assert (evaluation.ap.low, evaluation.ap.high) == pytest.approx((1, 1))
    assert evaluation.readers is None
    assert (evaluation.nodules, evaluation.common) == (NODULES, 0)
    for result, interval in zip(evaluation.queries, INTERVALS, strict=True):
        inside = [interval.contains(size) for size in sizes]
        assert result.ap == pytest.approx(1)
        assert result.base_rate == pytest.approx(np.mean(inside))
        assert result.precision_10 == pytest.approx(min(10, sum(inside)) / 10)
        assert result.precision_50 == pytest.approx(min(50, sum(inside)) / 50)
        assert all(map(math.isnan, (result.ap_common, result.second_reader, result.panel)))


def test_a_random_ranking_is_worth_the_base_rate() -> None:
    _, rankings = simulate()
    scores = np.random.default_rng(5).random(rankings.scores.shape)
    evaluation = evaluate(Rankings(scores, rankings.diameters_mm, rankings.patients))
    base_rates = np.array([result.base_rate for result in evaluation.queries])
    np.testing.assert_allclose([result.ap for result in evaluation.queries], base_rates, atol=0.12)
    assert evaluation.ap.mean == pytest.approx(base_rates.mean(), abs=0.04)
    assert evaluation.readers is not None
    assert evaluation.readers.above_panel.high < 0


def test_the_truth_beats_the_panel_and_the_panel_a_second_reader() -> None:
    _, rankings = simulate()
    readers = evaluate(rankings).readers
    assert readers is not None
    assert readers.ap.mean > readers.panel.mean > readers.second_reader.mean + 0.01
    assert readers.above_second.mean == pytest.approx(readers.ap.mean - readers.second_reader.mean)
    assert readers.above_panel.mean == pytest.approx(readers.ap.mean - readers.panel.mean)
    assert readers.above_second.low > 0


def test_a_model_that_is_a_second_reader_is_worth_one() -> None:
    sizes, rankings = simulate(readers=8)
    like_another = sizes * np.exp(np.random.default_rng(9).normal(0, 0.15, NODULES))
    readers = evaluate(Rankings(score(like_another), rankings.diameters_mm, rankings.patients)).readers
    assert readers is not None
    assert readers.above_second.mean == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_intervals_hold_their_mean(seed: int) -> None:
    evaluation = evaluate(simulate(seed=seed)[1], resamples=60)
    readers = evaluation.readers
    assert readers is not None
    for interval in (evaluation.ap, readers.ap, readers.second_reader, readers.panel, readers.above_second):
        assert interval.low < interval.mean < interval.high


def test_readers_are_compared_on_nodules_that_two_have_read() -> None:
    _, rankings = simulate()
    diameters = rankings.diameters_mm.copy()
    diameters[::2, 1:] = math.nan
    mixed = evaluate(Rankings(rankings.scores, diameters, rankings.patients))
    several = Rankings(rankings.scores, diameters, rankings.patients).take(np.arange(1, NODULES, 2))
    alone = evaluate(several)
    assert (mixed.nodules, mixed.common, alone.common) == (NODULES, NODULES // 2, NODULES // 2)
    assert mixed.readers is not None
    assert alone.readers is not None
    assert mixed.readers.panel.mean == alone.readers.panel.mean
    assert mixed.readers.ap.mean == alone.readers.ap.mean == alone.ap.mean
    assert [query.ap_common for query in mixed.queries] == [query.ap for query in alone.queries]


def test_the_seed_decides() -> None:
    _, rankings = simulate()
    assert evaluate(rankings, seed=3, resamples=5) == evaluate(rankings, seed=3, resamples=5)
    assert evaluate(rankings, seed=3, resamples=5) != evaluate(rankings, seed=4, resamples=5)


def test_patients_are_drawn_whole() -> None:
    sizes, _ = simulate()
    noisy = score(sizes * np.exp(np.random.default_rng(1).normal(0, 0.5, NODULES)))
    one_patient = evaluate(Rankings(noisy, sizes[:, None], np.zeros(NODULES, np.int64)))
    assert one_patient.ap.low == pytest.approx(one_patient.ap.mean) == one_patient.ap.high
    own_patients = evaluate(Rankings(noisy, sizes[:, None], np.arange(NODULES)))
    few_patients = evaluate(Rankings(noisy, sizes[:, None], np.argsort(np.argsort(sizes)) // 25))
    assert own_patients.ap.high - own_patients.ap.low > 0.01
    assert few_patients.ap.high - few_patients.ap.low > own_patients.ap.high - own_patients.ap.low


def test_each_resample_is_told() -> None:
    ticks: list[int] = []
    evaluate_rankings(
        simulate()[1], EVALUATION_QUERIES, INTERVALS, draws=3, resamples=4, on_resample=lambda: ticks.append(1)
    )
    assert len(ticks) == 4


def test_a_query_that_is_true_of_nothing_is_left_out() -> None:
    sizes, rankings = simulate()
    small = Rankings(score(sizes), np.minimum(rankings.diameters_mm, 14.0), rankings.patients)
    evaluation = evaluate(small, resamples=5)
    aps = [query.ap for query in evaluation.queries]
    assert [math.isnan(ap) for ap in aps] == [query == EVALUATION_QUERIES[8] for query in EVALUATION_QUERIES]
    assert evaluation.ap.mean == pytest.approx(np.nanmean(aps))
