"""Bootstrap over patients: means with 95 % intervals, and the model beside the readers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval over patients."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """One metric of the model beside the readers, on nodules with at least two readers.

    Attributes:
        model: The model.
        second_reader: Another reader than the true one.
        panel: All other readers together.
        above_second: Model minus second reader.
        above_panel: Model minus panel.
    """

    model: Interval
    second_reader: Interval
    panel: Interval
    above_second: Interval
    above_panel: Interval


def draw_patients(patients: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many patients as there are, with replacement, and return (N,) how often each nodule is drawn."""
    names, where = np.unique(patients, return_inverse=True)
    drawn = generator.integers(len(names), size=len(names))
    return np.bincount(drawn, minlength=len(names))[where]


def draw_counts(patients: NDArray[np.int64], chosen: NDArray[np.bool_], resamples: int, seed: int) -> NDArray[np.int64]:
    """Return (1 + S, N) weights of the nodules: one for each chosen nodule, then those of S bootstrap samples."""
    counts = np.zeros((1 + resamples, len(patients)), np.int64)
    counts[0, chosen] = 1
    generator = np.random.default_rng(seed)
    if chosen.any():
        for sample in counts[1:]:
            sample[chosen] = draw_patients(patients[chosen], generator)
    return counts


def make_interval(mean: float, spread: Floats) -> Interval:
    """Return a mean with the middle 95 % of its bootstrap samples; NaN samples are left out."""
    known = spread[np.isfinite(spread)]
    low, high = np.quantile(known, [0.025, 0.975]) if known.size else (np.nan, np.nan)
    return Interval(mean, float(low), float(high))


def summarize_samples(samples: Floats) -> Interval:
    """Return the interval of (1 + S,) values: the value itself, then its bootstrap samples."""
    return make_interval(float(samples[0]), samples[1:])


def compare_rankers(samples: Floats) -> Comparison:
    """Compare model, second reader and panel.

    Args:
        samples: (1 + S, 3) their values, then those of the bootstrap samples.
    """
    model, second, panel = samples.T
    return Comparison(*map(summarize_samples, (model, second, panel, model - second, model - panel)))
