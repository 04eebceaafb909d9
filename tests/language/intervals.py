"""Short names for the intervals that the tests speak of, and a strategy that draws any."""

import math
from typing import Literal

from hypothesis import strategies as st

from noduleclip.language import SizeInterval

INF = math.inf
ALL_CLOSED: tuple[Literal["both", "left", "right", "neither"], ...] = ("both", "left", "right", "neither")


def over(value_mm: float) -> SizeInterval:
    return SizeInterval(value_mm, INF, "neither")


def at_least(value_mm: float) -> SizeInterval:
    return SizeInterval(value_mm, INF, "left")


def under(value_mm: float) -> SizeInterval:
    return SizeInterval(0, value_mm, "left")


def at_most(value_mm: float) -> SizeInterval:
    return SizeInterval(0, value_mm, "both")


def within(low_mm: float, high_mm: float) -> SizeInterval:
    return SizeInterval(low_mm, high_mm, "right")


def inclusive(low_mm: float, high_mm: float) -> SizeInterval:
    return SizeInterval(low_mm, high_mm, "both")


def strictly(low_mm: float, high_mm: float) -> SizeInterval:
    return SizeInterval(low_mm, high_mm, "neither")


BOUNDS_MM = st.one_of(
    st.integers(0, 100_000).map(lambda thousandths: thousandths / 1000),
    st.floats(0, 100),
)


@st.composite
def intervals(draw: st.DrawFn) -> SizeInterval:
    low_mm, high_mm = sorted((draw(BOUNDS_MM), draw(st.one_of(BOUNDS_MM, st.just(INF)))))
    closed = draw(st.sampled_from(ALL_CLOSED))
    return SizeInterval(low_mm, high_mm, "both" if low_mm == high_mm else closed)
