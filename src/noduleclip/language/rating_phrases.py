"""From the words of a sentence to the ratings that it asks for, and the words that are left."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from noduleclip.errors import RatingLanguageError
from noduleclip.language.rating_scale import ATTRIBUTES, RatingRange, complement, intersect, last_rating, unite
from noduleclip.language.rating_words import (
    BEFORE_NUMBER,
    BETWEEN_LESSENING,
    BETWEEN_NUMBERS,
    BETWEEN_PARTS,
    COMPARISONS,
    LESSENED,
    LESSENING,
    LONGEST_COMPARISON,
    LONGEST_PHRASE,
    PHRASES,
    Ranges,
    names_part,
)
from noduleclip.language.size_words import MIRRORED
from noduleclip.language.words import AFTER_NOT, NOT


class _Found(NamedTuple):
    """One phrase: the ranges that it asks for, together, and where it stands."""

    ranges: Ranges
    start: int
    end: int
    text: str
    negated: bool = False


_OF_SCALE = re.compile(r"(\d)/(\d)")


def parse_ratings(words: Sequence[str]) -> tuple[Ranges, tuple[str, ...]]:
    """Read the ratings that words ask for: "or" unites ranges of one attribute, all else intersects.

    Args:
        words: Lower-case words and numbers in order, without hyphens: those that `size` leaves over.

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
        if found and "or" in gap and BETWEEN_PARTS.issuperset(gap):
            del left[len(left) - len(gap) :]
            phrase = _unite(found.pop(), phrase)
        found.append(phrase)
        at = phrase.end
    _refuse_other_unions(words, found)
    return _intersect_all(found), tuple(left)


def describe_ratings(ranges: Ranges) -> str:
    """Describe what was asked for: "texture 4-5, spiculation 3-5"."""
    return ", ".join(map(str, ranges))


def _take_phrase(words: Sequence[str], at: int) -> _Found | None:
    start, negated = at, False
    ranges, length = _find_longest(words, at)
    if not length and words[at] in NOT:
        negated = True
        at += 1
        while at < len(words) and words[at] in AFTER_NOT:
            at += 1
        ranges, length = _find_longest(words, at)
    if not length or names_part(words[at + length :]):
        return None  # "solid component" is a part of the nodule
    text = " ".join(words[start : at + length])
    return _Found(
        _negate(ranges, text) if negated else ranges, start, at + length, text, negated and words[start] != "non"
    )


def _find_longest(words: Sequence[str], at: int) -> tuple[Ranges, int]:
    for length in range(min(LONGEST_PHRASE, len(words) - at), 0, -1):
        ranges = PHRASES.get(tuple(words[at : at + length]))
        if ranges:
            return ranges, length
    return (), 0


def _negate(ranges: Ranges, text: str) -> Ranges:
    outside = complement(ranges[0]) if len(ranges) == 1 else None
    if outside is None:
        raise RatingLanguageError(f"{text!r} leaves more than one range of ratings; say what is wanted instead")
    return (outside,)


def _take_number(words: Sequence[str], at: int) -> _Found | None:
    """Take "malignancy 4", "malignancy 4 5", "malignancy rating of at least 4", "texture > 2 and < 5", "3 < margin"."""
    start = at
    asked: RatingRange | None = None
    if tuple(words[at + 1 : at + 2]) and words[at + 1] in MIRRORED and words[at].isdecimal():
        attribute = words[at + 2] if at + 2 < len(words) else ""
        if attribute in ATTRIBUTES:
            text = " ".join(words[at : at + 3])
            asked = _make_range(attribute, MIRRORED[words[at + 1]], [int(words[at])], text)
            at += 2
    attribute = words[at]
    if attribute not in ATTRIBUTES:
        return None
    at += 1
    while at < len(words):
        fillers = BEFORE_NUMBER | BETWEEN_NUMBERS if asked else BEFORE_NUMBER
        end = at
        operator, after = _take_comparison(words, end)
        while not operator and end < len(words) and words[end] in fillers:
            end += 1
            operator, after = _take_comparison(words, end)
        end = after
        if asked and not operator:
            break
        number, end = _read_rating(words, end, attribute)
        if number is None:
            break
        numbers = [number]
        if not operator:
            after = end + (end < len(words) and words[end] in BETWEEN_NUMBERS)
            if after < len(words) and words[after][0].isdecimal():
                other, end = _read_rating(words, after, attribute)
                numbers += [] if other is None else [other]
        text = " ".join(words[start:end])
        asked = _meet(asked, _make_range(attribute, operator, numbers, text), text)
        at = end
    return _Found((asked,), start, at, " ".join(words[start:at])) if asked else None


