"""The fused score is what its formula says, and alpha follows the part that deserves it."""

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from noduleclip.evaluation.alpha import ALPHAS, choose_alpha
from noduleclip.language import SizeInterval
from noduleclip.retrieval.fusion import Calibration, fuse_scores, score_rule

ABOVE_6 = SizeInterval(6, math.inf, "neither")
UP_TO_6 = SizeInterval(0, 6, "both")
BIN = SizeInterval(6, 10, "right")
SHARE = st.floats(0, 1)
DIAMETER = st.floats(0.01, 100)
CLOSED: st.SearchStrategy[Literal["both", "left", "right", "neither"]] = st.sampled_from(
    ["both", "left", "right", "neither"]
)


@st.composite
def intervals(draw: st.DrawFn) -> SizeInterval:
    low = draw(st.just(0.0) | st.floats(0, 49))
    high = draw(st.just(math.inf) | st.floats(low + 0.5, 100))
    return SizeInterval(low, high, draw(CLOSED))


@given(cosine=SHARE, rule=SHARE, alpha=SHARE)
def test_the_score_is_the_weighted_mean(cosine: float, rule: float, alpha: float) -> None:
    (score,) = fuse_scores(np.array([cosine]), np.array([rule]), alpha)
    assert score == alpha * cosine + (1 - alpha) * rule


def test_the_ends_of_alpha_are_one_part_alone() -> None:
    cosine, rule = np.array([0.1, 0.7, 0.4]), np.array([1.0, 0.2, 0.0])
    assert fuse_scores(cosine, rule, 1).tolist() == cosine.tolist()
    assert fuse_scores(cosine, rule, 0).tolist() == rule.tolist()


@given(alpha=SHARE)
def test_an_item_without_a_diameter_keeps_its_cosine(alpha: float) -> None:
    rule = score_rule(np.array([math.nan, 8.0]), ABOVE_6, 1)
    assert math.isnan(rule[0])
    assert fuse_scores(np.array([0.3, 0.3]), rule, alpha)[0] == 0.3


@given(interval=intervals(), sizes=st.lists(DIAMETER))
def test_without_softness_the_rule_is_a_hard_filter(interval: SizeInterval, sizes: list[float]) -> None:
    bounds = [bound for bound in (interval.low_mm, interval.high_mm) if 0 < bound < math.inf]
    sizes = [*sizes, *bounds, *(math.nextafter(bound, 0) for bound in bounds)]
    assert score_rule(np.array(sizes), interval, 0).tolist() == [float(interval.contains(size)) for size in sizes]


def test_softness_is_the_distance_of_exp_minus_a_half() -> None:
    scores = score_rule(np.array([4.0, 5.0, 6.5, 10.0, 12.0, 14.0]), BIN, 2)
    expected = [math.exp(-0.5), math.exp(-0.125), 1, 1, math.exp(-0.5), math.exp(-2)]
    np.testing.assert_allclose(scores, expected)
    assert score_rule(np.array([100.0]), ABOVE_6, 2).tolist() == [1]
    assert score_rule(np.array([0.5]), UP_TO_6, 2).tolist() == [1]


@given(interval=intervals(), sizes=st.lists(DIAMETER, min_size=2), softness=st.floats(0.1, 20))
def test_the_rule_falls_with_the_distance(interval: SizeInterval, sizes: list[float], softness: float) -> None:
    distances = [max(interval.low_mm - size, size - interval.high_mm, 0.0) for size in sizes]
    scores = score_rule(np.array(sizes), interval, softness)
    assert ((scores >= 0) & (scores <= 1)).all()
    by_distance = scores[np.argsort(distances, kind="stable")]
    assert (np.diff(by_distance) <= 0).all()
    assert all(score == 1 for score, size in zip(scores, sizes, strict=True) if interval.contains(size))


@given(
    cosines=st.lists(st.floats(-1, 1, width=32), min_size=2),
    scale=st.floats(0.1, 15),
    bias=st.floats(-10, 10),
)
def test_a_probability_keeps_the_order_of_the_cosines(cosines: list[float], scale: float, bias: float) -> None:
    ascending = np.sort(np.array(cosines, np.float32))
    probabilities = Calibration(scale, bias).to_probability(ascending)
    assert probabilities.dtype == np.float64
    assert ((probabilities > 0) & (probabilities < 1)).all()
    assert (np.diff(probabilities) >= 0).all()
    expected = [1 / (1 + math.exp(-(scale * float(cosine) + bias))) for cosine in ascending]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12)


def test_neighbouring_cosines_stay_apart() -> None:
    near_one = np.float32(0.9)
    pair = np.array([np.nextafter(near_one, np.float32(0)), near_one])
    below, above = Calibration(scale=12, bias=2).to_probability(pair)
    assert below < above


QUERIES = [ABOVE_6, UP_TO_6, BIN]


def simulate(noise: float, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True sizes (N,) and four readers' diameters (N, 4) that err by a factor."""
    generator = np.random.default_rng(seed)
    sizes = generator.lognormal(math.log(8), 0.5, 150)
    return sizes, sizes[:, None] * np.exp(generator.normal(0, noise, (150, 4)))


def judge(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine parts of encoders that know the sizes: near 1 inside and near 0 outside of an interval."""
    return np.stack([score_rule(sizes, interval, 1) for interval in QUERIES])


def test_alpha_is_high_where_the_towers_know_more_than_a_reader() -> None:
    sizes, readers = simulate(noise=0.35)
    alpha, means = choose_alpha(judge(sizes), readers, QUERIES, 1)
    assert alpha >= 0.6
    assert means.shape == (len(ALPHAS),)
    assert means[-1] > means[0] + 0.05
    assert means[ALPHAS.index(alpha)] == means.max()


def test_alpha_is_low_where_the_towers_know_nothing() -> None:
    _, readers = simulate(noise=0.05)
    alpha, means = choose_alpha(np.random.default_rng(1).random((3, 150)), readers, QUERIES, 1)
    assert alpha <= 0.2
    assert means[0] > means[-1] + 0.2


def test_alpha_lies_between_where_both_parts_help() -> None:
    sizes, readers = simulate(noise=0.2)
    blurred = sizes * np.exp(np.random.default_rng(2).normal(0, 0.2, 150))
    alpha, means = choose_alpha(judge(blurred), readers, QUERIES, 1)
    assert 0.2 <= alpha <= 0.8
    assert means.max() > max(means[0], means[-1]) + 0.01


def test_the_smaller_alpha_is_chosen_where_all_are_equal() -> None:
    sizes, _ = simulate(noise=0)
    readers = np.stack([sizes, sizes], axis=1)
    alpha, means = choose_alpha(judge(sizes), readers, QUERIES, 0)
    assert means[0] == pytest.approx(1)
    assert alpha == 0


def test_a_logit_beyond_any_exponential_is_a_probability_without_a_warning() -> None:
    probabilities = Calibration(1e300, 0.0).to_probability(np.array([-1.0, 0.0, 1.0]))
    assert probabilities.tolist() == [0.0, 0.5, 1.0]
