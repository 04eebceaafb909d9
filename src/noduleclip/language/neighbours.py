"""Refusal of a size beside words that are not understood: unknown, foreign or misspelt comparisons."""

from noduleclip.errors import SizeLanguageError
from noduleclip.language.context_words import (
    ARTICLES,
    ATTRIBUTES,
    BESIDE,
    COMPARING_WORDS,
    FOREIGN,
    GROWTH_ADJECTIVES,
    NOW,
    PAST,
    PAST_SEEN,
    SENTENCE_ENDS,
)
from noduleclip.language.size_context import Place
from noduleclip.language.size_grammar import Cursor
from noduleclip.language.size_words import COMPARING, JOINING, NAMED_SIZES
from noduleclip.language.words import split_words


def refuse_unknown_after(place: Place) -> None:
    """Refuse a size followed by a word that may change what it says, and is not understood.

    Raises:
        SizeLanguageError: A foreign or misspelt comparison follows, or without a unit any unknown word.
    """
    phrase, tokens = place.phrase, place.tokens
    if phrase.operator in NAMED_SIZES:
        return
    later = [t for t in tokens[phrase.end : phrase.end + 3] if t.text != "-"]
    follower = later[0].text if later else ""
    for number, token in enumerate(later[:2]):
        if token.text in SENTENCE_ENDS or token.text == ",":
            break
        is_alternative = number == 1 and follower in ("or", "and") and is_misspelt(token.text)
        unread = (
            number == 1 and follower == "or" and token.kind == "word" and token.text not in BESIDE | COMPARING_WORDS
        )
        if token.text in FOREIGN or is_alternative or unread or (not token.text.isascii() and token.text.isalpha()):
            _refuse(f"{phrase.text} {' '.join(t.spoken for t in later[: number + 1])}", token.spoken)
    for number, token in enumerate(later[:2]):
        is_beside = number == 0 or follower in ("and", "or", "but") or follower not in BESIDE
        if token.text in _UNREAD_AFTER and is_beside and not _starts_phrase(place, number):
            _refuse(f"{phrase.text} {' '.join(t.spoken for t in later[: number + 1])}", token.spoken)
    is_known = follower in BESIDE | COMPARING_WORDS or follower in ("and", "or", "but", "up", "inclusive")
    if later and not phrase.has_unit and later[0].kind == "word" and not is_known:
        _refuse(f"{phrase.text} {later[0].spoken}", later[0].spoken)


_UNREAD_AFTER = split_words("up upto atmost atleast than larger smaller greater bigger less more fewer shorter")


def _starts_phrase(place: Place, offset: int) -> bool:
    cursor = Cursor(place.tokens)
    cursor.at = place.phrase.end + offset
    return cursor.take_phrase() is not None


def refuse_unknown_before(place: Place) -> None:
    """Refuse a size with a word directly before it that may change what it says, and is not understood.

    Raises:
        SizeLanguageError: The word is unknown, foreign or misspelt.
    """
    tokens, phrase = place.tokens, place.phrase
    if phrase.operator in NAMED_SIZES or not place.clause:
        return
    at = phrase.start - 1
    while at >= place.previous_end and tokens[at].text in ("(", ":", "-", "=", '"', "'", "["):
        at -= 1
    passed_article = False
    while at >= place.previous_end and tokens[at].text in ARTICLES:
        passed_article = True
        at -= 1
    if at < place.previous_end or tokens[at].kind == "symbol":
        return
    token = tokens[at]
    quoted = " ".join(t.spoken for t in tokens[max(place.previous_end, at - 1) : phrase.end])
    if token.kind == "number":
        is_name = at > 0 and (tokens[at - 1].text in ATTRIBUTES or tokens[at - 1].text == "-")
        is_year = len(token.text) == 4
        if not (is_name or is_year or not token.spoken[0].isdigit()):
            _refuse(quoted, token.spoken)
        return
    if token.text in COMPARING:  # refused as half understood, unless its own words are unknown
        before = tokens[at - 1] if at > place.previous_end else token
        if before.kind == "word" and before.text not in BESIDE | COMPARING:
            _refuse(quoted, before.spoken)
        return
    if token.text in JOINING and tokens[at - 1].kind == "number":
        return  # refused as half understood
    is_alternative = token.text == "or" and at > place.previous_end and tokens[at - 1].kind == "word"
    if is_alternative and tokens[at - 1].text not in BESIDE | PAST | PAST_SEEN:
        _refuse(quoted, tokens[at - 1].spoken)
    if not token.text.isascii() or token.text in FOREIGN or is_misspelt(token.text):
        _refuse(quoted, token.spoken)
    if passed_article and not (token.text in ("inferior", "superior") and tokens[at + 1].text == "a"):
        return
    if token.text in NOW | PAST | PAST_SEEN | GROWTH_ADJECTIVES and token.text != "to":
        return
    if token.text == "to" and {"grown", "increased", "decreased", "grew", "enlarged", "close", "down"} & {
        t.text for t in place.clause
    }:
        return
    if token.text not in BESIDE or (token.text in ("superior", "inferior") and passed_article):
        _refuse(quoted, token.spoken)


def _refuse(quoted: str, word: str) -> None:
    raise SizeLanguageError(
        f"{quoted!r}: {word!r} is not understood beside a size; write '> 6 mm', '<= 6 mm' or '6-10 mm'"
    )


def is_misspelt(word: str) -> bool:
    """Return whether a word is one letter, or two neighbours swapped, away from a comparison."""
    if len(word) < 4 or word in BESIDE or word in COMPARING_WORDS or word in _NOT_MISSPELT:
        return False
    return any(abs(len(word) - len(right)) <= 1 and _is_near(word, right) for right in COMPARING_WORDS)


_NOT_MISSPELT = split_words("lost last list lease best cover lover lunder mist moist almost later lesser")


def _is_near(word: str, right: str) -> bool:
    start = next((at for at, (a, b) in enumerate(zip(word, right, strict=False)) if a != b), min(len(word), len(right)))
    one, other = word[start:], right[start:]
    return (
        one[1:] == other[1:]
        or one[1:] == other
        or one == other[1:]
        or (one[:2] == other[1::-1] and one[2:] == other[2:])
    )
