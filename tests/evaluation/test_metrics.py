"""Average precision against scikit-learn; readers drawn as the protocol says."""

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from noduleclip.evaluation.metrics import (
    average_precision,
    draw_readers,
    mean_average_precisions,
    rank_by_diameter,
)
from noduleclip.language import SizeInterval

RAGGED_MM = np.array(
    [
        [5.0, 6.0, 7.0, 8.0],
        [9.0, math.nan, 12.0, math.nan],
        [math.nan, 20.0, math.nan, math.nan],
        [math.nan, 30.0, 31.0, 33.0],
    ]
)


@given(data=st.data(), judgements=st.integers(1, 4), items=st.integers(1, 30), levels=st.integers(1, 30))
def test_average_precision_is_that_of_scikit_learn(
    data: st.DataObject, judgements: int, items: int, levels: int
) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    relevance = generator.random((judgements, items)) < data.draw(st.floats(0.05, 1))
    one = data.draw(st.booleans())
    scores = generator.integers(levels, size=(items,) if one else (judgements, items)) / levels
    found = average_precision(scores, relevance)
    assert found.shape == (judgements,)
    for judgement in range(judgements):
        ranking = scores if one else scores[judgement]
        if relevance[judgement].any():
            expected = average_precision_score(relevance[judgement], ranking)
            assert found[judgement] == pytest.approx(expected, abs=1e-12)
        else:
            assert math.isnan(found[judgement])


def test_a_perfect_ranking_is_one_and_a_reversed_one_is_known() -> None:
    relevance = np.array([[True, False, True, False]])
    assert average_precision(np.array([4.0, 1, 3, 2]), relevance).tolist() == [1]
    assert average_precision(np.array([1.0, 4, 2, 3]), relevance) == pytest.approx([(1 / 3 + 2 / 4) / 2])


def test_all_tied_is_the_base_rate_wherever_the_relevant_stand() -> None:
    relevance = np.eye(8, dtype=bool)
    assert average_precision(np.zeros(8), relevance).tolist() == [1 / 8] * 8


def test_a_random_ranking_is_about_the_base_rate() -> None:
    generator = np.random.default_rng(0)
    relevance = generator.random((40, 4000)) < 0.3
    assert average_precision(generator.random((40, 4000)), relevance) == pytest.approx(0.3, abs=0.04)


Closed = Literal["both", "left", "right", "neither"]
CLOSED: st.SearchStrategy[Closed] = st.sampled_from(["both", "left", "right", "neither"])


@given(
    low=st.floats(0, 40),
    width=st.floats(0.1, 50) | st.just(math.inf),
    closed=CLOSED,
    others=st.lists(st.floats(0, 100)),
)
def test_an_interval_contains_an_array_as_its_elements(
    low: float, width: float, closed: Closed, others: list[float]
) -> None:
    interval = SizeInterval(low, low + width, closed)
    sizes = [low, low + width, math.nextafter(low, 100), *others, math.nan]
    assert interval.contains_each(np.array(sizes)).tolist() == [interval.contains(size) for size in sizes]


def test_readers_rank_as_the_sentence_asks() -> None:
    sizes = np.array([7.0, 3.0, 20.0, 8.0, 11.0])

    def order(interval: SizeInterval) -> list[float]:
        scores: NDArray[np.float64] = rank_by_diameter(interval, sizes)
        return [float(sizes[item]) for item in np.argsort(-scores)]

    assert order(SizeInterval(6, math.inf, "neither")) == [20, 11, 8, 7, 3]
    assert order(SizeInterval(0, 6, "both")) == [3, 7, 8, 11, 20]
    assert order(SizeInterval(6, 10, "right")) == [8, 7, 11, 3, 20]  # middle: 7.746


@given(low=st.floats(0, 20), width=st.floats(0.5, 30) | st.just(math.inf), seed=st.integers(0, 99))
def test_a_reader_who_is_the_truth_ranks_perfectly(low: float, width: float, seed: int) -> None:
    interval = SizeInterval(low, low + width, "both")
    sizes = np.random.default_rng(seed).lognormal(2, 0.6, 50)
    (precision,) = average_precision(rank_by_diameter(interval, sizes), interval.contains_each(sizes)[None])
    assert math.isnan(precision) or precision == pytest.approx(1)


def test_the_second_reader_is_another_one_and_the_panel_is_all_others() -> None:
    drawn = draw_readers(RAGGED_MM, draws=300)
    assert drawn.truth_mm.shape == drawn.second_mm.shape == drawn.panel_mm.shape == (300, 4)
    for nodule, row in enumerate(RAGGED_MM):
        readers = set(row[np.isfinite(row)].tolist())
        assert set(drawn.truth_mm[:, nodule].tolist()) == readers, "each reader is drawn"
        for truth, second, panel in zip(
            drawn.truth_mm[:, nodule], drawn.second_mm[:, nodule], drawn.panel_mm[:, nodule], strict=True
        ):
            others = readers - {truth}
            if not others:
                assert math.isnan(second) and math.isnan(panel)
                continue
            assert second in others
            assert panel == pytest.approx(np.mean(list(others)))


def test_readers_are_drawn_evenly_and_independently() -> None:
    drawn = draw_readers(np.array([[1.0, 2.0, 3.0, 4.0]]), draws=12_000)
    pairs, counts = np.unique(np.stack([drawn.truth_mm[:, 0], drawn.second_mm[:, 0]]), axis=1, return_counts=True)
    assert pairs.shape[1] == 12
    assert counts == pytest.approx(1000, abs=150)


def test_the_seed_decides_the_draws() -> None:
    one, same, other = (draw_readers(RAGGED_MM, draws=20, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.truth_mm, same.truth_mm)
    np.testing.assert_array_equal(one.second_mm, same.second_mm)
    assert (one.truth_mm != other.truth_mm).any()


def test_one_reader_alone_has_no_second() -> None:
    drawn = draw_readers(np.array([[5.0], [7.0]]), draws=3)
    assert drawn.truth_mm.tolist() == [[5, 7]] * 3
    assert np.isnan(drawn.second_mm).all()
    assert np.isnan(drawn.panel_mm).all()


def test_means_leave_out_draws_in_which_nothing_is_relevant() -> None:
    truth = np.array([[5.0, 9.0], [5.0, 5.0], [9.0, 5.0]])
    above, nothing = SizeInterval(8, math.inf, "neither"), SizeInterval(50, math.inf, "neither")
    one_each = np.array([[1.0, 2.0], [2.0, 1.0]])
    means = mean_average_precisions(one_each, [above, nothing], truth)
    assert means[0] == pytest.approx((1 + 0.5) / 2)
    assert math.isnan(means[1])
    by_draw = truth[None] + np.zeros((1, 1, 1))
    assert mean_average_precisions(by_draw, [above], truth).tolist() == [1]


def test_the_panel_of_two_is_the_other_reader() -> None:
    sizes = np.round(np.random.default_rng(0).uniform(3, 30, (500, 2)), 1)
    draws = draw_readers(sizes, draws=20)
    np.testing.assert_array_equal(draws.panel_mm, draws.second_mm)
