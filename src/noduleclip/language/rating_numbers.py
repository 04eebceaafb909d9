"""Ratings in numbers: "malignancy 4", "texture > 2 and < 5", "a malignancy rating of 4 or higher", "3 < margin"."""

import re
from collections.abc import Sequence

from noduleclip.errors import RatingLanguageError
from noduleclip.language.context_words import NODULES
from noduleclip.language.rating_scale import ATTRIBUTES, RatingRange, complement, intersect, last_rating
from noduleclip.language.rating_words import BEFORE_NUMBER, BETWEEN_NUMBERS, COMPARISONS, LONGEST_COMPARISON
from noduleclip.language.size_words import DIGITS, MIRRORED, SUFFIXES
from noduleclip.language.words import AFTER_NOT, NOT, split_words

_RATED = split_words("rated rating scored score")
_OF_SCALE = re.compile(r"(\d)/(\d)")


def take_rating(words: Sequence[str], at: int) -> tuple[RatingRange, int] | None:
    """Read an attribute with its numbers; all of them together make one range.

    Returns:
        The range and where it ends; None where no attribute with a number starts.

    Raises:
        RatingLanguageError: The numbers contradict each other, or are no ratings of the attribute.
    """
    start = at
    asked, at = _take_mirrored(words, at)
    if words[at] not in ATTRIBUTES:
        return None
    attribute = words[at]
    at += 1
    while part := _take_part(words, at, attribute, is_first=asked is None):
        text = " ".join(words[start : part[1]])
        both = intersect(asked, part[0]) if asked else part[0]
        if both is None:
            raise RatingLanguageError(f"{text!r} contradicts itself: {asked} and {part[0]}; keep one")
        asked, at = both, part[1]
    return (asked, at) if asked else None


def take_comparison(words: Sequence[str], at: int) -> tuple[str, int]:
    """Return the comparison at a place and where it ends; "" where none stands."""
    for length in range(LONGEST_COMPARISON, 0, -1):
        operator = COMPARISONS.get(tuple(words[at : at + length]))
        if operator:
            return operator, at + length
    return "", at


def _take_mirrored(words: Sequence[str], at: int) -> tuple[RatingRange | None, int]:
    """Read "3 <" before an attribute, and return where the attribute stands."""
    number, operator, attribute = (*words[at : at + 3], "", "", "")[:3]
    if operator not in MIRRORED or attribute not in ATTRIBUTES:
        return None, at
    rating, _ = _read_number(words, at, attribute)
    if rating is None:
        return None, at
    return _make_range(attribute, MIRRORED[operator], [rating], f"{number} {operator} {attribute}"), at + 2


def _take_part(words: Sequence[str], at: int, attribute: str, *, is_first: bool) -> tuple[RatingRange, int] | None:
    """Read one number, comparison or range behind an attribute; a further one needs a comparison."""
    fillers = BEFORE_NUMBER if is_first else BEFORE_NUMBER | BETWEEN_NUMBERS
    start, negated = at, False
    operator, after = take_comparison(words, at)
    while not operator and at < len(words) and (words[at] in fillers or words[at] in NOT):
        negated = negated or words[at] in NOT
        fillers = fillers | AFTER_NOT if negated else fillers
        at += 1
        operator, after = take_comparison(words, at)
    number, end = _read_number(words, after if operator else at, attribute)
    if number is None or not (operator or is_first):
        return None
    numbers = [number]
    if not operator:
        operator, end = _take_suffix(words, end)
    if not operator:
        after = end + (end < len(words) and words[end] in BETWEEN_NUMBERS)
        other, other_end = _read_number(words, after, attribute)
        numbers, end = ([number, other], other_end) if other is not None else (numbers, end)
    text = " ".join([attribute, *words[start:end]])
    asked: RatingRange | None = _make_range(attribute, operator, numbers, text)
    if asked is not None and negated:
        asked = complement(asked)
    if asked is None:
        raise RatingLanguageError(f"{text!r} leaves more than one range of ratings; say what is wanted instead")
    return asked, end


def _take_suffix(words: Sequence[str], at: int) -> tuple[str, int]:
    for length in (2, 1):
        operator = SUFFIXES.get(tuple(words[at : at + length]))
        follows = at + length < len(words) and (words[at + length] == "than" or words[at + length][0].isdecimal())
        if operator and not follows:
            return operator, at + length
    return "", at


def _read_number(words: Sequence[str], at: int, attribute: str) -> tuple[int | None, int]:
    """Read a whole number on an attribute's scale, also as "4/5" or "4 out of 5"; None where no number stands.

    Raises:
        RatingLanguageError: A number stands here that is no rating.
    """
    if at >= len(words) or not (words[at][0].isdecimal() or _is_number_word(words, at)):
        return None, at
    last = last_rating(attribute)
    number, end = DIGITS.get(words[at], words[at]), at + 1
    if (scaled := _OF_SCALE.fullmatch(number)) and scaled[2] == str(last):
        number = scaled[1]
    for scale in (("out", "of", str(last)), ("of", str(last))):
        if tuple(DIGITS.get(word, word) for word in words[end : end + len(scale)]) == scale:
            end += len(scale)
    if not number.isdecimal() or {"%", "percent"}.intersection(words[end : end + 1]):
        raise RatingLanguageError(
            f"'{attribute} {' '.join(words[at : end + 1])}': a rating is a whole number; "
            f"{attribute} is rated from 1 to {last}"
        )
    return int(number), end


def _is_number_word(words: Sequence[str], at: int) -> bool:
    """Distinguish "rated four", "four out of five" and "texture four" from "spiculation, two nodules".

    Raises:
        RatingLanguageError: It may be either: "malignancy one nodule".
    """
    if words[at] not in DIGITS:
        return False
    follower = words[at + 1] if at + 1 < len(words) else ""
    if at and words[at - 1] in _RATED:
        return True
    if words[at] == "one" and follower in NODULES:
        raise RatingLanguageError(
            f"'{' '.join(words[max(0, at - 1) : at + 2])}' can be read two ways; write the rating as 'malignancy 1'"
        )
    return not (follower.endswith("s") and follower.isalpha())


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
