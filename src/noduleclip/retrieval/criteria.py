"""The criteria of a sentence, and how a nodule stands to each: by what was measured, else by what the image shows.

Only measured values decide whether a nodule satisfies a sentence (`satisfies_all`). Where nothing was measured, an
estimate shows how the nodule stands to a criterion, and decides nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noduleclip import schema
from noduleclip.language import RatingRange, SizeInterval, spell_interval, spell_range
from noduleclip.language.query import ParsedQuery


@dataclass(frozen=True)
class Criterion:
    """A size or a rating that a sentence asks for.

    Attributes:
        name: Column of what is asked for: the diameter, or a rated attribute.
        label: What is asked for in words: "larger than 10 mm", "spiculation at least 3".
    """

    name: str
    label: str


@dataclass(frozen=True)
class CheckedCriterion:
    """A criterion and how a nodule stands to it.

    Attributes:
        criterion: The criterion.
        value: The diameter in mm, or the rating; measured, else estimated; None where neither is known.
        is_estimated: Whether the value is the model's estimate, because none was measured.
        satisfied: Whether the value is what is asked for; None where none is known.
    """

    criterion: Criterion
    value: float | None
    is_estimated: bool
    satisfied: bool | None


def list_criteria(parsed: ParsedQuery) -> tuple[Criterion, ...]:
    """Return the criteria of a sentence: the size first, then the ratings in the order of `language.ATTRIBUTES`."""
    return tuple(_make_criterion(name, asked) for name, asked in _list_asked(parsed))


def check_criteria(parsed: ParsedQuery, hit: Mapping[str, Any]) -> tuple[CheckedCriterion, ...]:
    """Check each criterion of a sentence on a nodule.

    Args:
        parsed: The sentence.
        hit: Metadata of the nodule by column; a column that is missing is not known.
    """
    checked = []
    for name, asked in _list_asked(parsed):
        value = _read(hit, name)
        is_estimated = value is None
        if value is None:
            value = _read(hit, schema.ESTIMATED_PREFIX + name)
        satisfied = None if value is None else asked.contains(value)
        is_estimated = is_estimated and value is not None
        checked.append(CheckedCriterion(_make_criterion(name, asked), value, is_estimated, satisfied))
    return tuple(checked)


def satisfies_all(parsed: ParsedQuery, hit: Mapping[str, Any]) -> bool | None:
    """Return whether a nodule satisfies all criteria of a sentence by what was measured.

    Returns:
        None where one is not measured and none is violated, and where nothing is asked for.
    """
    known: list[bool | None] = []
    for name, asked in _list_asked(parsed):
        value = _read(hit, name)
        known.append(None if value is None else asked.contains(value))
    if False in known:
        return False
    return None if None in known or not known else True


def _list_asked(parsed: ParsedQuery) -> list[tuple[str, SizeInterval | RatingRange]]:
    sized = [] if parsed.interval is None else [(schema.DIAMETER_MM, parsed.interval)]
    return [*sized, *((asked.attribute, asked) for asked in parsed.ratings)]


def _make_criterion(name: str, asked: SizeInterval | RatingRange) -> Criterion:
    return Criterion(name, spell_range(asked) if isinstance(asked, RatingRange) else spell_interval(asked))


def _read(hit: Mapping[str, Any], name: str) -> float | None:
    value = hit.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
