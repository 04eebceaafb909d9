"""Parsing of a request's address into a `SearchRequest`; the address of the page has the same names."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import cast
from urllib.parse import parse_qsl

from noduleclip.config import ALPHA, SOFTNESS_MM
from noduleclip.errors import UsageError
from noduleclip.io.index.rows import UNIQUE_NODULE
from noduleclip.workflows.search_request import RowFilter, Rule, SearchRequest

MOST_HITS = 2000  # from the first one on
HITS_AT_ONCE = 24
MAX_SOFTNESS_MM = 20.0
_MOST_CHARACTERS = {"where": 500, "patients": 4000, "rule": 20, "rows": 16 * MOST_HITS}
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
    request = SearchRequest(
        sentences=(values.get("q", ""),),
        k=HITS_AT_ONCE if hits is None else int(hits),
        filters=RowFilter(
            where=_read_text(values, "where"),
            patients=tuple(patients) or None,
            min_diameter_mm=_read_number(values, "min", 0, math.inf),
            max_diameter_mm=_read_number(values, "max", 0, math.inf),
        ),
        unique=values.get("unique", UNIQUE_NODULE) or None,
        alpha=ALPHA if alpha is None else alpha,
        softness_mm=SOFTNESS_MM if softness_mm is None else softness_mm,
        rule=cast(Rule, _read_text(values, "rule") or "measured"),
        min_probability=_read_number(values, "min_probability", 0, 1) or None,
        free_text=_read_number(values, "free_text", 0, 1) == 1,
    )
    rows = _parse_rows(_read_text(values, "rows"))
    if not rows:
        return request
    return replace(request, k=len(rows), filters=RowFilter(rows=rows), unique=None, min_probability=None)


def parse_start(values: Mapping[str, str], k: int) -> int:
    """Parse after how many hits the wanted ones begin.

    Args:
        values: The values of an address.
        k: How many are wanted.

    Raises:
        UsageError: It is no number, or hits beyond the last that can be asked for are wanted.
    """
    start = _read_number(values, "start", 0, MOST_HITS)
    if start is not None and start + k > MOST_HITS:
        raise UsageError(f"start + k must be at most {MOST_HITS}; noduleclip fuse --topk has more")
    return 0 if start is None else int(start)


def parse_place(values: Mapping[str, str]) -> int | None:
    """Parse which slice of a stack is asked for; None = the one that was embedded.

    Raises:
        UsageError: It is no place.
    """
    text = values.get("at", "")
    if text and not re.fullmatch("[0-9]{1,5}", text):
        raise UsageError(f"at must be the number of a slice from 0, got {text[:50]!r}")
    return int(text) if text else None


def _parse_rows(text: str) -> tuple[int, ...]:
    """Parse the numbers of rows, ascending and each once.

    Raises:
        UsageError: One of them is none, or there are too many.
    """
    texts = [one for one in text.split(",") if one]
    wrong = next((one for one in texts if not re.fullmatch("[0-9]{1,15}", one)), None)
    if wrong is not None:
        raise UsageError(f"rows must be numbers of rows with commas between, got {wrong[:50]!r}")
    rows = tuple(sorted(set(map(int, texts))))
    if len(rows) > MOST_HITS:
        raise UsageError(f"rows names {len(rows)} rows, at most {MOST_HITS} are read")
    return rows


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
