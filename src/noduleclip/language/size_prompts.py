"""The fixed sentences about size, and the sampler of the sentences to train with."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from noduleclip.language.size import parse_intervals
from noduleclip.language.size_interval import MAX_DIAMETER_MM, Closed, SizeInterval, make_threshold

_T = TypeVar("_T")

BIN_PROMPTS: tuple[str, str, str] = (
    "a lung nodule with diameter <= 6 mm",
    "a lung nodule with diameter 6-10 mm",
    "a lung nodule with diameter > 10 mm",
)
BIN_SYNONYMS: tuple[str, str, str] = ("a small lung nodule", "a medium-size lung nodule", "a large lung nodule")
CURATED_PROMPTS: tuple[str, ...] = (*BIN_PROMPTS, "a lung nodule with diameter > 3 mm", *BIN_SYNONYMS)
EVALUATION_QUERIES: tuple[str, ...] = tuple(
    f"a lung nodule with diameter {size} mm"
    for size in ("> 3", "<= 6", "6-10", "> 10", "> 6", "> 8", "<= 8", "8-15", "> 15", "<= 5")
)


@dataclass(frozen=True)
class Prompt:
    """A sentence to train with and the diameters of which it is true."""

    text: str
    interval: SizeInterval


_CONTEXTS = (
    "{}",
    "diameter {}",
    "nodule size {}",
    "a nodule {}",
    "lesion of {}",
    "lung nodules, {}",
    "nodules {} in diameter",
    "a lung nodule {} across",
    "a lung nodule with diameter {}",
    "a lung nodule with a diameter of {}",
    "pulmonary nodule measuring {}",
    "a CT image of a lung nodule {}",
)
_THRESHOLD_FORMS: Mapping[str, str] = {
    ">": "> {}|>{}|larger than {}|bigger than {}|greater than {}|more than {}|over {}|above {}|exceeding {}",
    ">=": ">= {}|>={}|≥ {}|at least {}|no less than {}|not smaller than {}|{} or larger|{} or more|{} and up",
    "<": "< {}|<{}|under {}|below {}|smaller than {}|less than {}",
    "<=": "<= {}|<={}|≤ {}|up to {}|at most {}|no more than {}|not larger than {}|{} or smaller|{} or less",
}
_RANGE_FORMS: Mapping[Closed, str] = {
    "right": "{}-{}|{} - {}|{}–{}|{} to {}|between {} and {}|from {} to {}",
    "both": "at least {} and at most {}|>= {} and <= {}|between {} and {} inclusive",
    "left": "at least {} and less than {}|>= {} and < {}|{} or larger but under {}",
    "neither": "over {} and under {}|> {} and < {}|larger than {} but smaller than {}",
}
_RANGES_DRAWN: tuple[Closed, ...] = ("right", "right", "right", "right", "both", "left", "neither")
_UNITS_DRAWN = (*[" mm"] * 6, "mm", "mm", " millimeters", " millimetres", " cm", "cm", "")
_STEPS_TENTHS = (1, 5, 10)


def sample_prompts(count: int, rng: random.Random) -> list[Prompt]:
    """Draw training prompts: a quarter fixed ones, the rest random thresholds and ranges in varied words.

    Only `rng.random()` and basic arithmetic are used, so a state gives the same prompts on every platform.
    """
    return [_sample_prompt(rng) for _ in range(count)]


def _sample_prompt(rng: random.Random) -> Prompt:
    if rng.random() < 0.25:
        return _pick(_make_fixed_prompts(), rng)
    if rng.random() < 0.65:
        size, interval = _sample_threshold(rng)
    else:
        size, interval = _sample_range(rng)
    return Prompt(_pick(_CONTEXTS, rng).format(size), interval)


@cache
def _make_fixed_prompts() -> tuple[Prompt, ...]:
    texts = dict.fromkeys(CURATED_PROMPTS + EVALUATION_QUERIES)
    return tuple(map(Prompt, texts, parse_intervals(tuple(texts))))


def _sample_threshold(rng: random.Random) -> tuple[str, SizeInterval]:
    tenths = _sample_tenths(_pick(_STEPS_TENTHS, rng), rng)
    operator = _pick(tuple(_THRESHOLD_FORMS), rng)
    form = _pick(_THRESHOLD_FORMS[operator].split("|"), rng)
    return form.format(_format_size(tenths, _pick(_UNITS_DRAWN, rng))), make_threshold(operator, tenths / 10)


def _sample_range(rng: random.Random) -> tuple[str, SizeInterval]:
    step = _pick(_STEPS_TENTHS, rng)
    low = _sample_tenths(step, rng)
    ratio = 1.15 + 1.85 * rng.random()
    high = min(max(round(low * ratio / step) * step, low + step), round(10 * MAX_DIAMETER_MM))
    closed, unit = _pick(_RANGES_DRAWN, rng), _pick(_UNITS_DRAWN, rng)
    form = _pick(_RANGE_FORMS[closed].split("|"), rng)
    says_unit_once = closed == "right" and rng.random() < 0.75
    low_said = _format_size(low, unit).removesuffix(unit) if says_unit_once else _format_size(low, unit)
    return form.format(low_said, _format_size(high, unit)), SizeInterval(low / 10, high / 10, closed)


def _sample_tenths(step: int, rng: random.Random) -> int:
    """Draw tenths of a millimetre: 80 % log-uniform over 3..30 mm, 20 % uniform over 2..45 mm."""
    if rng.random() < 0.8:
        value_mm = 3 + 27 * rng.random()
        while rng.random() > 3 / value_mm:  # rejection: `math.exp` may differ in its last bit between platforms
            value_mm = 3 + 27 * rng.random()
    else:
        value_mm = 2 + 43 * rng.random()
    return round(10 * value_mm / step) * step


def _format_size(tenths: int, unit: str) -> str:
    return f"{tenths / (100 if 'cm' in unit else 10):g}{unit}"


def _pick(options: Sequence[_T], rng: random.Random) -> _T:
    return options[int(rng.random() * len(options))]
