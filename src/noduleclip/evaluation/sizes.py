"""How well a model measures: accuracy of the three bins and error of the implied diameter, beside the readers'.

Every measure is a ratio of sums over nodules, so a bootstrap over patients is one product of matrices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.evaluation import Comparison, compare_rankers, draw_patients
from noduleclip.evaluation.metrics import draw_readers
from noduleclip.language import SizeInterval

Floats = NDArray[np.float64]
BANDS_MM = ((3, 6), (6, 8), (8, 15), (15, 40))
"""Bands (low, high] of the judging diameter by which errors are reported."""


@dataclass(frozen=True)
class Estimates:
    """What a model says of the size of nodules, and what readers measured.

    Attributes:
        bins: (N,) number of the bin that the model finds most probable.
        implied_mm: (N,) diameter that the model implies.
        diameters_mm: (N, R) diameters by reader, NaN-padded.
        patients: (N,) number of each nodule's patient.
    """

    bins: NDArray[np.int64]
    implied_mm: Floats
    diameters_mm: Floats
    patients: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "Estimates":
        """Keep some nodules."""
        return Estimates(self.bins[rows], self.implied_mm[rows], self.diameters_mm[rows], self.patients[rows])


@dataclass(frozen=True)
class Measure:
    """One measure of sizes, on the nodules with at least two readers.

    Attributes:
        name: What is measured.
        nodules: Nodules that it is measured on, in the mean of the draws.
        readers: The model beside the readers.
    """

    name: str
    nodules: float
    readers: Comparison


def measure_sizes(
    estimates: Estimates, bins: Sequence[SizeInterval], *, draws: int = 50, resamples: int = 300, seed: int = 0
) -> tuple[Measure, ...]:
    """Judge bins and implied diameters by a reader drawn at random, beside another reader and the panel.

    Args:
        estimates: What the model says, and the readers.
        bins: The intervals that `Estimates.bins` counts; they do not overlap.
        draws: Draws of the judging reader.
        resamples: Bootstrap samples of patients.
        seed: Seed of the draws and of the bootstrap.

    Returns:
        Three-bin accuracy, mean absolute error and bias, and the last two by band of the judging reader; then the bias
        by band of another reader, whose errors the judge does not share: there a model without bias shows none. Nothing
        where no nodule has two readers. A band without nodules is left out.
    """
    several = estimates.take(np.flatnonzero(np.isfinite(estimates.diameters_mm).sum(axis=1) >= 2))
    if len(several.patients) == 0:
        return ()
    drawn = draw_readers(several.diameters_mm, draws, seed)
    results = [np.broadcast_to(several.implied_mm, drawn.truth_mm.shape), drawn.second_mm, drawn.panel_mm]
    generator = np.random.default_rng(seed)
    weights = np.array([draw_patients(several.patients, generator) for _ in range(resamples)], np.float64)
    truth_bins = _find_bins(drawn.truth_mm, bins)
    found = [np.broadcast_to(several.bins, truth_bins.shape), *(_find_bins(sizes, bins) for sizes in results[1:])]
    everywhere = np.ones(drawn.truth_mm.shape, bool)
    measures = [_compare("three-bin accuracy", [one == truth_bins for one in found], everywhere, weights)]
    errors = [sizes - drawn.truth_mm for sizes in results]
    absolute: list[Floats] = [np.abs(error) for error in errors]
    for label, values in (("mean absolute error, mm", absolute), ("bias, mm", errors)):
        measures.append(_compare(f"implied diameter, {label}", values, everywhere, weights))
        for low, high in BANDS_MM:
            inside = (drawn.truth_mm > low) & (drawn.truth_mm <= high)
            if inside.any():
                measures.append(_compare(f"  {low}-{high} mm", values, inside, weights))
    for low, high in BANDS_MM:
        inside = (drawn.second_mm > low) & (drawn.second_mm <= high)
        if inside.any():
            measures.append(_compare(f"  {low}-{high} mm by another", errors, inside, weights))
    return tuple(measures)


def _find_bins(sizes_mm: Floats, bins: Sequence[SizeInterval]) -> NDArray[np.int64]:
    inside = np.stack([interval.contains_each(sizes_mm) for interval in bins])
    return np.asarray(np.argmax(inside, axis=0), np.int64)


def _compare(name: str, values: Sequence[NDArray[np.generic]], counted: NDArray[np.bool_], weights: Floats) -> Measure:
    """Compare the means of (K, N) values of model, second reader and panel over the judgements that are counted."""
    sums = np.stack([np.where(counted, value, 0).sum(axis=0) for value in values])
    counts = counted.sum(axis=0)
    means = sums.sum(axis=1) / counts.sum()
    with np.errstate(invalid="ignore"):
        spread = (sums @ weights.T) / (counts @ weights.T)
    samples = np.concatenate([means[None], spread.T])
    return Measure(name, float(counts.sum() / len(counted)), compare_rankers(samples))
