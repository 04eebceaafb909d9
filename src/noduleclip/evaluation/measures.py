"""Means over nodules and draws, of the model beside the readers, with intervals from a bootstrap over patients.

Each mean is a ratio of sums over nodules, so all bootstrap samples are one matrix product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.bootstrap import Comparison, compare_rankers, draw_patients

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Measure:
    """One measure on the nodules with at least two readers.

    Attributes:
        name: Name of the measure.
        nodules: Number of nodules that count, mean over draws.
        readers: The model beside the readers.
    """

    name: str
    nodules: float
    readers: Comparison


def draw_weights(patients: NDArray[np.int64], resamples: int, seed: int) -> Floats:
    """Return (S, N) how often each nodule is drawn in each of S bootstrap samples of patients."""
    generator = np.random.default_rng(seed)
    return np.array([draw_patients(patients, generator) for _ in range(resamples)], np.float64)


def compare_means(name: str, values: Sequence[Floats | Bools], counted: Bools, weights: Floats) -> Measure:
    """Compare the means of model, second reader and panel.

    Args:
        name: Name of the measure.
        values: Three of (K, N), by draw and nodule.
        counted: (K, N) which of them count.
        weights: (S, N) of `draw_weights`.
    """
    samples = np.stack([sample_means(value, counted, weights) for value in values], axis=1)
    return Measure(name, float(counted.sum() / len(counted)), compare_rankers(samples))


def sample_means(values: Floats | Bools, counted: Floats | Bools, weights: Floats) -> Floats:
    """Return (1 + S,) the mean of values, then its bootstrap samples; NaN where no nodule counts.

    Args:
        values: (K, N) by draw and nodule.
        counted: (K, N) which of them count, or by how much.
        weights: (S, N) of `draw_weights`.
    """
    shares = counted.astype(np.float64)
    sums, counts = np.where(shares > 0, values * shares, 0).sum(axis=0), shares.sum(axis=0)
    everyone = np.vstack([np.ones(len(counts)), weights])
    with np.errstate(invalid="ignore"):
        return np.asarray((everyone @ sums) / (everyone @ counts))
