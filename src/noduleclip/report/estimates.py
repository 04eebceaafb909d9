"""Texts of a nodule's size and of what the model says of it, the same in tables, pages and the explorer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from noduleclip import schema
from noduleclip.language import ATTRIBUTES
from noduleclip.report.criteria import format_rating

_LEAST_PROBABILITY = 0.5  # of a phrase that is shown
_MOST_PHRASES = 5
_WEAKER = {"highly suspicious": "suspicious"}  # said by the phrase that is shown


def format_size(row: Mapping[str, Any]) -> str | None:
    """Return a diameter in mm, measured or else estimated.

    Args:
        row: Metadata of a row of an index; estimates may be missing.

    Returns:
        "8.2" as measured, "~8.2" as the model estimates where nothing was measured, None where neither is known.
    """
    measured, estimated = _number(row, schema.DIAMETER_MM), _number(row, schema.ESTIMATED_DIAMETER)
    if measured is not None:
        return f"{measured:.1f}"
    return None if estimated is None else f"~{estimated:.1f}"


def format_estimates(row: Mapping[str, Any]) -> str:
    """Return what the model says of a nodule: "9.4 mm (8.1-10.8), solid 0.93, smooth 0.81".

    The interval is the one that another reader's diameter lies in with a probability of 80 %; a phrase has the
    probability that it is true, and of two that say the same the stronger one stands alone. Empty where the index
    holds no estimates.
    """
    parts = []
    size, low, high = (
        _number(row, name) for name in (schema.ESTIMATED_DIAMETER, schema.ESTIMATED_LOW, schema.ESTIMATED_HIGH)
    )
    if size is not None:
        parts.append(f"{size:.1f} mm" if low is None or high is None else f"{size:.1f} mm ({low:.1f}-{high:.1f})")
    likely = {name: share for name, share in _list_phrases(row).items() if share >= _LEAST_PROBABILITY}
    weaker = {_WEAKER.get(name) for name in likely}
    ranked = sorted(((name, share) for name, share in likely.items() if name not in weaker), key=lambda one: -one[1])
    parts += [f"{name} {share:.2f}" for name, share in ranked[:_MOST_PHRASES]]
    return ", ".join(parts)


@dataclass(frozen=True)
class Comparison:
    """A size or rating of a nodule, as text, "" where it is not known.

    Attributes:
        name: "diameter, mm", or an attribute.
        measured: The mean of its readers.
        readers: What each reader measured.
        model: What the model says.
    """

    name: str
    measured: str
    readers: tuple[str, ...]
    model: str


def compare_readers(row: Mapping[str, Any]) -> list[Comparison]:
    """Compare diameter and ratings by the table, by each reader, and by the model; without those that nobody has."""
    low, high = (_format(_number(row, name), 1) for name in (schema.ESTIMATED_LOW, schema.ESTIMATED_HIGH))
    model = _format(_number(row, schema.ESTIMATED_DIAMETER), 1)
    found = [
        Comparison(
            "diameter, mm",
            _format(_number(row, schema.DIAMETER_MM), 1),
            tuple(_format(size, 1) for size in row.get(schema.READER_DIAMETERS) or ()),
            f"{model} ({low}-{high})" if model and low and high else model,
        )
    ]
    for name in ATTRIBUTES:
        ratings = tuple(_format(one, 0) for one in row.get(f"{schema.READER_PREFIX}{name}") or ())
        estimated = _number(row, f"{schema.ESTIMATED_PREFIX}{name}")
        rating = _number(row, name)
        measured = "" if rating is None else format_rating(rating)
        found.append(Comparison(name.replace("_", " "), measured, ratings, _format(estimated, 0)))
    return [one for one in found if one.measured or any(one.readers) or one.model]


def format_reader_sizes(row: Mapping[str, Any]) -> str:
    """Return the diameters that the readers drew on the slice shown: "27.1, 28.0, 29.3 mm"; empty without any."""
    sizes = [f"{size:.1f}" for size in row.get(schema.READER_DIAMETERS) or () if size is not None]
    return f"{', '.join(sizes)} mm" if sizes else ""


def format_counts(row: Mapping[str, Any]) -> str:
    """Return how many readers outlined a nodule on how many slices: "4 readers, 10 slices"; empty where not known."""
    readers, slices = (_number(row, name) for name in (schema.READERS, schema.SLICES))
    parts = [] if readers is None else [f"{readers:g} reader{'' if readers == 1 else 's'}"]
    if slices is not None:
        parts.append(f"{slices:g} slice{'' if slices == 1 else 's'}")
    return ", ".join(parts)


def _list_phrases(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the probability of each phrase in words; columns of a rating's values are none."""
    names = [
        name
        for name in row
        if name.startswith(schema.PROBABILITY_PREFIX)
        and not name.removeprefix(schema.PROBABILITY_PREFIX).startswith(tuple(f"{one}_" for one in ATTRIBUTES))
    ]
    found = {name.removeprefix(schema.PROBABILITY_PREFIX).replace("_", " "): _number(row, name) for name in names}
    return {name: share for name, share in found.items() if share is not None}


def _format(value: float | None, digits: int) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
