"""What a sentence asks for: a size, ratings, and the words that are left. All commands read sentences here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noduleclip.language.rating_phrases import describe_ratings, read_ratings
from noduleclip.language.rating_scale import RatingRange
from noduleclip.language.size import read_size
from noduleclip.language.size_interval import SizeInterval


@dataclass(frozen=True)
class Reading:
    """What a sentence asks for; all of it together.

    Attributes:
        interval: The diameters asked for, None where the sentence has no size.
        ratings: The ratings asked for, at most one range per attribute.
        words: The other words and numbers in lower case and in order, without punctuation.
    """

    interval: SizeInterval | None
    ratings: tuple[RatingRange, ...]
    words: tuple[str, ...]

    @property
    def asks(self) -> bool:
        """Whether the sentence asks for anything that a reader measures or rates."""
        return self.interval is not None or bool(self.ratings)


def read_sentence(text: str) -> Reading:
    """Read a sentence.

    Raises:
        UsageError: It is empty or too long, contradicts itself, or says what is no size or rating.
    """
    size = read_size(text)
    ratings, words = read_ratings(size.words)
    return Reading(size.interval, ratings, words)


def describe_reading(reading: Reading) -> str:
    """Describe in one line how a sentence was understood."""
    parts = [] if reading.interval is None else [f"diameter in {reading.interval}"]
    if reading.ratings:
        parts.append(f"ratings: {describe_ratings(reading.ratings)}")
    return f"read as: {'; '.join(parts) or 'no size; ranked by the words alone'}"


def list_attributes(readings: Iterable[Reading]) -> tuple[str, ...]:
    """Return the rated attributes that sentences ask for, each once, in order."""
    return tuple(dict.fromkeys(asked.attribute for reading in readings for asked in reading.ratings))


def read_sentences(texts: Sequence[str]) -> list[Reading]:
    """Read many sentences; raises as `read_sentence` does."""
    return [read_sentence(text) for text in texts]
