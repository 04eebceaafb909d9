"""Words that sizes and ratings have in common: negations and comparisons, and helpers to write tables of phrases."""


def map_phrases(**listed: str) -> dict[tuple[str, ...], str]:
    """Return {("a", "b"): "meaning", ("c",): "meaning"} for meaning="a b|c"."""
    return {tuple(phrase.split()): m for m, phrases in listed.items() for phrase in phrases.split("|")}


def fill_templates(templates: str, words: str) -> str:
    """Return templates joined by "|" with each of some words in the place of "*"."""
    return "|".join(templates.replace("*", word) for word in words.split("|"))


def split_words(text: str) -> frozenset[str]:
    """Return the set of the words of a text."""
    return frozenset(text.split())


MORE, LESS = "more|larger|greater|bigger|higher|longer|wider", "less|smaller|lower|shorter|narrower|fewer"
_STRICT = "* than|* then|* in diameter than|* in size than|*than"
_OR_EQUAL = (
    "* than or equal to|* than or equals to|* than or equal|* than or equals|* or equal to|* or equals to|* or equal"
    "|* than / equal to|equal to or * than|equal or * than|*than or equal to|*than or equal"
)
_OR_EQUAL_TO = "* or equal to|* or equals to|* or equal"
_AT_LEAST, _AT_MOST = (f"at the {word}|at the very {word}|at very {word}" for word in ("least", "most"))
_OVER = "over|above|beyond|exceeding|exceeds|exceed|exceeded|in excess of|upwards of|gt"
COMPARATORS = map_phrases(
    **{
        ">": f">|> than|{_OVER}|" + fill_templates(_STRICT, MORE),
        "<": "<|< than|under|below|beneath|sub -|sub|lt|" + fill_templates(_STRICT, LESS),
        ">=": f">=|at least|atleast|{_AT_LEAST}|minimum|minimum of|min|min .|starting at|starting from|ge|gte|geq|"
        + fill_templates(_OR_EQUAL, MORE)
        + "|"
        + fill_templates(_OR_EQUAL_TO, "over|above"),
        "<=": f"<=|at most|atmost|{_AT_MOST}|up to|upto|up to and including|maximum|maximum of|max|max .|le|lte|leq|"
        + fill_templates(_OR_EQUAL, LESS)
        + "|"
        + fill_templates(_OR_EQUAL_TO, "under|below"),
        "=": "=|equal to|equals|as large as|as big as|as small as|"
        + fill_templates("* diameter", "maximum|maximal|max"),
    }
)
NOT = split_words(
    "no not non nor cannot isn't aren't never neither none without excluding except outside nothing nil zero unless"
    " minus sans bar barring ≠"
)
AFTER_NOT = split_words("- a an any the be very so too")
NOT_PHRASES = map_phrases(
    **{
        "not": "fails to|failed to|no longer|no more",
        "none": "absence of|lack of|lacking|lacks|negative for|free of|free from|devoid of|other than|apart from"
        "|aside from|rather than|instead of|exclude|excludes|ignore|ignores|ignoring|omit|omits|omitting|none of"
        "|all but|everything but|anything but|hide|hides|remove|removing|discard|skip|drop|reject|avoid|filter out"
        "|leave out|save for|opposed to|opposite of|rule out|ruled out",
    }
)
"""Phrases that negate a verb, or a noun; "no longer than" and "no more than" are comparisons."""
