"""Parsing of a sentence into the size and the ratings that it asks for, the words that are left, and notes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noduleclip.language.context_words import FILLERS
from noduleclip.language.rating_phrases import describe_ratings, parse_ratings
from noduleclip.language.rating_scale import RatingRange
from noduleclip.language.size import parse_size
from noduleclip.language.size_interval import SizeInterval
from noduleclip.language.size_words import UNITS

_MOST_NOTES = 5
_LONGEST_QUOTE = 60


@dataclass(frozen=True)
class ParsedQuery:
    """A parsed sentence; a nodule must satisfy all of it.

    Attributes:
        interval: The diameters asked for, None where the sentence has no size.
        ratings: The ratings asked for, at most one range per attribute.
        words: The other words and numbers in lower case and in order, without punctuation.
        notes: One line each on what was ignored, not understood, or read in a way that may surprise.
    """

    interval: SizeInterval | None
    ratings: tuple[RatingRange, ...]
    words: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def has_criteria(self) -> bool:
        """Whether the sentence asks for anything that a reader measures or rates."""
        return self.interval is not None or bool(self.ratings)


def parse_query(text: str) -> ParsedQuery:
    """Parse a sentence.

    Returns:
        The interval of diameters and the ranges of ratings that it asks for, the words that are left, and notes on
        what was ignored or not understood.

    Raises:
        UsageError: The sentence is empty or too long, contradicts itself, names an impossible size or rating, or
            has words beside a number or a negation that are not understood.

    Examples:
        >>> query = nc.parse_query("a spiculated nodule between 0.8 and 1.2 cm")
        >>> assert str(query.interval) == "(8, 12] mm"
    """
    size = parse_size(text)
    ratings, words = parse_ratings(size.words)
    unread = _list_unread(words, has_criteria=size.interval is not None or bool(ratings))
    notes = (*size.notes, *(f"not understood: {quoted!r}" for quoted in unread))
    return ParsedQuery(size.interval, ratings, words, notes[:_MOST_NOTES])


def _list_unread(words: Sequence[str], *, has_criteria: bool) -> list[str]:
    """Return the runs of words that neither the size nor the ratings used; without criteria only those with numbers."""
    runs: list[list[str]] = [[]]
    for word in words:
        if word in FILLERS:
            runs.append([])
        else:
            runs[-1].append(word)
    quoted = [" ".join(run) for run in runs if run and (has_criteria or any(map(_is_measure, run)))]
    return [text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]} …" for text in dict.fromkeys(quoted)]


def _is_measure(word: str) -> bool:
    return word in UNITS or word in "<>=%" or any(map(str.isdigit, word))


def describe_query(parsed: ParsedQuery) -> str:
    """Describe in one line how a sentence was understood; the notes come last."""
    parts = [] if parsed.interval is None else [f"diameter in {parsed.interval}"]
    if parsed.ratings:
        parts.append(f"ratings: {describe_ratings(parsed.ratings)}")
    notes = "".join(f"; note: {note}" for note in parsed.notes)
    return f"read as: {'; '.join(parts) or 'no size; ranked by the words alone'}{notes}"


def list_attributes(parsed_queries: Iterable[ParsedQuery]) -> tuple[str, ...]:
    """Return the rated attributes that sentences ask for, each once, in order."""
    return tuple(dict.fromkeys(asked.attribute for parsed in parsed_queries for asked in parsed.ratings))


def parse_queries(texts: Sequence[str]) -> list[ParsedQuery]:
    """Parse many sentences; raises as `parse_query` does."""
    return [parse_query(text) for text in texts]
