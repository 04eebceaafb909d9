"""How many rows of each patient fall into each of the three size bins."""

import polars as pl

from noduleclip import schema
from noduleclip.size import BIN_PROMPTS, SizeInterval, parse_intervals


def size_bins() -> tuple[SizeInterval, ...]:
    """Give the intervals of the three curated bins: small, medium, large."""
    return tuple(parse_intervals(BIN_PROMPTS))


def count_bins(frame: pl.DataFrame) -> dict[str, tuple[int, ...]]:
    """Count the rows of each patient in each bin; rows without a diameter count in none."""
    bins = size_bins()
    size = pl.col(schema.DIAMETER_MM)
    inside = [
        ((size > i.low_mm) if i.low_mm > 0 else pl.lit(True)) & (size <= i.high_mm) for i in bins
    ]  # the curated bins are open below and closed above
    counts = frame.group_by(schema.PATIENT_ID).agg(
        condition.fill_null(False).sum().alias(str(at)) for at, condition in enumerate(inside)
    )
    return {patient: tuple(numbers) for patient, *numbers in counts.iter_rows()}
