"""Forms of negation, written as "not" before what they deny: phrases, prefixes, and lists.

"Free of cavitation or calcification" becomes "not cavitation, not calcification".
"""

from collections.abc import Sequence

from noduleclip.errors import SizeLanguageError
from noduleclip.language.context_words import NODULES, SENTENCE_ENDS
from noduleclip.language.rating_words import EDGES, PHRASES
from noduleclip.language.size_tokens import Token
from noduleclip.language.words import AFTER_NOT, NOT, NOT_PHRASES, split_words

_OF_NOUNS = split_words("no without none excluding except nil zero sans")
"""Negations whose lists are of nouns; "not spiculated or lobulated" can be read two ways."""
RATED_NOUNS = split_words("spiculation spiculations lobulation lobulations calcification calcifications") | set(EDGES)
_LAST = split_words("or nor /")
_ENDS = (
    SENTENCE_ENDS
    | {")", "and"}
    | split_words("with has have having is are was were present seen noted in on at for of that which")
)
_LONGEST_ITEM = 4
_FIRST = {phrase[0] for phrase in NOT_PHRASES}


def merge_phrases(tokens: Sequence[Token]) -> list[Token]:
    """Write "absence of", "other than" and their kin as "not"."""
    merged: list[Token] = []
    at = 0
    while at < len(tokens):
        if tokens[at].text == "≠":
            merged.append(Token("word", "not", "not"))
            at += 1
            continue
        length = tokens[at].text in _FIRST and next(
            (n for n in (2, 1) if tuple(t.text for t in tokens[at : at + n]) in NOT_PHRASES and at + n <= len(tokens)),
            0,
        )
        is_comparison = length == 2 and at + 2 < len(tokens) and tokens[at + 2].text in ("than", "then")
        if length and not is_comparison:
            merged.append(Token("word", NOT_PHRASES[tuple(t.text for t in tokens[at : at + length])], "not"))
            at += length
        else:
            merged += _split_prefix(tokens[at]) if tokens[at].text.startswith(("non", "un")) else tokens[at : at + 1]
            at += 1
    return merged


def _split_prefix(token: Token) -> list[Token]:
    """Return "nonmalignant" as "non malignant", where the table of phrases has only "malignant"."""
    rest = token.text.removeprefix("non").removeprefix("un")
    if rest == token.text or (token.text,) in PHRASES or (rest,) not in PHRASES:
        return [token]
    return [Token("word", "non", "non"), Token("word", rest, rest)]


def distribute(tokens: Sequence[Token]) -> list[Token]:
    """Return the tokens with the negation of a list before each of its items.

    Only lists of nouns without a size or a nodule are changed: "without spiculation or lobulation" becomes "without
    spiculation, without lobulation".

    Raises:
        SizeLanguageError: A list without a last "or" may deny only its first item: "no spiculation, calcification".
    """
    spread: list[Token] = []
    at = 0
    while at < len(tokens):
        negation = tokens[at]
        spread.append(negation)
        at += 1
        if negation.text not in _OF_NOUNS:
            continue
        end = _find_end(tokens, at)
        items = _split(tokens[at:end])
        is_list = len(items) > 1 and all(len(item) <= _LONGEST_ITEM and not _is_adjective(item) for item in items)
        if not (is_list and any(item[-1].text in RATED_NOUNS for item in items)):
            continue
        if any(token.text in _LAST for token in tokens[at:end]):
            comma = Token("symbol", ",", ",")
            spread += [*items[0], *(token for item in items[1:] for token in (comma, negation, *item))]
            at = end
        elif any(map(_is_bare, items[1:])):
            quoted = " ".join(token.spoken for token in tokens[at - 1 : end])
            raise SizeLanguageError(f"{quoted!r}: the negation can be read two ways; say 'no' before each")
    return spread


def _find_end(tokens: Sequence[Token], at: int) -> int:
    """Return where a list from a place ends: before a clause, behind the item that "or" joins, or before a size."""
    end = comma = at
    has_last = False
    while end < len(tokens) and tokens[end].text not in _ENDS:
        token = tokens[end]
        if token.kind == "number" or token.text in NODULES | NOT or token.text in ("<", ">", "<=", ">="):
            return comma
        if token.text == ",":
            if has_last:
                return end
            comma = end
        has_last = has_last or token.text in _LAST
        end += 1
    return end


def _split(tokens: Sequence[Token]) -> list[list[Token]]:
    items: list[list[Token]] = [[]]
    for token in tokens:
        if token.text in _LAST or token.text == ",":
            items.append([])
        else:
            items[-1].append(token)
    return [item for item in items if item]


def _is_bare(item: Sequence[Token]) -> bool:
    """Return whether an item is a rated noun alone, with no word that states it, such as "marked spiculation"."""
    words = [token.text for token in item if token.text not in AFTER_NOT]
    return len(words) == 1 and words[0] in RATED_NOUNS


def _is_adjective(item: Sequence[Token]) -> bool:
    return tuple(token.text for token in item) in PHRASES and item[-1].text not in RATED_NOUNS | {"malignancy"}
