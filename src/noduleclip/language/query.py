"""Parsing of a sentence into the size and the ratings that it asks for, the words that are left, and notes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from noduleclip.language.leftovers import find_leftovers
from noduleclip.language.rating_phrases import parse_ratings
from noduleclip.language.rating_scale import RatingRange, spell_range
from noduleclip.language.size import parse_size
from noduleclip.language.size_context import PREVIOUS
from noduleclip.language.size_interval import SizeInterval, spell_interval

_NOTHING_ASKED = "no size or rating; ranked by similarity to the words alone, which is no probability"
_MOST_NOTES = 5
_MOST_QUOTED, _LONGEST_QUOTE = 6, 60
_MOST_SUGGESTED = 20  # words of a sentence that are compared with the known ones


@dataclass(frozen=True)
class ParsedQuery:
    """A parsed sentence; a nodule must satisfy all of it.

    Attributes:
        interval: The diameters asked for, None where the sentence has no size.
        ratings: The ratings asked for, at most one range per attribute.
        words: The other words and numbers in lower case and in order, without punctuation.
        notes: One line each on what was ignored, not understood, or read in a way that may surprise.
        not_understood: Runs of words that are neither size nor rating and restrict the search: "right upper lobe".
        suggestions: Known words that words of these runs are near to: "spiculated" for "spiculted".
    """

    interval: SizeInterval | None
    ratings: tuple[RatingRange, ...]
    words: tuple[str, ...]
    notes: tuple[str, ...] = ()
    not_understood: tuple[str, ...] = ()
    suggestions: Mapping[str, str] = field(default_factory=dict, hash=False)

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
        >>> assert nc.parse_query("> 6 mm, right upper lobe").not_understood == ("right upper lobe",)
    """
    size = parse_size(text)
    ratings, words = parse_ratings(size.words)
    has_previous = any(PREVIOUS in note for note in size.notes)
    has_size = size.interval is not None or bool(size.notes)
    runs = find_leftovers(words, has_size=has_size, has_ratings=bool(ratings), has_previous=has_previous)
    notes = size.notes[: _MOST_NOTES - bool(runs)]
    if not runs:
        return ParsedQuery(size.interval, ratings, words, notes)
    from noduleclip.language.near_misses import suggest

    unknown = dict.fromkeys(word for run in runs for word in run.split())
    near = {word: known for word in list(unknown)[:_MOST_SUGGESTED] if (known := suggest(word)) is not None}
    notes = (*notes, f"not understood: {_quote(runs, near)}")
    return ParsedQuery(size.interval, ratings, words, notes, runs, near)


def _quote(runs: Sequence[str], suggestions: Mapping[str, str]) -> str:
    """Return "right upper lobe, spiculted (spiculated?)"; a long run is cut, and many are counted."""
    quoted = []
    for run in runs[:_MOST_QUOTED]:
        shown = run if len(run) <= _LONGEST_QUOTE else f"{run[:_LONGEST_QUOTE]} …"
        words = (f"{word} ({suggestions[word]}?)" if word in suggestions else word for word in shown.split())
        quoted.append(" ".join(words))
    more = len(runs) - len(quoted)
    return ", ".join(quoted) + (f" and {more} more" if more else "")


def describe_query(parsed: ParsedQuery) -> str:
    """Describe in one line how a sentence was understood, in words and as an interval; the notes come last.

    What is printed is read again as the same query.
    """
    interval = parsed.interval
    parts = [] if interval is None else [f"diameter {spell_interval(interval)}, {interval}"]
    parts += map(spell_range, parsed.ratings)
    notes = "".join(f"; note: {note}" for note in parsed.notes)
    return f"read as: {'; '.join(parts) or _NOTHING_ASKED}{notes}"


def list_attributes(parsed_queries: Iterable[ParsedQuery]) -> tuple[str, ...]:
    """Return the rated attributes that sentences ask for, each once, in order."""
    return tuple(dict.fromkeys(asked.attribute for parsed in parsed_queries for asked in parsed.ratings))


def parse_queries(texts: Sequence[str]) -> list[ParsedQuery]:
    """Parse many sentences; raises as `parse_query` does."""
    return [parse_query(text) for text in texts]
