"""Tokens of a sentence: the many ways to write a dash, a digit or a sign are made one."""

import html
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, NamedTuple

from noduleclip.errors import SizeLanguageError
from noduleclip.language.size_spellings import UNIT_PATTERN, rewrite
from noduleclip.language.size_words import DIGITS, SYMBOLS, UNITS

MAX_SENTENCE_CHARS = 1000


class Token(NamedTuple):
    """A number, a word or a symbol; `text` is what the grammar reads, `spoken` what the sentence had."""

    kind: Literal["number", "word", "symbol"]
    text: str
    spoken: str


_TOKEN = re.compile(
    rf"""
      (?P<number> (?> \d++ (?:-\d++){{2,}} | \d++ (?:[.,/⁄^]\d++)* | \.\d++ )  # date, fraction: one token
                  (?= (?:{UNIT_PATTERN}) (?![^\W_]) | (?![^\W_]) ) )          # "6mm", not "3d"
    | (?P<word>   [^\W_] \w*+ (?:'\w++)* (?:\^\d)? )
    | (?P<symbol> \.\.+ | [<>]\ ?= | =\ ?[<>=] | !\ ?[<>]\ ?=? | != | \S )
    """,
    re.VERBOSE,
)
_SIGNED_NUMBER = re.compile(r"-\.?\d")
_SIGN = "−"  # the rewrites below leave no other one
_ENTITY = re.compile(r"&(?:amp;)*(#?\w+;|[lg][te](?![a-z]))")
_ECHO = "read as: "
_SPELLED_OUT = re.compile(r"\bdiameter [a-z][^,;]*, (?=[\[(])", re.IGNORECASE)  # the interval behind it says the same


def tokenise(query: str) -> list[Token]:
    """Cut a sentence into tokens; upper case, typography and spacing are gone.

    Raises:
        SizeLanguageError: It is empty or too long.
    """
    query = _strip_echo(query)
    if len(query) > MAX_SENTENCE_CHARS:
        raise SizeLanguageError(
            f"the query has {len(query)} characters, at most {MAX_SENTENCE_CHARS} are read: shorten it"
        )
    shown = _ENTITY.sub(lambda m: html.unescape(f"&{m[1].rstrip(';')};"), query) if "&" in query else query
    shown = shown if shown.isascii() else _fold(shown)
    sentence = " ".join(shown.lower().split())
    if not sentence:
        raise SizeLanguageError('the query is empty: say what to find, such as "a lung nodule with diameter > 6 mm"')
    sentence = rewrite(sentence)
    tokens: list[Token] = []
    for match in _TOKEN.finditer(sentence):
        spoken = match.group()
        if match["number"]:
            is_negative = bool(tokens) and tokens[-1].text == _SIGN
            tokens[len(tokens) - is_negative :] = [Token("number", "-" * is_negative + spoken, spoken)]
        elif match["word"]:
            text = "not" if spoken.endswith("n't") else DIGITS.get(spoken, spoken)
            tokens.append(Token("number" if spoken in DIGITS else "word", text, spoken))
        else:
            text = ".." if spoken.startswith("..") else spoken.replace(" ", "")
            text = _SIGN if text == "-" and _is_sign(sentence, match.start(), tokens) else text
            tokens.append(Token("symbol", SYMBOLS.get(text, text), spoken))
    return tokens


def _strip_echo(query: str) -> str:
    """Return of what `describe_query` prints the part that is read again; any other text as it is."""
    if query[: len(_ECHO)].lower() != _ECHO:
        return query
    return _SPELLED_OUT.sub("diameter in ", query[len(_ECHO) :].split("; note: ")[0])


def _fold(query: str) -> str:
    """Replace characters by their plain forms: full-width ones, apostrophes, invisible ones, powers."""
    shown = "".join(c for c in query.replace("’", "'") if unicodedata.category(c) != "Cf")
    shown = shown.replace("²", "^2").replace("³", "^3")  # before NFKC makes "10²" a hundred and two
    shown = re.sub(r"(?<=\d)(?=[½⅓⅔¼¾⅛⅜⅝⅞])", " ", shown)  # before NFKC makes "1½" eleven halves
    return unicodedata.normalize("NFKC", shown)


def _is_sign(sentence: str, at: int, before: Sequence[Token]) -> bool:
    """Distinguish the minus of "> -6" and "-6 mm" from the dash of "6 -10", "8 mm -1 cm" and "LIDC-12"."""
    glued_before = at > 0 and (sentence[at - 1].isalnum() or sentence[at - 1] in "-)")
    after_quantity = bool(before) and (before[-1].kind == "number" or before[-1].text in UNITS)
    return bool(_SIGNED_NUMBER.match(sentence, at)) and not glued_before and not after_quantity
