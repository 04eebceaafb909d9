"""Refusal of a size beside words that are not understood: unknown, foreign or misspelt comparisons."""

from collections.abc import Sequence
from itertools import pairwise

from noduleclip.errors import SizeLanguageError
from noduleclip.language.context_words import (
    ARTICLES,
    ATTRIBUTES,
    BESIDE,
    COMPARING_WORDS,
    FOREIGN,
    GROWTH_ADJECTIVES,
    NODULES,
    NOT_BEFORE_OF,
    NOW,
    PAST,
    PAST_SEEN,
    SENTENCE_ENDS,
)
from noduleclip.language.size_context import Place
from noduleclip.language.size_grammar import Cursor
from noduleclip.language.size_tokens import Token
from noduleclip.language.size_words import COMPARING, DIMENSIONS, JOINING, NAMED_SIZES
from noduleclip.language.words import split_words

_UNREAD_AFTER = split_words("up upto atmost atleast than larger smaller greater bigger less more fewer shorter")
"""Comparisons behind a size that the grammar would have taken if it had understood them."""
_FALSE_FRIENDS = split_words("inferior superior")
"""Places in English, comparisons before "a" in Spanish and Portuguese."""
_REACHING = split_words("grown increased decreased grew enlarged close down")
"""Words before "to" and a size: "grown to 8 mm"."""
_HALF = split_words("half semi")
_DENYING = split_words("hardly barely scarcely absent missing loss little")
_DENIED = NODULES | split_words("any a an of if")
_ALTERNATIVES = split_words("and or but")
_MARKS = split_words("( : - = \" ' [")
_HARMLESS = BESIDE | PAST | PAST_SEEN | GROWTH_ADJECTIVES | (NOW - {"to"})
"""Words that may stand directly before a size."""


def refuse_unknown_after(place: Place) -> None:
    """Refuse a size followed by a word that may change what it says, and is not understood.

    Raises:
        SizeLanguageError: A foreign, misspelt or unread comparison follows, or without a unit any unknown word.
    """
    phrase, tokens = place.phrase, place.tokens
    if phrase.operator in NAMED_SIZES:
        return
    later = [t for t in tokens[phrase.end : phrase.end + 3] if t.text != "-"]
    first = later[0].text if later else ""
    for number, token in enumerate(later[:2]):
        if token.text in SENTENCE_ENDS or token.text == ",":
            break
        is_joined = first in _ALTERNATIVES if number else True
        is_foreign = token.text in FOREIGN or (token.text.isalpha() and not token.text.isascii())
        is_unread = token.text in _UNREAD_AFTER and (is_joined or first not in BESIDE)
        is_unknown = number == 1 and first == "or" and token.kind == "word" and not _is_known(token.text)
        is_wrong = number == 1 and first in _ALTERNATIVES and is_misspelt(token.text)
        if is_foreign or is_unknown or is_wrong or (is_unread and not _starts_phrase(place, number)):
            _refuse(f"{phrase.text} {' '.join(t.spoken for t in later[: number + 1])}", token.spoken)
    is_followed = bool(later) and later[0].kind == "word"
    if is_followed and not phrase.has_unit and not (_is_known(first) or first in _ALTERNATIVES | {"up", "inclusive"}):
        _refuse(f"{phrase.text} {later[0].spoken}", later[0].spoken)


def refuse_unknown_before(place: Place) -> None:
    """Refuse a size with a word directly before it that may change what it says, and is not understood.

    Raises:
        SizeLanguageError: The word is unknown, foreign or misspelt.
    """
    tokens, phrase, start = place.tokens, place.phrase, place.previous_end
    if phrase.operator in NAMED_SIZES or not place.clause:
        return
    _refuse_denial(place)
    nearest = _skip_back(tokens, phrase.start - 1, start, _MARKS)
    at = _skip_back(tokens, nearest, start, ARTICLES)
    if at < start or tokens[at].kind == "symbol":
        return
    token = tokens[at]
    earlier = tokens[at - 1] if at > start else None
    quoted_from = at - int(earlier is not None and earlier.kind != "symbol")
    quoted = " ".join(t.spoken for t in tokens[quoted_from : phrase.end])
    of_unknown = not _is_understood_before_of(token.text) and "of" in {t.text for t in tokens[at + 1 : nearest + 1]}
    if token.text in DIMENSIONS and (half := [t.spoken for t in tokens[max(start, at - 2) : at] if t.text in _HALF]):
        _refuse(f"{half[0]} {' '.join(t.spoken for t in tokens[at : phrase.end])}", half[0])
    if token.kind == "number":
        names_something = earlier is not None and (earlier.text in ATTRIBUTES or earlier.text == "-")  # "LIDC-0078"
        is_year = len(token.text) == 4
        if not (names_something or is_year) and token.spoken[0].isdigit():
            _refuse(quoted, token.spoken)
    elif token.text in COMPARING | JOINING and (token.text != "to" or (earlier and earlier.kind == "number")):
        if earlier is not None and earlier.kind == "word" and earlier.text not in BESIDE | COMPARING:
            _refuse(quoted, earlier.spoken)  # otherwise the grammar says that it is only half understood
    elif token.text == "or" and earlier is not None and earlier.kind == "word" and earlier.text not in _HARMLESS:
        _refuse(quoted, earlier.spoken)
    elif token.text in FOREIGN or not token.text.isascii() or is_misspelt(token.text):
        _refuse(quoted, token.spoken)
    elif at < nearest:  # an article follows: any English word may stand before it, but for "of"
        is_false_friend = token.text in _FALSE_FRIENDS and tokens[at + 1].text == "a"
        if is_false_friend or (of_unknown and not place.has_own_noun):
            _refuse(quoted, token.spoken)
    elif token.text == "to":
        if not _REACHING & {t.text for t in place.clause}:
            _refuse(quoted, token.spoken)
    elif token.text not in _HARMLESS:
        _refuse(quoted, token.spoken)


def _refuse_denial(place: Place) -> None:
    """Refuse a size of which the words before it say that there is next to none: "hardly any nodules > 6 mm"."""
    words = [*place.clause, *place.tokens[place.phrase.start : place.phrase.start + 1]]
    for token, following in pairwise(words):
        denies = token.text in _DENYING and following.text in _DENIED
        if denies or (token.text, following.text) == ("far", "from"):
            _refuse(
                " ".join(t.spoken for t in [*place.clause, *place.tokens[place.phrase.start : place.phrase.end]]),
                token.spoken,
            )


def _skip_back(tokens: Sequence[Token], at: int, start: int, words: frozenset[str]) -> int:
    while at >= start and tokens[at].text in words:
        at -= 1
    return at


def _is_understood_before_of(word: str) -> bool:
    """Return whether a word names the nodule, its size or its place before "of 8 mm", not "resolution"."""
    return word in _HARMLESS and word not in NOT_BEFORE_OF


def _is_known(word: str) -> bool:
    return word in BESIDE or word in COMPARING_WORDS


def _starts_phrase(place: Place, offset: int) -> bool:
    cursor = Cursor(place.tokens)
    cursor.at = place.phrase.end + offset
    return cursor.take_phrase() is not None


def _refuse(quoted: str, word: str) -> None:
    from noduleclip.language.near_misses import suggest

    near = suggest(word)
    hint = f"did you mean {near!r}?" if near else "write '> 6 mm', '<= 6 mm' or '6-10 mm'"
    raise SizeLanguageError(f"{quoted!r}: {word!r} is not understood beside a size; {hint}")


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
