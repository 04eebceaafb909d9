"""Parsing of a sentence into the size and the ratings that it asks for, and the words that are left."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noduleclip.language.rating_phrases import describe_ratings, parse_ratings
from noduleclip.language.rating_scale import RatingRange
from noduleclip.language.size import parse_size
from noduleclip.language.size_interval import SizeInterval


@dataclass(frozen=True)
class ParsedQuery:
    """A parsed sentence; a nodule must satisfy all of it.

    Attributes:
        interval: The diameters asked for, None where the sentence has no size.
        ratings: The ratings asked for, at most one range per attribute.
        words: The other words and numbers in lower case and in order, without punctuation.
    """

    interval: SizeInterval | None
    ratings: tuple[RatingRange, ...]
    words: tuple[str, ...]

    @property
    def has_criteria(self) -> bool:
        """Whether the sentence asks for anything that a reader measures or rates."""
        return self.interval is not None or bool(self.ratings)


def parse_query(text: str) -> ParsedQuery:
    """Parse a sentence.

    Returns:
        The interval of diameters and the ranges of ratings that it asks for, and the words that are left.

    Raises:
        UsageError: The sentence is empty or too long, contradicts itself, or names an impossible size or rating.

    Examples:
        >>> query = nc.parse_query("a spiculated nodule between 0.8 and 1.2 cm")
        >>> assert str(query.interval) == "(8, 12] mm"
    """
    size = parse_size(text)
    ratings, words = parse_ratings(size.words)
    return ParsedQuery(size.interval, ratings, words)


def describe_query(parsed: ParsedQuery) -> str:
    """Describe in one line how a sentence was understood."""
    parts = [] if parsed.interval is None else [f"diameter in {parsed.interval}"]
    if parsed.ratings:
        parts.append(f"ratings: {describe_ratings(parsed.ratings)}")
    return f"read as: {'; '.join(parts) or 'no size; ranked by the words alone'}"


def list_attributes(parsed_queries: Iterable[ParsedQuery]) -> tuple[str, ...]:
    """Return the rated attributes that sentences ask for, each once, in order."""
    return tuple(dict.fromkeys(asked.attribute for parsed in parsed_queries for asked in parsed.ratings))


def parse_queries(texts: Sequence[str]) -> list[ParsedQuery]:
    """Read many sentences; raises as `parse_query` does."""
    return [parse_query(text) for text in texts]
