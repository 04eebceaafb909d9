"""Intervals of the estimated diameter: how many of the readers' diameters they cover, and how wide they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.bootstrap import Interval, summarize_samples
from noduleclip.evaluation.measures import draw_weights, sample_means
from noduleclip.evaluation.metrics import draw_readers
from noduleclip.evaluation.sizes import BANDS_MM

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """Coverage of an interval on some nodules.

    Attributes:
        name: Which nodules.
        nodules: Number of these nodules, mean over draws.
        share: Share of them whose reader's diameter lies in the interval, ends included.
        median_width_mm: Median width of the interval.
    """

    name: str
    nodules: float
    share: Interval
    median_width_mm: float


def measure_coverage(
    low_mm: NDArray[np.floating],
    high_mm: NDArray[np.floating],
    diameters_mm: Floats,
    patients: NDArray[np.int64],
    *,
    draws: int = 50,
    resamples: int = 300,
    seed: int = 0,
) -> tuple[Coverage, ...]:
    """Measure how often the interval of the diameter covers that of a reader drawn at random.

    Args:
        low_mm: (N,) lower ends.
        high_mm: (N,) upper ends.
        diameters_mm: (N, R) diameters by reader, NaN-padded, at least one a nodule.
        patients: (N,) number of each nodule's patient.
        draws: Draws of the reader.
        resamples: Bootstrap samples of patients.
        seed: Seed of the draws and of the bootstrap.

    Returns:
        All nodules, and those of two readers or more by band of another reader's diameter, whose error is independent
        of the covered one. Bands without nodules are left out.
    """
    drawn = draw_readers(diameters_mm, draws, seed)
    covered = (low_mm <= drawn.truth_mm) & (drawn.truth_mm <= high_mm)
    widths = np.broadcast_to(high_mm.astype(np.float64) - low_mm, covered.shape)
    weights = draw_weights(patients, resamples, seed)
    parts = [("all nodules", np.ones(covered.shape, bool))]
    for low, high in BANDS_MM:
        parts.append((f"  {low}-{high} mm by another", (drawn.second_mm > low) & (drawn.second_mm <= high)))
    return tuple(
        Coverage(
            name,
            float(counted.sum() / draws),
            summarize_samples(sample_means(covered, counted, weights)),
            float(np.median(widths[counted])),
        )
        for name, counted in parts
        if counted.any()
    )
