"""Spellings, typography and short forms, each rewritten as one form before a sentence is cut into tokens."""

import re
from collections.abc import Callable
from typing import NamedTuple

from noduleclip.language.size_words import UNITS

_LATEX = {"\\le": "<=", "\\leq": "<=", "\\ge": ">=", "\\geq": ">=", "\\lt": "<", "\\gt": ">", "\\pm": "±"}
_LATEX |= {"\\times": "×"}
_GLUED_WORDS = (
    r"\w+than|to|than|and|or|from|between|upto|up|over|under|above|below|least|atleast|most|atmost|exceeding|sub|equals|about|"
    "approx|circa|size|diameter|diam|dia|measuring|is|of|max|min|by|x|with|lt|gt|lte|gte|d"
)
_BEFORE_HYPHEN = "less|more|greater|larger|smaller|bigger|fewer|up|at"
_BEHIND_HYPHEN = "than|to|least|most"
_GLUED_AFTER = "to|or|and|x|by|in|nodule|nodules|lesion|lesions|solid|mass|masses|plus|up|ap|thick|from|away"
_LIMITS = r"or (?:more|larger|greater|bigger|longer|less|smaller|shorter|over|above|under|below)"
_SIZED = (
    r"[,(]|in|of|the|mean|average|total|max(?:imum|imal)?|long(?:est)?|greatest|axial|diameter|dimension|size|axis"
    "|(?:part-|sub)?solid|ground-glass|lung|pulmonary|nodules?|lesions?|tumou?rs?|opacit(?:y|ies)|gg[no]"
)
UNIT_PATTERN = "|".join(re.escape(unit) for unit in sorted(UNITS, key=len, reverse=True))
"""Any unit, the longest first."""


class _Rewrite(NamedTuple):
    """One replacement.

    Attributes:
        needle: Text that a sentence must hold for the pattern to be searched; a test for it costs a tenth.
        pattern: What is replaced.
        replacement: By what.
    """

    needle: str
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]


