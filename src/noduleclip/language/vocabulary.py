"""From a sentence to tokens: words, the bounds of the size it asks for as points on a grid of millimetres, and ratings.

Size phrases are parsed by `size`, whatever their wording or unit, and enter as two bounds; ratings are parsed by
`rating_phrases` and enter as an attribute with its lowest and highest rating; the other words enter as they
are. A value between two grid points is a weighted pair of them, so that thresholds that no training sentence held still
have a place. Only the standard library is used: a query is tokenised without torch.
"""

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from noduleclip.errors import ArtefactError
from noduleclip.language.query import ParsedQuery, parse_query
from noduleclip.language.rating_scale import ATTRIBUTES, LARGEST_RATING, RatingRange
from noduleclip.language.size_interval import SizeInterval

GRID_MM = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 22, 25, 28, 32, 36, 40, 50, 60, 100)
_SPECIAL = (
    "<pad>",
    "<unk>",  # not used; encoders have an entry for it
    "<start>",
    "<no-size>",
    "<any-low>",
    "<any-high>",
    "<low>",
    "<low=>",
    "<high>",
    "<high=>",
)
MAX_TOKENS = 32
MAX_WORDS, MAX_WORD_LENGTH, MAX_GRID_POINTS = 100_000, 200, 1000  # of a vocabulary that is read from a file


@dataclass(frozen=True)
class Tokens:
    """One tokenised sentence, padded to `MAX_TOKENS`.

    A token is a weighted pair of vocabulary entries: `(1 - share) * left + share * right`. For a word both are
    the same. Padding is the entry 0.

    Attributes:
        left: Entry ids.
        right: Entry ids.
        share: Weights of `right`, in [0, 1].
    """

    left: tuple[int, ...]
    right: tuple[int, ...]
    share: tuple[float, ...]


