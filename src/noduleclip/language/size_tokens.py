"""Tokens of a sentence: the many ways to write a dash, a digit or a sign are made one."""

import html
import re
import unicodedata
from collections.abc import Sequence
from typing import Literal, NamedTuple

from noduleclip.errors import SizeLanguageError
from noduleclip.language.size_words import DIGITS, SYMBOLS, UNITS

MAX_SENTENCE_CHARS = 1000


class Token(NamedTuple):
    """A number, a word or a symbol; `text` is what the grammar reads, `spoken` what the sentence had."""

    kind: Literal["number", "word", "symbol"]
    text: str
    spoken: str


_UNIT_PATTERN = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
_TOKEN = re.compile(
    rf"""
      (?P<number> (?> \d++ (?:-\d++){{2,}} | \d++ (?:[.,/⁄^]\d++)* | \.\d++ )  # date, fraction: one token
                  (?= (?:{_UNIT_PATTERN}) (?![^\W_]) | (?![^\W_]) ) )          # "6mm", not "3d"
    | (?P<word>   [^\W_] \w*+ (?:'\w++)* (?:\^\d)? )
    | (?P<symbol> \.\.+ | [<>]\ ?= | =\ ?[<>=] | !\ ?[<>]\ ?=? | != | \S )
    """,
    re.VERBOSE,
)
_SIGNED_NUMBER = re.compile(r"-\.?\d")
_SIGN = "−"  # the rewrites below leave no other one
_ENTITY = re.compile(r"&(?:amp;)*(#?\w+;|[lg][te](?![a-z]))")
_LATEX = {"\\le": "<=", "\\leq": "<=", "\\ge": ">=", "\\geq": ">=", "\\lt": "<", "\\gt": ">", "\\pm": "±"}
_LATEX |= {"\\times": "×"}
_GLUED_WORDS = (
    r"\w+than|to|than|and|or|from|between|upto|up|over|under|above|below|least|atleast|most|atmost|exceeding|sub|equals|about|"
    "approx|circa|size|diameter|diam|dia|measuring|is|of|max|min|by|x|with|lt|gt|lte|gte|d"
)
_BEFORE_HYPHEN = "less|more|greater|larger|smaller|bigger|fewer|up|at"
_BEHIND_HYPHEN = "than|to|least|most"
_GLUED_AFTER = "to|or|and|x|by|in|nodule|nodules|lesion|lesions|solid|mass|masses|plus|up|ap|thick|from|away"
_ECHO = "read as: "
_SPELLED_OUT = re.compile(r"\bdiameter [a-z][^,;]*, (?=[\[(])", re.IGNORECASE)  # the interval behind it says the same
_REWRITES = (
    (re.compile(r"[‐‑‒–—―−]"), "-"),
    (re.compile(r"[·٫](?=\d)"), "."),
    (re.compile(r"\\(?:leq?|geq?|lt|gt|pm|times)\b|\$"), lambda m: _LATEX.get(m.group(), " ")),
    (re.compile(r"[ø⌀∅]"), " diameter "),
    (re.compile(r"\bdiameter_(mm|cm)\b"), r"diameter (\1)"),
    (
        re.compile(r"([<>]) ?/ ?=|([<>]) ?or ?=|= ?/ ?([<>])|= ?or ?([<>])"),
        lambda m: f"{next(filter(None, m.groups()))}=",
    ),
    (re.compile(r"\bplus(?: or |/)minus\b|\+/?-"), "±"),
    (re.compile(r"&"), " and "),
    (re.compile(rf"\b({_BEFORE_HYPHEN})-({_BEHIND_HYPHEN})\b-?"), r"\1 \2 "),  # "greater-than-6-mm"
    (re.compile(r"(?<=[mc]m)-(or|and)\b-?"), r" \1 "),
    (re.compile(r"\bminus (?=\.?\d)"), "-"),
    (re.compile(r"\b(?:cu|cubic)[ -]?([mc])(?:m|illimet(?:er|re)s?|entimet(?:er|re)s?)\b"), r"\1m^3"),
    (re.compile(r"(?<=\d)(to|and|or)(?![^\W\d_])"), r" \1 "),
    (re.compile(rf"(\d ?(?:mm|cm))({_GLUED_AFTER})(?![^\W\d_])"), r"\1 \2"),
    (re.compile(rf"(?<![^\W_])({_GLUED_WORDS})(?=\d)"), r"\1 "),
    (re.compile(rf"(?<=\d) ?[(\[] ?(?!cc|ml)({_UNIT_PATTERN}) ?[)\]]"), r" \1"),
    (re.compile(r"(?<=[\dm]) ?[x×*] ?(?=\.?\d)"), " × "),
    (re.compile(rf"(?<=\d) ?\+ ?({_UNIT_PATTERN})\b"), r" \1 +"),
    (re.compile(r"(\[ ?[\d.]+|\( ?[\d.]+(?=,[\d.]+ ?\])),(?=[\d.]+ ?[\])])"), r"\1, "),  # "(6,10]" holds two numbers
)


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
    for pattern, replacement in _REWRITES:
        sentence = pattern.sub(replacement, sentence)
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
