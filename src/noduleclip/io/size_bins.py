"""Counts of rows by size bin, in all and for each patient."""

import itertools

import numpy as np
import polars as pl

from noduleclip import schema
from noduleclip.language import BIN_PROMPTS, SizeInterval, parse_intervals

_EDGES_MM = (3, 4, 6, 8, 10, 15, 20, 30)
_UNKNOWN = "unknown"


def size_bins() -> tuple[SizeInterval, ...]:
    """Return the intervals of the three curated bins: small, medium, large."""
    return tuple(parse_intervals(BIN_PROMPTS))


def count_sizes(frame: pl.DataFrame) -> dict[str, int]:
    """Count rows by diameter, for a histogram: open below, closed above, and those without a diameter."""
    labels = [
        f"<= {_EDGES_MM[0]}",
        *(f"{low}-{high}" for low, high in itertools.pairwise(_EDGES_MM)),
        f"> {_EDGES_MM[-1]}",
    ]
    known_mm = frame[schema.DIAMETER_MM].drop_nulls().to_numpy()
    counts = np.bincount(np.searchsorted(_EDGES_MM, known_mm), minlength=len(labels)).tolist()
    return {**dict(zip(labels, counts, strict=True)), _UNKNOWN: frame.height - len(known_mm)}


def count_bins(frame: pl.DataFrame, *, unknown: bool = False) -> dict[str, tuple[int, ...]]:
    """Count the rows of each patient in each bin; rows without a diameter count in none, or in a last one.

    Args:
        frame: The rows.
        unknown: Count the rows without a diameter behind the bins.
    """
    bins = size_bins()
    size = pl.col(schema.DIAMETER_MM)
    inside = [
        ((size > i.low_mm) if i.low_mm > 0 else pl.lit(True)) & (size <= i.high_mm) for i in bins
    ]  # the curated bins are open below and closed above
    inside += [size.is_null()] if unknown else []
    counts = frame.group_by(schema.PATIENT_ID).agg(
        condition.fill_null(False).sum().alias(str(at)) for at, condition in enumerate(inside)
    )
    return {patient: tuple(numbers) for patient, *numbers in counts.iter_rows()}