@dataclass(frozen=True)
class Vocabulary:
    """The words, the millimetre grid and the rated attributes of a text encoder.

    Attributes:
        words: Lower-case words, in the order of their ids.
        grid_mm: Ascending grid points in millimetres.
        attributes: Rated attributes, of `rating_scale.ATTRIBUTES`; none where the training table had no ratings.
    """

    words: tuple[str, ...]
    grid_mm: tuple[float, ...] = GRID_MM
    attributes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Entries of the embedding table: special tokens, words, grid points, attributes, ratings low and high."""
        rated = len(self.attributes) + 2 * LARGEST_RATING if self.attributes else 0
        return self._first_rated + rated

    @cached_property
    def _known(self) -> dict[str, int]:
        return {word: len(_SPECIAL) + at for at, word in enumerate(self.words)}

    @property
    def _first_rated(self) -> int:
        return len(_SPECIAL) + len(self.words) + len(self.grid_mm)

    @classmethod
    def from_sentences(cls, sentences: Iterable[str], attributes: tuple[str, ...] = ()) -> "Vocabulary":
        """Collect the words that are left in sentences once their sizes and ratings are read, sorted."""
        words = sorted({word for sentence in sentences for word in parse_query(sentence).words})
        return cls(tuple(words), attributes=attributes)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> "Vocabulary":
        """Make a vocabulary from what `to_mapping` gave.

        Raises:
            ArtefactError: It is something else.
        """
        try:
            words, grid = tuple(values["words"]), tuple(float(mm) for mm in values["grid_mm"])
            attributes = tuple(values["attributes"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ArtefactError(f"{where}: its vocabulary is not readable ({repr(error)[:200]})") from error
        if len(words) > MAX_WORDS or len(grid) > MAX_GRID_POINTS or len(attributes) > len(ATTRIBUTES):
            raise ArtefactError(
                f"{where}: its vocabulary has {len(words):,} words, {len(grid):,} grid points and {len(attributes):,} "
                f"ratings; at most {MAX_WORDS:,}, {MAX_GRID_POINTS:,} and {len(ATTRIBUTES)} are read"
            )
        if (
            not all(isinstance(word, str) and len(word) <= MAX_WORD_LENGTH for word in (*words, *attributes))
            or not all(map(math.isfinite, grid))
            or list(grid) != sorted(set(grid))
            or len(grid) < 2
        ):
            raise ArtefactError(
                f"{where}: its vocabulary needs words of at most {MAX_WORD_LENGTH} characters and "
                "an ascending grid of millimetres"
            )
        if not set(attributes) <= set(ATTRIBUTES) or len(set(attributes)) < len(attributes):
            known = ", ".join(ATTRIBUTES)
            raise ArtefactError(f"{where}: its vocabulary has ratings of {attributes}, known are {known}")
        return cls(words, grid, attributes)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain lists, ready for JSON and for a checkpoint."""
        return {"words": list(self.words), "grid_mm": list(self.grid_mm), "attributes": list(self.attributes)}

    def encode(self, sentence: str) -> Tokens:
        """Tokenise a sentence; words beyond the room that there is are left out, sizes and ratings never are.

        Ratings of attributes that the vocabulary does not have are left out.

        Raises:
            UsageError: The sentence is empty or contradicts itself.
        """
        return self.encode_query(parse_query(sentence))

    def encode_query(self, parsed: ParsedQuery) -> Tokens:
        """Tokenise a sentence that was read already; a word outside the vocabulary is left out.

        No training sentence has such a word, so that an entry for it would be noise: with one, "please show me all of
        them" behind "a solid nodule" changed all of the first 20 hits.
        """
        asked = [*self._encode_size(parsed.interval), *self._encode_ratings(parsed.ratings)]
        room = MAX_TOKENS - len(asked) - 1
        words = [_single(self._known[word]) for word in parsed.words if word in self._known][:room]
        tokens = [_single(_SPECIAL.index("<start>")), *asked, *words]
        tokens += [_single(0)] * (MAX_TOKENS - len(tokens))
        left, right, share = zip(*tokens, strict=True)
        return Tokens(left, right, share)

    def _encode_size(self, interval: SizeInterval | None) -> list[tuple[int, int, float]]:
        if interval is None:
            return [_single(_SPECIAL.index("<no-size>"))]
        low_mark = "<low=>" if interval.closed in ("left", "both") else "<low>"
        high_mark = "<high=>" if interval.closed in ("right", "both") else "<high>"
        no_low, no_high = interval.low_mm <= 0, interval.high_mm == float("inf")
        low = [_special("<any-low>")] if no_low else [_special(low_mark), self._place(interval.low_mm)]
        high = [_special("<any-high>")] if no_high else [_special(high_mark), self._place(interval.high_mm)]
        return [*low, *high]

    def _encode_ratings(self, ratings: Iterable[RatingRange]) -> list[tuple[int, int, float]]:
        lowest = self._first_rated + len(self.attributes)
        tokens = []
        for asked in ratings:
            if asked.attribute in self.attributes:
                attribute = self._first_rated + self.attributes.index(asked.attribute)
                low, high = lowest + asked.low - 1, lowest + LARGEST_RATING + asked.high - 1
                tokens += [_single(attribute), _single(low), _single(high)]
        return tokens

    def _place(self, value_mm: float) -> tuple[int, int, float]:
        """Return the two grid points around a value and how near it is to the right one; clipped to the grid."""
        grid = self.grid_mm
        value_mm = min(max(value_mm, grid[0]), grid[-1])
        right = max(1, bisect.bisect_left(grid, value_mm))
        share = (value_mm - grid[right - 1]) / (grid[right] - grid[right - 1])
        first = len(_SPECIAL) + len(self.words)
        return first + right - 1, first + right, share


def _single(entry: int) -> tuple[int, int, float]:
    return entry, entry, 0.0


def _special(name: str) -> tuple[int, int, float]:
    return _single(_SPECIAL.index(name))


def stack_tokens(rows: Sequence[Tokens]) -> tuple[list[list[int]], list[list[int]], list[list[float]]]:
    """Put tokenised sentences side by side: (P, T) left ids, right ids and shares."""
    return [list(r.left) for r in rows], [list(r.right) for r in rows], [list(r.share) for r in rows]
