"""Tables of the words of the size language."""

import math

from noduleclip.language.size_interval import Closed, SizeInterval
from noduleclip.language.words import COMPARATORS, LESS, MORE, NOT, fill_templates, map_phrases, split_words

SUFFIXES = map_phrases(
    **{
        ">=": "+|plus|upward|upwards|onwards|at least|at the least|at the very least|minimum|min|"
        + fill_templates("or *|and *", f"{MORE}|over|above|up|upwards")
        + "|up",
        "<=": "at most|at the most|at the very most|tops|maximum|max|"
        + fill_templates("or *|and *", f"{LESS}|under|below|down|downwards"),
    }
)
LONGEST_PHRASE = max(map(len, COMPARATORS))
MIRRORED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
NAMED_SIZES = {
    "small": SizeInterval(0, 6, "both"),
    "medium": SizeInterval(6, 10, "right"),
    "large": SizeInterval(10, math.inf, "neither"),
    "subcentimeter": SizeInterval(0, 10, "left"),
    "micronodule": SizeInterval(0, 3, "left"),
    "mass": SizeInterval(30, math.inf, "neither"),
}
"""Source of the last two: Hansell et al., Fleischner Society glossary, Radiology 246:697-722, 2008."""
GLOSSARY = split_words("micronodule mass")
"""Nouns whose size is part of their definition: a measured size beside them counts more."""
ADJECTIVES = map_phrases(
    small="small",
    medium="medium|intermediate|mid - size|mid - sized|mid size|mid sized|midsize|midsized",
    large="large|big",
    subcentimeter="subcentimeter|subcentimetre|sub - centimeter|sub - centimetre|sub centimeter|sub centimetre",
    micronodule="micronodule|micronodules|micro - nodule|micro - nodules|micro nodule|micro nodules",
    mass="mass|masses",
)
JOINTS = map_phrases(joint="to|through|thru|until|till|-|~|..|- to|- to -|to -")
AMOUNT_JOINTS = JOINTS | map_phrases(joint="up to|upto")  # "> 6 mm up to 10 mm" is two comparisons, not one range
BETWEEN_JOINTS = AMOUNT_JOINTS | map_phrases(joint="and")
SPREAD_JOINTS = map_phrases(joint="±")
OPENINGS = map_phrases(between="between") | {("from",): "from"}
INCLUSIVE = map_phrases(both="inclusive|( inclusive")
BRACKETS: dict[str, Closed] = {"[]": "both", "[)": "left", "(]": "right", "()": "neither"}
INFINITE = split_words("inf infinity ∞")
SYMBOLS = {"≥": ">=", "⩾": ">=", "≧": ">=", "≳": ">=", "=>": ">=", "≮": ">=", "≱": "<", "≈": "~", "==": "="}
SYMBOLS |= {"≤": "<=", "⩽": "<=", "≦": "<=", "≲": "<=", "=<": "<=", "≯": "<=", "≰": ">", "!=": "≠"}
SYMBOLS |= {"!>": "<=", "!<": ">=", "!>=": "<", "!<=": ">"}
UNITS = {
    word: kind
    for (word,), kind in map_phrases(
        mm="mm|mms|millimeter|millimeters|millimetre|millimetres|milimeter|milimeters|milimetre|milimetres",
        cm="cm|cms|centimeter|centimeters|centimetre|centimetres",
        mm3="mm3|mm^3|cmm|ul|μl|microliter|microliters|microlitre|microlitres",
        cm3="cm3|cm^3|ml|cc|ccm|milliliter|milliliters|millilitre|millilitres",
        area="mm2|mm^2|cm2|cm^2|square|sq",
        other="um|μm|micron|microns|micrometer|micrometers|micrometre|micrometres|inch|inches|meter|meters",
    ).items()
}
VOLUMES = split_words("mm3 cm3")
AXIS_LABELS = split_words(
    "ap tr tra trans transverse cc lr si rl ml craniocaudal anteroposterior axial coronal sagittal lad sad"
)
LONGEST_AXIS = split_words("maximum maximal max")
AXIS_ADJECTIVES = AXIS_LABELS | split_words(". - inplane overall single long cross sectional")
DIMENSIONS = split_words("diameter diameters dimension dimensions size axis length extent")
_ONES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
    " eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
ONES = {word: number for number, word in enumerate(_ONES.split(), start=1)}
TENS = {word: 10 * tens for tens, word in enumerate(_TENS.split(), start=2)}
DIGITS = {word: str(number) for word, number in (ONES | TENS).items()}
COMPARING = split_words(f"{MORE} {LESS} than then equal equals least most up including".replace("|", " "))
JOINING = split_words("to through thru until till")
AFTER_NAMED = split_words(f"{MORE} {LESS} over above under below up upwards".replace("|", " "))
APPROXIMATELY = split_words("about approximately approx around roughly circa ca nearly almost exactly ~ .")  # "approx."
BEFORE_NUMBER = APPROXIMATELY | split_words("a an the of in diameter size")
STARTERS = NOT | APPROXIMATELY | split_words("( [") | {words[0] for words in ADJECTIVES | COMPARATORS | OPENINGS}
AFTER_OR = BEFORE_NUMBER | split_words("with measuring lung pulmonary nodule nodules")