_TYPOGRAPHY = (
    _Rewrite("", re.compile(r"[‐‑‒–—―−]"), "-"),
    _Rewrite("", re.compile(r"[·٫](?=\d)"), "."),
    _Rewrite("", re.compile(r"[ø⌀∅]"), " diameter "),
)
_SHORT_FORMS = (
    _Rewrite("w/", re.compile(r"\bw/ ?o(?:ut)?\b"), "without"),
    _Rewrite("!", re.compile(r"!(?=[a-z])"), " not "),
    _Rewrite("~", re.compile(r"~ ?(?=[a-z])"), " almost "),
    _Rewrite(
        "-",
        re.compile(r"(?:^|(?<= ))(?<!part )(?<!partly )(?<!semi )(?<!sub )(?<!non )(?<!ground )-(?=[a-z]{3})"),
        "negative ",  # "> 6 mm -calcified", which is refused: it may be a bullet
    ),
    _Rewrite("w/", re.compile(r"\bw/ ?(?=[a-z\d])"), "with "),
    _Rewrite("gg", re.compile(r"\b(gg[no])'?s\b"), r"\1"),
    _Rewrite("psn", re.compile(r"\bpsn'?s?\b"), "part-solid nodule"),
    _Rewrite("ssn", re.compile(r"\bssn'?s?\b"), "subsolid nodule"),
    _Rewrite("say", re.compile(r", ?say,|\bsay,? (?=\d)"), ""),  # "bigger than, say, 8 mm"
    _Rewrite("nt", re.compile(r"\b(is|are|was|were|do|does|did|should|would|could|has|have|had|must)nt\b"), r"\1n't"),
    _Rewrite("solids", re.compile(r"solids\b"), "solid nodules"),
    _Rewrite("semisolid", re.compile(r"\bsemisolid\b"), "semi-solid"),
    _Rewrite("un-", re.compile(r"\bun-(?=[a-z]{4})"), "un"),
    _Rewrite("free", re.compile(r"\b([a-z]+ions?)[ -]free\b(?! of| from)"), r"without \1"),  # "calcification-free"
    _Rewrite(
        "obvious",
        re.compile(r"\b(no|without|any) obvious (?=malignan|spiculation|lobulation|calcification)"),
        r"\1 ",
    ),
    _Rewrite("exceed", re.compile(r"\bnot to exceed\b"), "at most"),
    _Rewrite("from", re.compile(r"\bfrom (\d[\d.,]* ?(?:mm|cm)) on\b(?! the| axial| coronal)"), r"at least \1"),
    _Rewrite("or so", re.compile(r"\bor so\b"), ""),  # "8 mm or so"
    _Rewrite("ish", re.compile(r"(?<=[\dm])[ -]?ish\b"), ""),
    _Rewrite("(-)", re.compile(r"(?<=[a-z]) ?\(-\)"), " negative"),
    _Rewrite(" -", re.compile(r"(?<=[a-z]) -(?=$|[,;)])"), " negative"),  # "spiculation -"
)
_REWRITES = (
    _Rewrite("", re.compile(r"\\(?:leq?|geq?|lt|gt|pm|times)\b|\$"), lambda m: _LATEX.get(m.group(), " ")),
    *_SHORT_FORMS,
    _Rewrite("_", re.compile(r"(?:\b|_)diameter_(mm|cm)\b"), r" diameter (\1)"),
    _Rewrite("_", re.compile(r"(?<=[a-z])_(?=[a-z])"), " "),
    _Rewrite(
        "=",
        re.compile(r"([<>]) ?/ ?=|([<>]) ?or ?=|= ?/ ?([<>])|= ?or ?([<>])"),
        lambda m: f"{next(filter(None, m.groups()))}=",
    ),
    _Rewrite("", re.compile(r"\bplus(?: or |/)minus\b|\+/?-"), "±"),
    _Rewrite("&", re.compile(r"&+"), " and "),
    _Rewrite("|", re.compile(r"\|+"), " or "),
    _Rewrite("-", re.compile(rf"\b({_BEFORE_HYPHEN})-({_BEHIND_HYPHEN})\b-?"), r"\1 \2 "),  # "greater-than-6-mm"
    _Rewrite("-", re.compile(r"(?<=[mc]m)-(or|and)\b-?"), r" \1 "),
    _Rewrite("minus", re.compile(r"\bminus (?=\.?\d)"), "-"),
    _Rewrite("cu", re.compile(r"\b(?:cu|cubic)[ -]?([mc])(?:m|illimet(?:er|re)s?|entimet(?:er|re)s?)\b"), r"\1m^3"),
    _Rewrite("", re.compile(r"(?<=\d)(to|and|or)(?![^\W\d_])"), r" \1 "),
    _Rewrite("", re.compile(rf"(\d ?(?:mm|cm))({_GLUED_AFTER})(?![^\W\d_])"), r"\1 \2"),
    _Rewrite("", re.compile(rf"(?<![^\W_])({_GLUED_WORDS})(?=\d)"), r"\1 "),
    _Rewrite("", re.compile(rf"(?<=\d) ?[(\[] ?(?!cc|ml)({UNIT_PATTERN}) ?[)\]]"), r" \1"),
    _Rewrite(
        "or ",
        re.compile(
            rf"(\d[ -]?(?:mm|cm|millimet(?:er|re)s?|centimet(?:er|re)s?))((?: ?(?:{_SIZED})){{1,5}}) ?({_LIMITS})\b"
            r"(?! than| then| or equal| ?\d)"
        ),
        r"\1 \3 \2",  # "8 mm in diameter or larger"
    ),
    _Rewrite("", re.compile(r"(?<=[\dm]) ?[x×*] ?(?=\.?\d)"), " × "),
    _Rewrite("+", re.compile(rf"(?<=\d) ?\+ ?({UNIT_PATTERN})\b"), r" \1 +"),
    _Rewrite(",", re.compile(r"(\[ ?[\d.]+|\( ?[\d.]+(?=,[\d.]+ ?\])),(?=[\d.]+ ?[\])])"), r"\1, "),  # "(6,10]"
)


def rewrite(sentence: str) -> str:
    """Return a sentence in lower case with the spellings of one thing made one."""
    if not sentence.isascii():
        for _, pattern, replacement in _TYPOGRAPHY:
            sentence = pattern.sub(replacement, sentence)
    for needle, pattern, replacement in _REWRITES:
        if needle in sentence:
            sentence = pattern.sub(replacement, sentence)
    return sentence
