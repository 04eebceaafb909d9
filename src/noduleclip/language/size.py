"""From a sentence to the one interval it asks for, and the words that are left."""

from collections.abc import Sequence
from dataclasses import dataclass

from noduleclip.errors import SizeLanguageError
from noduleclip.language.size_grammar import Cursor, Phrase
from noduleclip.language.size_interval import SizeInterval
from noduleclip.language.size_meaning import make_interval
from noduleclip.language.size_statements import Join, Statement, combine_statements
from noduleclip.language.size_tokens import Token, tokenise
from noduleclip.language.size_words import (
    AFTER_NAMED,
    AFTER_OR,
    AFTER_OTHER_LENGTHS,
    ATTRIBUTES,
    BRACKETS,
    COMPARING,
    CONJUNCTIONS,
    DIGITS,
    JOINING,
    LINKS,
    MIRRORED,
    NAMED_SIZES,
    OTHER_LENGTHS,
    OTHER_UNITS,
    UNSIZED_NOUNS,
)


@dataclass(frozen=True)
class ParsedSize:
    """The size in a sentence, and its other words.

    Attributes:
        interval: The diameters asked for, None where the sentence has no size.
        words: The other words and numbers in lower case and in order, without punctuation.
    """

    interval: SizeInterval | None
    words: tuple[str, ...]


def parse_size(text: str) -> ParsedSize:
    """Read the size in a sentence: sizes joined by "or" unite, all others intersect.

    Raises:
        SizeLanguageError: The sentence is empty or too long, has an unreadable or impossible number,
            contradicts itself, or asks for sizes with a gap between them.
    """
    cursor = Cursor(tokenise(text))
    words: list[str] = []
    statements: list[Statement] = []
    other_end = 0
    while cursor.at < len(cursor.tokens):
        phrase = cursor.take_phrase()
        start = cursor.at if phrase is None else phrase.start
        cursor.at += phrase is None
        quoted = cursor.tokens[start : cursor.at]
        if phrase is None:
            words += [t.spoken for t in quoted if t.kind != "symbol"]
        elif _concerns_another_thing(cursor.tokens, phrase, other_end):
            words += [t.spoken for t in quoted if t.kind != "symbol" or t.text in MIRRORED]
            other_end = phrase.end
        else:
            sized_end = statements[-1].phrase.end if statements else 0
            gap = [t for t in cursor.tokens[max(sized_end, other_end) : start] if t.kind != "symbol"]
            join, joint = _find_join(gap if sized_end > other_end else ())
            if not join:
                _refuse_list(gap, phrase)
            _refuse_half_read(cursor.tokens, phrase, statements[-1] if sized_end > other_end else None)
            words[len(words) - len(gap) :] = [t.spoken for t in gap if not any(t is part for part in joint)]
            words += [t.spoken for t in quoted if t.text == "diameter"]
            statements.append(Statement(join, phrase, make_interval(phrase)))
    return ParsedSize(combine_statements(statements), tuple(words))


def parse_interval(text: str) -> SizeInterval | None:
    """Read the size in a sentence, None where it has none; raises as `parse_size` does."""
    return parse_size(text).interval


def parse_intervals(sentences: Sequence[str]) -> list[SizeInterval]:
    """Read the sizes of sentences that each have one; raises as `parse_size` does.

    Raises:
        ValueError: A sentence has no size.
    """
    intervals: list[SizeInterval] = []
    for sentence in sentences:
        interval = parse_interval(sentence)
        if interval is None:
            raise ValueError(f"{sentence!r} has no size")
        intervals.append(interval)
    return intervals


def _concerns_another_thing(tokens: Sequence[Token], phrase: Phrase, other_end: int) -> bool:
    """Distinguish "malignancy > 3", "slice thickness 2 mm", "over 60 years" and "small cell" from a size.

    Args:
        tokens: The sentence.
        phrase: What reads like a size.
        other_end: Where the last such other phrase ended, so that "malignancy > 3 and < 5" is one.
    """
    ahead = [t.text for t in tokens[phrase.end : phrase.end + 2]]
    follower = next((text for text in ahead if text != "-"), "")
    if phrase.operator in NAMED_SIZES:
        return follower in UNSIZED_NOUNS
    others_before = OTHER_LENGTHS if phrase.has_unit else OTHER_LENGTHS | ATTRIBUTES
    for token in reversed(tokens[: phrase.start]):
        if token.text in others_before:
            return True
        if token.text not in LINKS:
            break
    if phrase.has_unit:
        return follower in AFTER_OTHER_LENGTHS
    is_mirrored = tokens[phrase.end - 1].text in MIRRORED
    is_spelled = any(t.kind == "number" and t.spoken in DIGITS for t in tokens[phrase.start : phrase.end])
    is_chained = other_end > 0 and all(t.text in CONJUNCTIONS for t in tokens[other_end : phrase.start])
    return is_chained or is_spelled or follower in OTHER_UNITS or (is_mirrored and follower in ATTRIBUTES)


def _find_join(gap: Sequence[Token]) -> tuple[Join, Sequence[Token]]:
    """Return what joins a size to the one before it, and the words between them that do."""
    texts = [t.text for t in gap]
    if texts in (["and"], ["but"]):
        return "and", gap
    at = len(texts) - 1
    while at >= 0 and texts[at] in AFTER_OR:
        at -= 1
    if at < 0 or texts[at] != "or" or gap[max(0, at - 1)].kind == "number" or ATTRIBUTES.intersection(texts):
        return "", ()
    return "or", gap[at - (texts[max(0, at - 1)] == "and") : at + 1]


def _refuse_list(gap: Sequence[Token], phrase: Phrase) -> None:
    """Refuse a phrase that ends a list such as "6 or 8 mm"."""
    texts = [t.text for t in gap]
    ends_list = len(gap) > 1 and gap[-2].kind == "number" and texts[-1] in ("and", "or")
    is_amount = phrase.operator == "=" or phrase.operator.endswith("range") or phrase.operator in BRACKETS
    if ends_list and is_amount and not ATTRIBUTES.intersection(texts[-3:]):
        raise SizeLanguageError(
            f"'{' '.join(texts[-2:])} {phrase.text}' is not one size; write a range as 'between 6 and 10 mm'"
        )


def _refuse_half_read(tokens: Sequence[Token], phrase: Phrase, before: Statement | None) -> None:
    """Refuse a phrase that is one end of something not understood: "larger than small", "6 to not more than 10"."""
    earlier = [t.text for t in tokens[max(0, phrase.start - 2) : phrase.start]]
    later = [t.text for t in tokens[phrase.end : phrase.end + 3]]
    is_named = phrase.operator in NAMED_SIZES
    compared = (phrase.operator == "=" or is_named) and bool(earlier) and earlier[-1] in COMPARING
    compares = len(later) == 3 and (tokens[phrase.end + 2].kind == "number" or later[2] in COMPARING)
    follows = is_named and len(later) > 1 and later[0] in ("or", "and") and later[1] in AFTER_NAMED and not compares
    first = tokens[before.phrase.end].text if before is not None and before.phrase.end < phrase.start else ""
    has_number = len(earlier) == 2 and tokens[phrase.start - 2].kind == "number" and earlier[-1] in {*JOINING, "-"}
    runs_on = has_number or (before is not None and before.phrase.operator == "=" and first in JOINING)
    if compared or follows or runs_on:
        quoted = " ".join(t.spoken for t in tokens[max(0, phrase.start - 2) : phrase.end + 2 * follows])
        raise SizeLanguageError(
            f"{quoted!r} is only half understood; say it with numbers, such as '> 6 mm' or 'between 6 and 10 mm'"
        )
