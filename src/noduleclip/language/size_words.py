"""The words of the size language, as tables. Knows neither the grammar that reads them nor what they amount to."""

import math

from noduleclip.language.size_interval import Closed, SizeInterval


def _phrases(**listed: str) -> dict[tuple[str, ...], str]:
    """Turn meaning="a b|c" into {("a", "b"): "meaning", ("c",): "meaning"}."""
    return {tuple(phrase.split()): m for m, phrases in listed.items() for phrase in phrases.split("|")}


def _fill(templates: str, words: str) -> str:
    return "|".join(templates.replace("*", word) for word in words.split("|"))


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MORE, _LESS = "more|larger|greater|bigger|higher|longer|wider", "less|smaller|lower|shorter|narrower"
_STRICT = "* than|* then|* in diameter than|* in size than"
_OR_EQUAL = (
    "* than or equal to|* than or equals to|* than or equal|* than or equals|* or equal to|* or equals to|* or equal"
    "|* than / equal to|equal to or * than|equal or * than"
)
_OR_EQUAL_TO = "* or equal to|* or equals to|* or equal"
_OVER = "over|above|beyond|exceeding|exceeds|exceed|exceeded|in excess of|upwards of"
COMPARATORS = _phrases(
    **{
        ">": f">|{_OVER}|" + _fill(_STRICT, _MORE),
        "<": "<|under|below|beneath|sub -|" + _fill(_STRICT, _LESS),
        ">=": ">=|at least|minimum|minimum of|min|starting at|starting from|"
        + _fill(_OR_EQUAL, _MORE)
        + "|"
        + _fill(_OR_EQUAL_TO, "over|above"),
        "<=": "<=|at most|up to|up to and including|maximum|maximum of|max|"
        + _fill(_OR_EQUAL, _LESS)
        + "|"
        + _fill(_OR_EQUAL_TO, "under|below"),
        "=": "=|equal to|equals|as large as|as big as|as small as|" + _fill("* diameter", "maximum|maximal|max"),
    }
)
SUFFIXES = _phrases(
    **{
        ">=": "+|plus|upward|upwards|onwards|at least|minimum|" + _fill("or *|and *", f"{_MORE}|over|above|up|upwards"),
        "<=": "at most|maximum|max|" + _fill("or *|and *", f"{_LESS}|under|below"),
    }
)
LONGEST_PHRASE = max(map(len, COMPARATORS))
MIRRORED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
NAMED_SIZES = {
    "small": SizeInterval(0, 6, "both"),
    "medium": SizeInterval(6, 10, "right"),
    "large": SizeInterval(10, math.inf, "neither"),
    "subcentimeter": SizeInterval(0, 10, "left"),
}
ADJECTIVES = _phrases(
    small="small",
    medium="medium|intermediate|mid - size|mid - sized|mid size|mid sized|midsize|midsized",
    large="large|big",
    subcentimeter="subcentimeter|subcentimetre|sub - centimeter|sub - centimetre",
)
JOINTS = _phrases(joint="to|through|thru|until|till|-|~|..|- to|- to -|to -")
AMOUNT_JOINTS = JOINTS | _phrases(joint="up to")  # "> 6 mm up to 10 mm" is two comparisons, not one range
BETWEEN_JOINTS = AMOUNT_JOINTS | _phrases(joint="and")
SPREAD_JOINTS = _phrases(joint="±")
OPENINGS = _phrases(between="between") | {("from",): "from"}
INCLUSIVE = _phrases(both="inclusive|( inclusive")
BRACKETS: dict[str, Closed] = {"[]": "both", "[)": "left", "(]": "right", "()": "neither"}
INFINITE = _words("inf infinity ∞")
SYMBOLS = {"≥": ">=", "⩾": ">=", "≧": ">=", "≳": ">=", "=>": ">=", "≮": ">=", "≱": "<", "≈": "~", "==": "="}
SYMBOLS |= {"≤": "<=", "⩽": "<=", "≦": "<=", "≲": "<=", "=<": "<=", "≯": "<=", "≰": ">", "!=": "≠"}
UNITS = {
    word: kind
    for (word,), kind in _phrases(
        mm="mm|mms|millimeter|millimeters|millimetre|millimetres",
        cm="cm|cms|centimeter|centimeters|centimetre|centimetres",
        volume="mm3|mm^3|cm3|cm^3|ml|cc|ccm|ul|μl|cubic|milliliter|milliliters|millilitre|millilitres",
        area="mm2|mm^2|cm2|cm^2|square|sq",
        other="um|μm|micron|microns|micrometer|micrometers|micrometre|micrometres|inch|inches|meter|meters",
    ).items()
}
NUMBER_WORDS = _phrases(number="one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve")
DIGITS = {word: str(number) for number, (word,) in enumerate(NUMBER_WORDS, start=1)}
NOT = _words("no not non cannot never neither without excluding except outside ≠")
AFTER_NOT = _words("- a an the very be so too")
COMPARING = _words(f"{_MORE} {_LESS} than then equal equals least most up including".replace("|", " "))
JOINING = _words("to through thru until till")
AFTER_NAMED = _words(f"{_MORE} {_LESS} over above under below up upwards".replace("|", " "))
APPROXIMATELY = _words("about approximately approx around roughly circa ca nearly almost exactly ~ .")  # "approx."
BEFORE_NUMBER = APPROXIMATELY | _words("a an the of in diameter size")
STARTERS = NOT | APPROXIMATELY | _words("( [") | {words[0] for words in ADJECTIVES | COMPARATORS | OPENINGS}
CONJUNCTIONS = _words("and or but ,")
AFTER_OR = BEFORE_NUMBER | _words("with measuring lung pulmonary nodule nodules")

# Numbers that measure something other than the nodule: by the word before them (but for links), or after.
ATTRIBUTES = _words(
    "malignancy subtlety spiculation lobulation texture calcification sphericity margin internalstructure"
    " rating ratings rated score scores age aged years grade stage slice slices series patient patients case"
    " cases id volume hu density attenuation probability risk suspicion"
)
OTHER_LENGTHS = _words("thickness spacing distance fov collimation")
LINKS = _words("of is are was be at the score rating rated : ( = -")
OTHER_UNITS = _words(
    "m y yr yrs year years month months week weeks day days hu % percent kg kv kvp ma mas pack times reader"
    " readers radiologist radiologists slice slices scan scans patient patients case cases image images"
)
AFTER_OTHER_LENGTHS = _words("slice slices section sections thick thickness spacing collimation away")
UNSIZED_NOUNS = ATTRIBUTES | _words("cell cells airway airways vessel vessels")
