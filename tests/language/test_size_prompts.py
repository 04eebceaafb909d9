"""The fixed prompts, and the sampler of the training prompts."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from language.intervals import ALL_CLOSED, INF, at_least, at_most, inclusive, over, within
from noduleclip.language import (
    BIN_PROMPTS,
    CURATED_PROMPTS,
    EVALUATION_QUERIES,
    Prompt,
    parse_interval,
    sample_prompts,
)


def test_the_fixed_prompts_are_those_of_the_design() -> None:
    bins = (at_most(6), within(6, 10), over(10))
    assert tuple(map(parse_interval, BIN_PROMPTS)) == bins
    assert tuple(map(parse_interval, CURATED_PROMPTS)) == (*bins, over(3), *bins)
    assert CURATED_PROMPTS[4:] == ("a small lung nodule", "a medium-size lung nodule", "a large lung nodule")
    assert tuple(map(parse_interval, EVALUATION_QUERIES)) == (
        *(over(3), at_most(6), within(6, 10), over(10), over(6)),
        *(over(8), at_most(8), within(8, 15), over(15), at_most(5)),
    )
    assert all(query.startswith("a lung nodule with diameter ") for query in EVALUATION_QUERIES)


SAMPLED = sample_prompts(3000, random.Random(7))


@given(st.integers(0, 2**32))
@settings(max_examples=50)
def test_sampled_prompts_read_back_as_their_interval(seed: int) -> None:
    for prompt in sample_prompts(20, random.Random(seed)):
        assert parse_interval(prompt.text) == prompt.interval, prompt.text


def test_sampling_depends_on_the_random_state_alone() -> None:
    assert sample_prompts(3000, random.Random(7)) == SAMPLED
    assert sample_prompts(50, random.Random(8)) != SAMPLED[:50]
    assert sample_prompts(0, random.Random(7)) == []
    rng = random.Random(7)
    assert sample_prompts(1000, rng) + sample_prompts(2000, rng) == SAMPLED


def test_sampling_is_the_same_on_every_platform() -> None:
    assert sample_prompts(4, random.Random(0)) == [
        Prompt("lung nodules, between 1.55cm and 3.05cm inclusive", inclusive(15.5, 30.5)),
        Prompt("3 millimeters or more", at_least(3)),
        Prompt("a lung nodule with diameter 15.1-26.3", within(15.1, 26.3)),
        Prompt("a nodule 28–62.5mm", within(28, 62.5)),
    ]


def test_sampling_covers_every_form() -> None:
    fixed = set(CURATED_PROMPTS + EVALUATION_QUERIES)
    texts = [prompt.text for prompt in SAMPLED]
    drawn = [prompt.interval for prompt in SAMPLED if prompt.text not in fixed]
    assert 0.2 < sum(text in fixed for text in texts) / len(texts) < 0.3
    assert fixed <= set(texts)
    kinds = {(i.low_mm == 0, i.high_mm == INF, i.closed) for i in drawn}
    one_sided = {
        (False, True, "left"),
        (False, True, "neither"),
        (True, False, "left"),
        (True, False, "both"),
    }
    assert kinds == one_sided | {(False, False, closed) for closed in ALL_CLOSED}
    for part in (
        "at least",
        "no more than",
        "or larger",
        "between",
        "from",
        "–",
        "≥",
        "cm",
        "millimetres",
        "<=",
    ):
        assert any(part in text for text in texts), part


def test_sampled_thresholds_are_mostly_log_uniform_over_3_to_30_mm() -> None:
    one_sided = [p.interval for p in SAMPLED if p.text not in CURATED_PROMPTS + EVALUATION_QUERIES]
    bounds = [i.low_mm or i.high_mm for i in one_sided if i.low_mm == 0 or i.high_mm == INF]
    assert min(bounds) >= 2
    assert max(bounds) <= 45
    below_9_5 = sum(bound < 9.5 for bound in bounds) / len(bounds)  # sqrt(3 * 30) halves the log-uniform part
    assert below_9_5 == pytest.approx(0.8 * 0.5 + 0.2 * 7.5 / 43, abs=0.05)


def test_sampled_ranges_are_neither_slim_nor_wide() -> None:
    ratios = [
        p.interval.high_mm / p.interval.low_mm for p in SAMPLED if p.interval.low_mm > 0 and p.interval.high_mm < INF
    ]
    assert 1 < min(ratios) < 1.2
    assert 2.8 < max(ratios) < 3.3
