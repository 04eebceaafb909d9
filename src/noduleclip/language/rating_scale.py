"""LIDC's rating scales, and a range of ratings on one of them."""

from dataclasses import dataclass

from noduleclip import schema
from noduleclip.errors import RatingLanguageError

_LAST = {
    schema.SUBTLETY: 5,
    schema.CALCIFICATION: 6,
    schema.SPHERICITY: 5,
    schema.MARGIN: 5,
    schema.LOBULATION: 5,
    schema.SPICULATION: 5,
    schema.TEXTURE: 5,
    schema.MALIGNANCY: 5,
}
ATTRIBUTES: tuple[str, ...] = tuple(_LAST)
"""The rated attributes that queries can name, by column name. Internal structure is not among them: all but a few
dozen of LIDC's nodules are rated soft tissue."""

LARGEST_RATING = max(_LAST.values())
NOMINAL = frozenset({schema.CALCIFICATION})
"""Attributes whose ratings are categories without an order, of which no mean is taken."""


@dataclass(frozen=True)
class RatingRange:
    """Ratings of one attribute that a sentence asks for.

    Attributes:
        attribute: Column name, one of `ATTRIBUTES`.
        low: Lowest rating in the range, from 1.
        high: Highest rating in the range.
    """

    attribute: str
    low: int
    high: int

    def __post_init__(self) -> None:
        last = last_rating(self.attribute)
        if not 1 <= self.low <= self.high <= last:
            raise RatingLanguageError(f"{self.attribute} {self.low}-{self.high}: ratings run from 1 to {last}")

    def contains(self, rating: float) -> bool:
        """Return whether a rating satisfies the range; NaN does not."""
        return self.low <= rating <= self.high

    def __str__(self) -> str:
        return f"{self.attribute} {self.low}" + (f"-{self.high}" if self.high > self.low else "")


def last_rating(attribute: str) -> int:
    """Return the highest rating of an attribute.

    Raises:
        ValueError: It is none of `ATTRIBUTES`.
    """
    if attribute not in _LAST:
        raise ValueError(f"{attribute!r} is not one of {ATTRIBUTES}")
    return _LAST[attribute]


def spell_range(asked: RatingRange) -> str:
    """Write a range in words: "spiculation at least 3", "margin at most 2", "texture 3", "calcification 1 to 5"."""
    name, last = asked.attribute.replace("_", " "), last_rating(asked.attribute)
    if asked.low == asked.high:
        return f"{name} {asked.low}"
    if asked.high == last and asked.low > 1 and asked.attribute not in NOMINAL:
        return f"{name} at least {asked.low}"
    if asked.low == 1 and asked.high < last and asked.attribute not in NOMINAL:
        return f"{name} at most {asked.high}"
    return f"{name} {asked.low} to {asked.high}"


def complement(asked: RatingRange) -> RatingRange | None:
    """Return the ratings outside a range; None where they are no single range."""
    last = last_rating(asked.attribute)
    if asked.low == 1 and asked.high < last:
        return RatingRange(asked.attribute, asked.high + 1, last)
    if asked.high == last and asked.low > 1:
        return RatingRange(asked.attribute, 1, asked.low - 1)
    return None


def subtract(asked: RatingRange, excluded: RatingRange) -> RatingRange | None:
    """Return the ratings of one range outside another; None where there are none, or no single range."""
    if excluded.high < asked.low or excluded.low > asked.high:
        return asked
    if excluded.low <= asked.low and excluded.high < asked.high:
        return RatingRange(asked.attribute, excluded.high + 1, asked.high)
    if excluded.low > asked.low and excluded.high >= asked.high:
        return RatingRange(asked.attribute, asked.low, excluded.low - 1)
    return None


def unite(one: RatingRange, other: RatingRange) -> RatingRange | None:
    """Return the ratings in either of two ranges of one attribute; None where a gap lies between them."""
    first, second = sorted((one, other), key=lambda asked: asked.low)
    if second.low > first.high + 1:
        return None
    return RatingRange(one.attribute, first.low, max(first.high, second.high))


def intersect(one: RatingRange, other: RatingRange) -> RatingRange | None:
    """Return the ratings in both of two ranges of one attribute; None where there are none."""
    low, high = max(one.low, other.low), min(one.high, other.high)
    return RatingRange(one.attribute, low, high) if low <= high else None
