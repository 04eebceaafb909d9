"""Sizes that a model implies: three-bin accuracy and error of the implied diameter, beside the readers'."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.measures import Measure, compare_means, draw_weights
from noduleclip.evaluation.metrics import draw_readers
from noduleclip.evaluation.readers import Readers
from noduleclip.language import SizeInterval

Floats = NDArray[np.float64]
BANDS_MM = ((3, 6), (6, 8), (8, 15), (15, 40))
"""Bands (low, high] of the true diameter by which errors are reported."""


@dataclass(frozen=True)
class SizeEstimates:
    """Sizes of N nodules by the model and by readers.

    Attributes:
        bins: (N,) index of the bin that the model finds most probable.
        implied_mm: (N,) diameter that the model implies.
        diameters_mm: (N, R) diameters by reader, NaN-padded.
        patients: (N,) number of each nodule's patient.
    """

    bins: NDArray[np.int64]
    implied_mm: Floats
    diameters_mm: Floats
    patients: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "SizeEstimates":
        """Select nodules."""
        return SizeEstimates(self.bins[rows], self.implied_mm[rows], self.diameters_mm[rows], self.patients[rows])


@dataclass(frozen=True)
class SizeErrors:
    """Implied against read diameters, one nodule each.

    Attributes:
        read_mm: (N,) mean diameter of the readers.
        implied_mm: (N,) diameters that the model implies.
        mean_mm: Mean difference.
        limits_mm: 95 % limits of agreement: mean difference minus and plus 1.96 standard deviations.
    """

    read_mm: Floats
    implied_mm: Floats
    mean_mm: float
    limits_mm: tuple[float, float]


def measure_sizes(
    estimates: SizeEstimates, bins: Sequence[SizeInterval], *, draws: int = 50, resamples: int = 300, seed: int = 0
) -> tuple[Measure, ...]:
    """Compare bins and implied diameters with a reader drawn at random, beside another reader and the panel.

    Args:
        estimates: Sizes by the model and by readers.
        bins: The intervals that `SizeEstimates.bins` numbers, without overlap.
        draws: Draws of the true reader.
        resamples: Bootstrap samples of patients.
        seed: Seed of the draws and of the bootstrap.

    Returns:
        Three-bin accuracy, mean absolute error and bias, and the last two by band of the true reader; then the bias
        by band of another reader, whose errors are independent: a model without bias shows none there. Empty where no
        nodule has two readers. Bands without nodules are left out.
    """
    several = estimates.take(np.flatnonzero(np.isfinite(estimates.diameters_mm).sum(axis=1) >= 2))
    if len(several.patients) == 0:
        return ()
    drawn = draw_readers(several.diameters_mm, draws, seed)
    results = [np.broadcast_to(several.implied_mm, drawn.truth_mm.shape), drawn.second_mm, drawn.panel_mm]
    weights = draw_weights(several.patients, resamples, seed)
    truth_bins = _find_bins(drawn.truth_mm, bins)
    found = [np.broadcast_to(several.bins, truth_bins.shape), *(_find_bins(sizes, bins) for sizes in results[1:])]
    everywhere = np.ones(drawn.truth_mm.shape, bool)
    measures = [compare_means("three-bin accuracy", [one == truth_bins for one in found], everywhere, weights)]
    errors = [sizes - drawn.truth_mm for sizes in results]
    absolute: list[Floats] = [np.abs(error) for error in errors]
    for label, values in (("mean absolute error, mm", absolute), ("bias, mm", errors)):
        measures.append(compare_means(f"implied diameter, {label}", values, everywhere, weights))
        for low, high in BANDS_MM:
            inside = (drawn.truth_mm > low) & (drawn.truth_mm <= high)
            if inside.any():
                measures.append(compare_means(f"  {low}-{high} mm", values, inside, weights))
    for low, high in BANDS_MM:
        inside = (drawn.second_mm > low) & (drawn.second_mm <= high)
        if inside.any():
            measures.append(compare_means(f"  {low}-{high} mm by another", errors, inside, weights))
    return tuple(measures)


def _find_bins(sizes_mm: Floats, bins: Sequence[SizeInterval]) -> NDArray[np.int64]:
    inside = np.stack([interval.contains_each(sizes_mm) for interval in bins])
    return np.asarray(np.argmax(inside, axis=0), np.int64)


def compare_sizes(implied_mm: Floats, readers: Readers) -> SizeErrors:
    """Compare implied diameters with the mean of the readers.

    Args:
        implied_mm: (N,) diameters that the model implies.
        readers: Readings of the N nodules.

    Source: Bland and Altman, Lancet 327:307-310, 1986.
    """
    read = np.nanmean(readers.diameters_mm, axis=1)
    difference = implied_mm - read
    half_width = 1.96 * float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    mean = float(difference.mean())
    return SizeErrors(read, implied_mm, mean, (mean - half_width, mean + half_width))
