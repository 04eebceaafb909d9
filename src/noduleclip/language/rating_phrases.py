"""From the words of a sentence to the ratings that it asks for, and the words that are left."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, NoReturn

from noduleclip.errors import RatingLanguageError
from noduleclip.language.rating_numbers import take_comparison, take_rating
from noduleclip.language.rating_scale import ATTRIBUTES, RatingRange, complement, intersect, subtract, unite
from noduleclip.language.rating_words import (
    ABSENT,
    BEFORE_NUMBER,
    BETWEEN_LESSENING,
    BETWEEN_PARTS,
    DEGREES,
    LESSENED,
    LESSENING,
    LONGEST_PHRASE,
    MIDDLE,
    PHRASES,
    Ranges,
    names_other,
)
from noduleclip.language.size_words import MIRRORED
from noduleclip.language.words import AFTER_NOT, NOT, split_words

_BEFORE_RATING = {*MIRRORED, *split_words("grade level score rating over above under below least most than")}
_CHOICES = {("any", "of"), ("one", "of"), ("either", "of")}
_CONTRASTS = split_words("versus vs xor")
_AFTER_OR = split_words("a an the with having has have is are that which any of")


class _Found(NamedTuple):
    """One phrase: the ranges that it asks for, together, and where it stands.

    Attributes:
        ranges: What it asks for; empty where it excludes the middle of a scale.
        start: Index of the first word.
        end: Index after the last word.
        text: The words.
        negated: Whether a negation stands before it, other than "non".
        excluded: The range that "not part-solid" excludes, None for other phrases.
    """

    ranges: Ranges
    start: int
    end: int
    text: str
    negated: bool = False
    excluded: RatingRange | None = None


def parse_ratings(words: Sequence[str]) -> tuple[Ranges, tuple[str, ...]]:
    """Read the ratings that words ask for: "or" unites ranges of one attribute, all else intersects.

    Args:
        words: Lower-case words and numbers in order, without hyphens: those that the size parser (`size.py`) leaves.

    Returns:
        One range per attribute asked for, in the order of `ATTRIBUTES`, and the words left.

    Raises:
        RatingLanguageError: The ratings contradict each other, are no single range, or lie outside their scale.
    """
    found: list[_Found] = []
    left: list[str] = []
    at = 0
    while at < len(words):
        phrase = _take_number(words, at) or _take_phrase(words, at)
        if phrase is None:
            left.append(words[at])
            at += 1
            continue
        _refuse_half_read(words, phrase, found[-1].end if found else 0)
        gap = words[found[-1].end : phrase.start] if found else ()
        if found and found[-1].negated and not phrase.negated and tuple(gap) == ("and",):
            raise RatingLanguageError(
                f"'{found[-1].text} and {phrase.text}': the negation can be read two ways; say one rating without it"
            )
        if found and "or" in gap and (BETWEEN_PARTS | frozenset(ATTRIBUTES)).issuperset(gap):
            del left[len(left) - len(gap) :]
            phrase = _unite(found.pop(), phrase)
        found.append(phrase)
        at = phrase.end
    _refuse_other_unions(words, found)
    _refuse_choices(words, found)
    return _intersect_all(found), tuple(left)


def describe_ratings(ranges: Ranges) -> str:
    """Describe what was asked for: "texture 4-5, spiculation 3-5"."""
    return ", ".join(map(str, ranges))


def _take_phrase(words: Sequence[str], at: int) -> _Found | None:
    if at and words[at - 1] in ("%", "percent"):
        return None  # "75 % solid"
    start, negated = at, False
    ranges, length = _find_longest(words, at)
    if not length and words[at] in NOT:
        negated = True
        at += 1
        while at < len(words) and words[at] in AFTER_NOT:
            at += 1
        numbered = take_rating(words, at) if at < len(words) else None  # "no malignancy > 3"
        ranges, length = ((numbered[0],), numbered[1] - at) if numbered else _find_longest(words, at)
    if not length or names_other(words[:start], words[at : at + length], words[at + length :]):
        return None
    text = " ".join(words[start : at + length])
    found = _Found(ranges, start, at + length, text)
    return _negate(found, is_prefix=words[start] == "non") if negated else found


def _find_longest(words: Sequence[str], at: int) -> tuple[Ranges, int]:
    for length in range(min(LONGEST_PHRASE, len(words) - at), 0, -1):
        ranges = PHRASES.get(tuple(words[at : at + length]))
        if ranges:
            return ranges, length
    return (), 0


def _negate(found: _Found, *, is_prefix: bool) -> _Found:
    if len(found.ranges) != 1:
        _refuse_gap(found.text)
    outside = complement(found.ranges[0])
    if outside is None:
        return found._replace(ranges=(), negated=True, excluded=found.ranges[0])
    return found._replace(ranges=(outside,), negated=not is_prefix)


def _refuse_gap(text: str) -> NoReturn:
    raise RatingLanguageError(f"{text!r} leaves more than one range of ratings; say what is wanted instead")


def _take_number(words: Sequence[str], at: int) -> _Found | None:
    found = take_rating(words, at)
    if found is None:
        return None
    asked, end = found
    return _Found((asked,), at, end, " ".join(words[at:end]))


def _refuse_half_read(words: Sequence[str], phrase: _Found, previous_end: int) -> None:
    """Refuse a rated word with a number or a lessening word beside it that was not read."""
    earlier = phrase.start - 1
    while earlier >= previous_end and words[earlier] in BETWEEN_LESSENING:
        earlier -= 1
    if earlier >= previous_end and words[earlier] in LESSENING and not (phrase.negated or phrase.text[-1].isdecimal()):
        quoted = " ".join([*words[earlier : phrase.start], phrase.text])
        example = f"{phrase.ranges[0].attribute if phrase.ranges else 'malignancy'} 2"
        raise RatingLanguageError(f"{quoted!r} is only half understood; say it in numbers, such as {example!r}")
    denial = phrase.end + (words[phrase.end : phrase.end + 1] in (["is"], ("is",)))
    if words[denial : denial + 1] and words[denial] in ABSENT and not _find_longest(words, denial + 1)[1]:
        raise RatingLanguageError(  # "calcified: false"
            f"'{' '.join([phrase.text, *words[phrase.end : denial + 1]])}' is not understood; say 'not {phrase.text}'"
        )
    if phrase.text not in ATTRIBUTES:
        return
    if earlier >= previous_end and words[earlier] in MIDDLE:
        quoted = " ".join([*words[earlier : phrase.start], phrase.text])
        raise RatingLanguageError(f"{quoted!r} is only half understood; say it in numbers, such as '{phrase.text} 3'")
    after = phrase.end
    while after < len(words) and words[after] in BEFORE_NUMBER | BETWEEN_LESSENING:
        after += 1
    if after < len(words) and words[after] in LESSENED | DEGREES and not _find_longest(words, after)[1]:
        quoted = " ".join([phrase.text, *words[phrase.end : after + 1]])
        hint = f"{phrase.text} {'<= 2' if words[after] in LESSENED else '3'}"
        raise RatingLanguageError(f"{quoted!r} is only half understood; say it in numbers, such as {hint!r}")
    before = words[max(previous_end, phrase.start - 2) : phrase.start]
    is_rated = len(before) == 2 and before[0][0].isdecimal() and before[1] in ("for", "in", "of", "on")
    is_rated = is_rated or (len(before) == 2 and before[0] in _BEFORE_RATING and before[1][0].isdecimal())
    is_rated = is_rated or _is_listed(words[phrase.end : phrase.end + 3])
    is_rated = is_rated or (bool(before) and before[-1][0].isdecimal() and "/" in before[-1])
    operator, end = take_comparison(words, after)
    if is_rated or (operator and (end > after + 1 or words[after] in MIRRORED)):
        quoted = " ".join([*before, *words[phrase.start : end]])
        raise RatingLanguageError(f"{quoted!r} is only half understood; write the rating as '{phrase.text} 4'")


def _is_listed(behind: Sequence[str]) -> bool:
    """Return whether the words behind an attribute list its ratings: "in [4, 5]", not "in 5 nodules"."""
    return behind[:1] in (["in"], ("in",)) and len(behind) > 1 and all(word[0].isdecimal() for word in behind[1:])


def _unite(one: _Found, other: _Found) -> _Found:
    text = f"{one.text} or {other.text}"
    if one.negated and not other.negated:
        raise RatingLanguageError(f"{text!r}: the negation can be read two ways; say one rating without it")
    if len(one.ranges) != 1 or len(other.ranges) != 1 or one.ranges[0].attribute != other.ranges[0].attribute:
        raise RatingLanguageError(f"{text!r} asks for one of two things; ask for each in a query of its own")
    united = unite(one.ranges[0], other.ranges[0])
    if united is None:
        raise RatingLanguageError(f"{text!r} leaves a gap between two ranges of ratings; ask for one of them")
    return _Found((united,), one.start, other.end, text)


def _refuse_other_unions(words: Sequence[str], found: Sequence[_Found]) -> None:
    """Refuse "spiculated or > 10 mm": what stands beside a rating in a union is no rating."""
    for phrase in found:
        start = phrase.start
        while start and words[start - 1] in _AFTER_OR:
            start -= 1
        if words[max(0, start - 1) : start] in (["or"], ("or",)) or "or" in words[phrase.end : phrase.end + 1]:
            raise RatingLanguageError(
                f"'or' beside {phrase.text!r} asks for one of two things; ask for each in a query of its own"
            )


def _refuse_choices(words: Sequence[str], found: Sequence[_Found]) -> None:
    """Refuse "any of: spiculated, lobulated" and "spiculated versus lobulated", which are no "and"."""
    if len(found) < 2:
        return
    is_choice = tuple(words[max(0, found[0].start - 2) : found[0].start]) in _CHOICES
    gaps = (words[one.end : other.start] for one, other in pairwise(found))
    if is_choice or any(_CONTRASTS.intersection(gap) for gap in gaps):
        quoted = " ".join(words[max(0, found[0].start - 2 * is_choice) : found[1].end])
        raise RatingLanguageError(f"{quoted!r} asks for one of two things; ask for each in a query of its own")


def _intersect_all(found: Sequence[_Found]) -> Ranges:
    asked: dict[str, RatingRange] = {}
    quoted: dict[str, str] = {}
    for phrase in found:
        for one in phrase.ranges:
            name = one.attribute
            both = intersect(asked[name], one) if name in asked else one
            if both is None:
                raise RatingLanguageError(
                    f"{quoted[name]!r} is {asked[name]} and {phrase.text!r} is {one}: these contradict each other; "
                    "keep one"
                )
            asked[name] = both
            quoted[name] = phrase.text
    for phrase in found:
        if phrase.excluded is not None:
            name = phrase.excluded.attribute
            rest = subtract(asked[name], phrase.excluded) if name in asked else None
            asked[name] = rest or _refuse_gap(phrase.text)
    return tuple(asked[name] for name in ATTRIBUTES if name in asked)
