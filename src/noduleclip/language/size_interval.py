"""Intervals of diameters: membership, text form, intersection and union."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, get_args

from noduleclip.errors import SizeLanguageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_DIAMETER_MM = 100.0

Closed = Literal["both", "left", "right", "neither"]


@dataclass(frozen=True)
class SizeInterval:
    """A range of diameters in millimetres. Equal meanings are equal objects.

    Attributes:
        low_mm: Lower bound in [0, 100]; 0 means none, and is kept as closed.
        high_mm: Upper bound in [low_mm, 100]; `math.inf` means none, and is kept as open.
        closed: Which bounds belong to the interval.
    """

    low_mm: float
    high_mm: float
    closed: Closed

    def __post_init__(self) -> None:
        low_mm, high_mm = self.low_mm + 0.0, self.high_mm + 0.0  # turns -0.0 and integers into plain floats
        if self.closed not in get_args(Closed):
            raise SizeLanguageError(f"closed must be one of {get_args(Closed)}, got {self.closed!r}")
        if not (0 <= low_mm <= MAX_DIAMETER_MM and (0 <= high_mm <= MAX_DIAMETER_MM or high_mm == math.inf)):
            raise SizeLanguageError(
                f"bounds {low_mm} and {high_mm} mm: a diameter lies between 0 and {MAX_DIAMETER_MM:g} mm"
            )
        low_closed = low_mm == 0 or self.closed in ("both", "left")
        high_closed = high_mm < math.inf and self.closed in ("both", "right")
        if low_mm > high_mm or (low_mm == high_mm and not (low_closed and high_closed)):
            ends = f"{format_number(low_mm)} and {format_number(high_mm)} mm"
            raise SizeLanguageError(f"no diameter lies between {ends} (closed: {self.closed})")
        object.__setattr__(self, "low_mm", low_mm)
        object.__setattr__(self, "high_mm", high_mm)
        object.__setattr__(self, "closed", name_closed(low_closed, high_closed))

    @property
    def includes_low(self) -> bool:
        """Whether the lower bound belongs to the interval."""
        return self.closed in ("both", "left")

    @property
    def includes_high(self) -> bool:
        """Whether the upper bound belongs to the interval."""
        return self.closed in ("both", "right")

    def contains(self, diameter_mm: float) -> bool:
        """Return whether a diameter satisfies the interval; NaN does not."""
        return (
            self.low_mm < diameter_mm < self.high_mm
            or (self.includes_low and diameter_mm == self.low_mm)
            or (self.includes_high and diameter_mm == self.high_mm)
        )

    def contains_each(self, diameters_mm: "NDArray[np.floating]") -> "NDArray[np.bool_]":
        """Return for each diameter of an array whether it satisfies the interval, in its shape; NaN does not."""
        above = diameters_mm >= self.low_mm if self.includes_low else diameters_mm > self.low_mm
        below = diameters_mm <= self.high_mm if self.includes_high else diameters_mm < self.high_mm
        return above & below

    def distance_mm(self, diameter_mm: float) -> float:
        """Return the millimetres to the nearest bound: 0 inside and on either bound, NaN for NaN."""
        if diameter_mm < self.low_mm:
            return self.low_mm - diameter_mm
        if diameter_mm > self.high_mm:
            return diameter_mm - self.high_mm
        return math.nan if math.isnan(diameter_mm) else 0.0

    def __str__(self) -> str:
        left, right = "[" if self.includes_low else "(", "]" if self.includes_high else ")"
        return f"{left}{format_number(self.low_mm)}, {format_number(self.high_mm)}{right} mm"


def name_closed(low_closed: bool, high_closed: bool) -> Closed:
    """Name which bounds belong to an interval."""
    if low_closed:
        return "both" if high_closed else "left"
    return "right" if high_closed else "neither"


def format_number(value: float) -> str:
    """Write the shortest decimal that reads back as the same float, without an exponent."""
    return "inf" if value == math.inf else format(Decimal(repr(value)), "f").removesuffix(".0")


def make_threshold(operator: str, value_mm: float) -> SizeInterval:
    """Make the interval of a comparison, one of > >= < <=."""
    if operator in (">", ">="):
        return SizeInterval(value_mm, math.inf, "left" if operator == ">=" else "neither")
    return SizeInterval(0, value_mm, "both" if operator == "<=" else "left")


def intersect(one: SizeInterval, other: SizeInterval) -> SizeInterval | None:
    """Return the diameters in both intervals, None where there are none."""
    low_mm, low_open = max((i.low_mm, not i.includes_low) for i in (one, other))
    high_mm, high_closed = min((i.high_mm, i.includes_high) for i in (one, other))
    if low_mm > high_mm or (low_mm == high_mm and (low_open or not high_closed)):
        return None
    return SizeInterval(low_mm, high_mm, name_closed(not low_open, high_closed))


def unite(intervals: Iterable[SizeInterval]) -> SizeInterval | None:
    """Return the diameters in any of the intervals, at least one, or None where they leave a gap."""
    first, *others = sorted(intervals, key=lambda i: (i.low_mm, not i.includes_low))
    for other in others:
        touches = first.high_mm == other.low_mm and (first.includes_high or other.includes_low)
        if not touches and first.high_mm <= other.low_mm:
            return None
        high_mm, high_closed = max((i.high_mm, i.includes_high) for i in (first, other))
        first = SizeInterval(first.low_mm, high_mm, name_closed(first.includes_low, high_closed))
    return first


def spell_interval(interval: SizeInterval) -> str:
    """Write an interval in words: "larger than 6 mm", "larger than 6 and at most 10 mm", "from 7 to 9 mm"."""
    low, high = format_number(interval.low_mm), format_number(interval.high_mm)
    above = f"{'at least' if interval.includes_low else 'larger than'} {low}"
    below = f"{'at most' if interval.includes_high else 'smaller than'} {high} mm"
    if interval.high_mm == math.inf:
        return f"{above} mm"
    if interval.low_mm == 0 and interval.includes_low:
        return below
    if interval.closed == "both":
        return f"exactly {low} mm" if low == high else f"from {low} to {high} mm"
    return f"{above} and {below}"


def describe_interval(interval: SizeInterval) -> str:
    """Write an interval as the phrase that `parse_interval` reads back as the same interval."""
    low, high = format_number(interval.low_mm), format_number(interval.high_mm)
    above = f"{'>=' if interval.includes_low else '>'} {low} mm"
    below = f"{'<=' if interval.includes_high else '<'} {high} mm"
    if interval.high_mm == math.inf:
        return f"diameter {above}"
    if interval.low_mm == 0:
        return f"diameter {below}"
    return f"diameter {low}-{high} mm" if interval.closed == "right" else f"diameter {above} and {below}"
