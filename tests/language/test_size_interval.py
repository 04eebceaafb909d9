"""Intervals: what they hold, what they refuse to be, and how they are printed."""

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from language.intervals import (
    ALL_CLOSED,
    BOUNDS_MM,
    INF,
    at_least,
    at_most,
    inclusive,
    intervals,
    over,
    strictly,
    under,
    within,
)
from noduleclip.errors import SizeLanguageError
from noduleclip.language import SizeInterval, describe_interval, spell_interval


def test_equal_meanings_are_equal_intervals() -> None:
    assert SizeInterval(0, 6, "right") == SizeInterval(-0.0, 6, "both")
    assert SizeInterval(6, INF, "both") == SizeInterval(6, INF, "left")
    assert len({SizeInterval(0, INF, closed) for closed in ALL_CLOSED}) == 1


@pytest.mark.parametrize(
    ("low_mm", "high_mm", "closed", "message"),
    [
        (-1, 6, "both", "between 0 and 100"),
        (math.nan, 6, "both", "between 0 and 100"),
        (6, math.nan, "both", "between 0 and 100"),
        (INF, INF, "both", "between 0 and 100"),
        (6, 101, "both", "between 0 and 100"),
        (7, 6, "both", "no diameter lies between 7 and 6 mm"),
        (6, 6, "right", "no diameter lies between 6 and 6 mm"),
        (1, 6, "open", "closed must be one of"),
    ],
)
def test_an_impossible_interval_is_refused(
    low_mm: float, high_mm: float, closed: Literal["both", "right"], message: str
) -> None:
    with pytest.raises(SizeLanguageError, match=message):
        SizeInterval(low_mm, high_mm, closed)


@pytest.mark.parametrize(
    ("interval", "printed", "phrase"),
    [
        (over(6), "(6, inf) mm", "diameter > 6 mm"),
        (at_least(6.5), "[6.5, inf) mm", "diameter >= 6.5 mm"),
        (at_most(6), "[0, 6] mm", "diameter <= 6 mm"),
        (under(6), "[0, 6) mm", "diameter < 6 mm"),
        (within(6, 10), "(6, 10] mm", "diameter 6-10 mm"),
        (SizeInterval(6, 10, "left"), "[6, 10) mm", "diameter >= 6 mm and < 10 mm"),
        (inclusive(6, 6), "[6, 6] mm", "diameter >= 6 mm and <= 6 mm"),
        (
            SizeInterval(1e-07, 0.1 + 0.2, "neither"),
            None,
            "diameter > 0.0000001 mm and < 0.30000000000000004 mm",
        ),
        (SizeInterval(0, INF, "neither"), "[0, inf) mm", "diameter >= 0 mm"),
    ],
)
def test_an_interval_is_described(interval: SizeInterval, printed: str | None, phrase: str) -> None:
    assert printed is None or str(interval) == printed
    assert describe_interval(interval) == phrase


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (over(6), "larger than 6 mm"),
        (at_least(6.5), "at least 6.5 mm"),
        (at_most(6), "at most 6 mm"),
        (under(6), "smaller than 6 mm"),
        (within(6, 10), "larger than 6 and at most 10 mm"),
        (SizeInterval(6, 10, "left"), "at least 6 and smaller than 10 mm"),
        (strictly(6, 10), "larger than 6 and smaller than 10 mm"),
        (inclusive(7, 9), "from 7 to 9 mm"),
        (inclusive(6, 6), "exactly 6 mm"),
    ],
)
def test_an_interval_is_spelled_out(interval: SizeInterval, words: str) -> None:
    assert spell_interval(interval) == words


@given(intervals(), st.one_of(BOUNDS_MM, st.floats(-10, 200)))
def test_distance_is_zero_just_inside_and_on_the_bounds(interval: SizeInterval, diameter_mm: float) -> None:
    distance_mm = interval.distance_mm(diameter_mm)
    on_bound = diameter_mm in (interval.low_mm, interval.high_mm)
    assert (distance_mm == 0) == (interval.contains(diameter_mm) or on_bound)
    assert distance_mm == max(interval.low_mm - diameter_mm, diameter_mm - interval.high_mm, 0)


@given(intervals())
def test_bounds_belong_as_declared(interval: SizeInterval) -> None:
    assert interval.contains(interval.low_mm) == interval.includes_low
    assert interval.contains(interval.high_mm) == interval.includes_high
    assert not interval.contains(math.nan)
    assert math.isnan(interval.distance_mm(math.nan))
