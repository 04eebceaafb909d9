"""Tables of the words of the size language."""

import math

from noduleclip.language.size_interval import Closed, SizeInterval
from noduleclip.language.words import COMPARATORS, LESS, MORE, NOT, fill_templates, map_phrases, split_words

SUFFIXES = map_phrases(
    **{
        ">=": "+|plus|upward|upwards|onwards|at least|minimum|"
        + fill_templates("or *|and *", f"{MORE}|over|above|up|upwards"),
        "<=": "at most|maximum|max|" + fill_templates("or *|and *", f"{LESS}|under|below"),
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
ADJECTIVES = map_phrases(
    small="small",
    medium="medium|intermediate|mid - size|mid - sized|mid size|mid sized|midsize|midsized",
    large="large|big",
    subcentimeter="subcentimeter|subcentimetre|sub - centimeter|sub - centimetre",
)
JOINTS = map_phrases(joint="to|through|thru|until|till|-|~|..|- to|- to -|to -")
AMOUNT_JOINTS = JOINTS | map_phrases(joint="up to")  # "> 6 mm up to 10 mm" is two comparisons, not one range
BETWEEN_JOINTS = AMOUNT_JOINTS | map_phrases(joint="and")
SPREAD_JOINTS = map_phrases(joint="±")
OPENINGS = map_phrases(between="between") | {("from",): "from"}
INCLUSIVE = map_phrases(both="inclusive|( inclusive")
BRACKETS: dict[str, Closed] = {"[]": "both", "[)": "left", "(]": "right", "()": "neither"}
INFINITE = split_words("inf infinity ∞")
SYMBOLS = {"≥": ">=", "⩾": ">=", "≧": ">=", "≳": ">=", "=>": ">=", "≮": ">=", "≱": "<", "≈": "~", "==": "="}
SYMBOLS |= {"≤": "<=", "⩽": "<=", "≦": "<=", "≲": "<=", "=<": "<=", "≯": "<=", "≰": ">", "!=": "≠"}
UNITS = {
    word: kind
    for (word,), kind in map_phrases(
        mm="mm|mms|millimeter|millimeters|millimetre|millimetres",
        cm="cm|cms|centimeter|centimeters|centimetre|centimetres",
        volume="mm3|mm^3|cm3|cm^3|ml|cc|ccm|ul|μl|cubic|milliliter|milliliters|millilitre|millilitres",
        area="mm2|mm^2|cm2|cm^2|square|sq",
        other="um|μm|micron|microns|micrometer|micrometers|micrometre|micrometres|inch|inches|meter|meters",
    ).items()
}
NUMBER_WORDS = map_phrases(number="one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve")
DIGITS = {word: str(number) for number, (word,) in enumerate(NUMBER_WORDS, start=1)}
COMPARING = split_words(f"{MORE} {LESS} than then equal equals least most up including".replace("|", " "))
JOINING = split_words("to through thru until till")
AFTER_NAMED = split_words(f"{MORE} {LESS} over above under below up upwards".replace("|", " "))
APPROXIMATELY = split_words("about approximately approx around roughly circa ca nearly almost exactly ~ .")  # "approx."
BEFORE_NUMBER = APPROXIMATELY | split_words("a an the of in diameter size")
STARTERS = NOT | APPROXIMATELY | split_words("( [") | {words[0] for words in ADJECTIVES | COMPARATORS | OPENINGS}
CONJUNCTIONS = split_words("and or but ,")
AFTER_OR = BEFORE_NUMBER | split_words("with measuring lung pulmonary nodule nodules")

# Numbers that measure something other than the nodule: by the word before them (but for links), or after.
ATTRIBUTES = split_words(
    "malignancy subtlety spiculation lobulation texture calcification sphericity margin internalstructure"
    " rating ratings rated score scores age aged years grade stage slice slices series patient patients case"
    " cases id volume hu density attenuation probability risk suspicion"
)
OTHER_LENGTHS = split_words("thickness spacing distance fov collimation")
LINKS = split_words("of is are was be at the score rating rated : ( = -")
OTHER_UNITS = split_words(
    "m y yr yrs year years month months week weeks day days hu % percent kg kv kvp ma mas pack times reader"
    " readers radiologist radiologists slice slices scan scans patient patients case cases image images"
)
AFTER_OTHER_LENGTHS = split_words("slice slices section sections thick thickness spacing collimation away")
UNSIZED_NOUNS = ATTRIBUTES | split_words("cell cells airway airways vessel vessels")
