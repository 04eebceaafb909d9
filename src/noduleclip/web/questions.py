"""What a request asks for, read from its address and bounded: the same names stand in the page's own address."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from noduleclip.errors import UsageError

MOST_HITS = 200
MAX_SOFTNESS_MM = 20.0
UNIQUE = ("", "nodule", "slice", "series", "patient")
_MOST_CHARACTERS = {"where": 500, "patients": 4000}
_MOST_VALUES = 50


@dataclass(frozen=True)
class Filters:
    """Which rows are ranked.

    Attributes:
        patients: Ids, compared trimmed and case-folded; none = all.
        low_mm: Smallest diameter.
        high_mm: Largest diameter.
        where: A condition on the columns (`io.index.conditions`), empty for none.
    """

    patients: tuple[str, ...] = ()
    low_mm: float | None = None
    high_mm: float | None = None
    where: str = ""

    def __bool__(self) -> bool:
        return self != Filters()


@dataclass(frozen=True)
class Question:
    """A sentence and how the rows are ranked for it.

    Attributes:
        sentence: As it was typed.
        alpha: Weight of the image, in [0, 1].
        softness_mm: How far outside the interval a diameter still counts.
        topk: Hits wanted, at most 200.
        unique: Of what only the best row is a hit; empty = every row may be one.
        filters: Which rows are ranked.
    """

    sentence: str
    alpha: float = 0.5
    softness_mm: float = 1.5
    topk: int = 24
    unique: str = "nodule"
    filters: Filters = field(default_factory=Filters)


def read_values(query: bytes) -> dict[str, str]:
    """Read the part of an address behind its question mark.

    Raises:
        UsageError: It is not UTF-8, holds too many values, or one name twice.
    """
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_VALUES)
    except UnicodeDecodeError:
        raise UsageError("the address is not UTF-8 with each odd byte as %XX") from None
    except ValueError:
        raise UsageError(f"the address holds more than {_MOST_VALUES} values") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        twice = next(name for name in values if sum(name == other for other, _ in pairs) > 1)
        raise UsageError(f"the address names {twice[:50]!r} more than once")
    return values


def read_question(values: Mapping[str, str]) -> Question:
    """Read a question from the values of an address; a name that is missing or empty has its default.

    Raises:
        UsageError: A value is not allowed.
    """
    unique = values.get("unique", "nodule")
    if unique not in UNIQUE:
        raise UsageError(f"unique must be one of {', '.join(UNIQUE[1:])}, or empty, got {unique[:50]!r}")
    alpha = _read_number(values, "alpha", 0, 1)
    softness_mm = _read_number(values, "softness", 0, MAX_SOFTNESS_MM)
    hits = _read_number(values, "k", 1, MOST_HITS)
    patients = re.split(r"[\s,;]+", _read_text(values, "patients"))
    filters = Filters(
        tuple(sorted({patient for patient in patients if patient})),
        _read_number(values, "min", 0, math.inf),
        _read_number(values, "max", 0, math.inf),
        _read_text(values, "where"),
    )
    return Question(
        values.get("q", ""),
        0.5 if alpha is None else alpha,
        1.5 if softness_mm is None else softness_mm,
        24 if hits is None else int(hits),
        unique,
        filters,
    )


def _read_text(values: Mapping[str, str], name: str) -> str:
    text = values.get(name, "").strip()
    if len(text) > _MOST_CHARACTERS[name]:
        raise UsageError(f"{name} has {len(text)} characters, at most {_MOST_CHARACTERS[name]} are read")
    return text


def _read_number(values: Mapping[str, str], name: str, low: float, high: float) -> float | None:
    text = values.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high or value == math.inf:
        allowed = f"at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
        raise UsageError(f"{name} must be a number {allowed}, got {text[:50]!r}")
    return value