def _read_rating(words: Sequence[str], at: int, attribute: str) -> tuple[int | None, int]:
    """Read a whole number on an attribute's scale, also as "4/5" or "4 out of 5"; None where no number stands.

    Raises:
        RatingLanguageError: A number stands here that is no rating.
    """
    if at >= len(words) or not words[at][0].isdecimal():
        return None, at
    last = last_rating(attribute)
    number, end = words[at], at + 1
    if (scaled := _OF_SCALE.fullmatch(number)) and scaled[2] == str(last):
        number = scaled[1]
    for scale in (("out", "of", str(last)), ("of", str(last))):
        if tuple(words[end : end + len(scale)]) == scale:
            end += len(scale)
    if not number.isdecimal() or {"%", "percent"}.intersection(words[end : end + 1]):
        raise RatingLanguageError(
            f"'{attribute} {' '.join(words[at : end + 1])}': a rating is a whole number; "
            f"{attribute} is rated from 1 to {last}"
        )
    return int(number), end


def _refuse_half_read(words: Sequence[str], phrase: _Found, previous_end: int) -> None:
    """Refuse a rated word with a number or a lessening word beside it that was not read."""
    earlier = phrase.start - 1
    while earlier >= previous_end and words[earlier] in BETWEEN_LESSENING:
        earlier -= 1
    if earlier >= previous_end and words[earlier] in LESSENING and not (phrase.negated or phrase.text[-1].isdecimal()):
        quoted = " ".join([*words[earlier : phrase.start], phrase.text])
        raise RatingLanguageError(f"{quoted!r} is only half understood; say it in numbers, such as 'malignancy <= 2'")
    if phrase.text not in ATTRIBUTES:
        return
    after = phrase.end
    while after < len(words) and words[after] in BEFORE_NUMBER | BETWEEN_LESSENING:
        after += 1
    if after < len(words) and words[after] in LESSENED and not _find_longest(words, after)[1]:
        quoted = " ".join([phrase.text, *words[phrase.end : after + 1]])
        raise RatingLanguageError(f"{quoted!r} is only half understood; say it in numbers, such as 'malignancy <= 2'")
    before = words[max(0, phrase.start - 2) : phrase.start]
    is_rated = len(before) == 2 and before[0][0].isdecimal() and before[1] in ("for", "in", "of", "on")
    operator, end = _take_comparison(words, after)
    if is_rated or (operator and (end > after + 1 or words[after] in MIRRORED)):
        quoted = " ".join([*before, *words[phrase.start : end]])
        raise RatingLanguageError(f"{quoted!r} is only half understood; write the rating as 'malignancy 4'")


def _take_comparison(words: Sequence[str], at: int) -> tuple[str, int]:
    for length in range(LONGEST_COMPARISON, 0, -1):
        operator = COMPARISONS.get(tuple(words[at : at + length]))
        if operator:
            return operator, at + length
    return "", at


def _make_range(attribute: str, operator: str, numbers: Sequence[int], text: str) -> RatingRange:
    last = last_rating(attribute)
    low, high = {
        "": (numbers[0], numbers[-1]),
        ">": (numbers[0] + 1, last),
        ">=": (numbers[0], last),
        "<": (1, numbers[0] - 1),
        "<=": (1, numbers[0]),
    }[operator]
    if any(not 1 <= number <= last for number in numbers) or low > high:
        raise RatingLanguageError(f"{text!r}: no such rating; {attribute} is rated from 1 to {last}")
    return RatingRange(attribute, low, high)


def _meet(one: RatingRange | None, other: RatingRange, text: str) -> RatingRange:
    both = intersect(one, other) if one else other
    if both is None:
        raise RatingLanguageError(f"{text!r} contradicts itself: {one} and {other}; keep one")
    return both


def _unite(one: _Found, other: _Found) -> _Found:
    text = f"{one.text} or {other.text}"
    if len(one.ranges) != 1 or len(other.ranges) != 1 or one.ranges[0].attribute != other.ranges[0].attribute:
        raise RatingLanguageError(f"{text!r} asks for one of two things; ask for each in a query of its own")
    united = unite(one.ranges[0], other.ranges[0])
    if united is None:
        raise RatingLanguageError(f"{text!r} leaves a gap between two ranges of ratings; ask for one of them")
    return _Found((united,), one.start, other.end, text)


def _refuse_other_unions(words: Sequence[str], found: Sequence[_Found]) -> None:
    """Refuse "spiculated or > 10 mm": what stands beside a rating in a union is no rating."""
    for phrase in found:
        before, after = words[phrase.start - 1] if phrase.start else "", words[phrase.end : phrase.end + 1]
        if before == "or" or "or" in after:
            raise RatingLanguageError(
                f"'or' beside {phrase.text!r} asks for one of two things; ask for each in a query of its own"
            )


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
    return tuple(asked[name] for name in ATTRIBUTES if name in asked)
