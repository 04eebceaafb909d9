"""The meaning of one phrase as an interval in millimetres."""

import math
import re
from collections.abc import Sequence

from noduleclip.errors import SizeLanguageError
from noduleclip.language.size_interval import MAX_DIAMETER_MM, SizeInterval, format_number, make_threshold
from noduleclip.language.size_phrase import Phrase
from noduleclip.language.size_words import BRACKETS, NAMED_SIZES, UNITS, VOLUMES

EXACT_TOLERANCE_MM = 1.0
"""An exact size is read as value +- this: two readers of one nodule differ by 1.6 mm on average, so a
narrower interval would ask for more than the labels know."""

_PLAIN_NUMBER = re.compile(r"\d+|\d*\.\d+|0,\d+|\d+,(?:\d\d?|\d{4,})")  # not "1,000": it may be a thousand

_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+")  # of mm3 and ml: fractions below 0.1 % are not meant
_EXPONENTS = {"mm": "", "cm": "e1", "mm3": "", "cm3": "e3"}


def _read_axis_mm(number: str, unit: str) -> float:
    """Read one number with its unit in millimetres; a volume as the diameter of its sphere, to 0.1 mm."""
    quoted = f"{number[:20]} {unit}"
    kind = UNITS[unit]
    if kind == "area":
        raise SizeLanguageError(f"{quoted}: areas are not read; say the diameter in mm or cm")
    if kind == "other":
        raise SizeLanguageError(f"{quoted}: only mm and cm are read")
    if number.startswith("-"):
        raise SizeLanguageError(f"{quoted}: a diameter cannot be negative")
    if kind in VOLUMES and _THOUSANDS.fullmatch(number):
        number = number.replace(",", "")
    if not _PLAIN_NUMBER.fullmatch(number):
        raise SizeLanguageError(f"{quoted}: unreadable number; write it as 6, 6.5 or 6,5")
    value_mm = float(number.replace(",", ".") + _EXPONENTS[kind])
    if kind in VOLUMES:
        value_mm = round((6 * value_mm / math.pi) ** (1 / 3), 1)
    if value_mm > MAX_DIAMETER_MM:
        hint = f"; did you mean {value_mm / 10:g} mm?" if value_mm <= 10 * MAX_DIAMETER_MM else ""
        raise SizeLanguageError(f"{quoted}: a lung nodule's diameter lies between 0 and {MAX_DIAMETER_MM:g} mm{hint}")
    return value_mm


def read_values_mm(phrase: Phrase) -> list[float]:
    """Read the numbers of a phrase; a unit stated once covers all of them, and none at all means mm."""
    if phrase.is_volume and phrase.operator == "±":
        raise SizeLanguageError(f"{phrase.text!r}: write a range of volumes as '100-250 mm3'")
    shared = next((q.unit for q in reversed(phrase.quantities) if q.unit), "mm")
    return [max(_read_axis_mm(n, unit or q.unit or shared) for n, unit in q.axes) for q in phrase.quantities]


def _make_range(phrase: Phrase, ends_mm: Sequence[float]) -> SizeInterval:
    if len(ends_mm) != 2:
        raise SizeLanguageError(f"{phrase.text!r}: a range takes two numbers, such as 'between 6 and 10 mm'")
    low_mm, high_mm = ends_mm
    if low_mm >= high_mm:
        low, high = format_number(high_mm), format_number(low_mm)
        hint = f"write the lower end first, {low}-{high} mm" if low != high else f"say {low} mm alone"
        raise SizeLanguageError(f"{phrase.text!r}: the range runs the wrong way round or is empty; {hint}")
    return SizeInterval(low_mm, high_mm, "both" if phrase.operator == "inclusive range" else "right")


def _make_around(center_mm: float, spread_mm: float) -> SizeInterval:
    low_mm, high_mm = round(center_mm - spread_mm, 9), round(center_mm + spread_mm, 9)  # 8.3 - 1 is not 7.3
    return SizeInterval(max(0.0, low_mm), min(high_mm, MAX_DIAMETER_MM), "both")


def _complement(phrase: Phrase, interval: SizeInterval) -> SizeInterval:
    if interval.high_mm == math.inf:
        return make_threshold("<" if interval.includes_low else "<=", interval.low_mm)
    if interval.low_mm == 0 and phrase.operator != "=":
        return make_threshold(">" if interval.includes_high else ">=", interval.high_mm)
    raise SizeLanguageError(f"{phrase.text!r} leaves two separate ranges; ask for one of them")


def make_interval(phrase: Phrase) -> SizeInterval:
    """Return the diameters of which a phrase is true.

    Raises:
        SizeLanguageError: A number is unreadable or impossible, or no single interval says the same.
    """
    values_mm = read_values_mm(phrase)
    if phrase.operator in NAMED_SIZES:
        interval = NAMED_SIZES[phrase.operator]
    elif phrase.operator.endswith("range"):
        interval = _make_range(phrase, values_mm)
    elif phrase.operator in BRACKETS:
        interval = SizeInterval(values_mm[0], [*values_mm, math.inf][1], BRACKETS[phrase.operator])
    elif phrase.operator == "±":
        interval = _make_around(values_mm[0], values_mm[1])
    elif len(values_mm) != 1:
        raise SizeLanguageError(f"{phrase.text!r}: a comparison takes one number, such as '> 6 mm'")
    elif phrase.operator == "=":
        interval = _make_around(values_mm[0], EXACT_TOLERANCE_MM)
    else:
        interval = make_threshold(phrase.operator, values_mm[0])
    return _complement(phrase, interval) if phrase.negated else interval
