"""Parsing of a request's address into a `SearchRequest`; the address of the page has the same names."""

import math
import re
from collections.abc import Mapping
from typing import cast
from urllib.parse import parse_qsl

from noduleclip.config import SOFTNESS_MM
from noduleclip.errors import UsageError
from noduleclip.io.index.rows import UNIQUE_NODULE
from noduleclip.workflows.search_request import RowFilter, Rule, SearchRequest

MOST_HITS = 200
MAX_SOFTNESS_MM = 20.0
_MOST_CHARACTERS = {"where": 500, "patients": 4000, "rule": 20}
_MOST_VALUES = 50


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


def parse_request(values: Mapping[str, str]) -> SearchRequest:
    """Parse a search from the values of an address; a missing or empty name has its default.

    Raises:
        UsageError: A value is not allowed.
    """
    alpha = _read_number(values, "alpha", 0, 1)
    softness_mm = _read_number(values, "softness", 0, MAX_SOFTNESS_MM)
    hits = _read_number(values, "k", 1, MOST_HITS)
    patients = sorted({patient for patient in re.split(r"[\s,;]+", _read_text(values, "patients")) if patient})
    return SearchRequest(
        sentences=(values.get("q", ""),),
        k=24 if hits is None else int(hits),
        filters=RowFilter(
            where=_read_text(values, "where"),
            patients=tuple(patients) or None,
            min_diameter_mm=_read_number(values, "min", 0, math.inf),
            max_diameter_mm=_read_number(values, "max", 0, math.inf),
        ),
        unique=values.get("unique", UNIQUE_NODULE) or None,
        alpha=0.5 if alpha is None else alpha,
        softness_mm=SOFTNESS_MM if softness_mm is None else softness_mm,
        rule=cast(Rule, _read_text(values, "rule") or "measured"),
    )


def parse_place(values: Mapping[str, str]) -> int | None:
    """Parse which slice of a stack is asked for; None = the one that was embedded.

    Raises:
        UsageError: It is no place.
    """
    text = values.get("at", "")
    if text and not re.fullmatch("[0-9]{1,5}", text):
        raise UsageError(f"at must be the number of a slice from 0, got {text[:50]!r}")
    return int(text) if text else None


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
