"""The diameter that a model's similarities imply: where "> x mm" turns from probable to improbable as x grows."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SWEPT_MM = tuple(step / 4 for step in range(8, 181))
"""Thresholds x that are swept, ascending: 2 to 45 mm."""


def make_sweep() -> list[str]:
    """Return the sentences that are swept, one per threshold."""
    return [f"a lung nodule with diameter > {mm:g} mm" for mm in SWEPT_MM]


def imply_diameters(probabilities: Floats) -> Floats:
    """Return the median of the distribution whose upper tail was swept.

    Args:
        probabilities: (X, N) probability that each of N nodules is larger than each of the thresholds.

    Returns:
        (N,) in mm, by linear interpolation between thresholds; the first or last threshold where the probability
        never crosses one half. A tail that rises again is taken at its running minimum.
    """
    thresholds = np.array(SWEPT_MM)
    tail = np.minimum.accumulate(probabilities, axis=0)
    below = tail < 0.5
    after = np.where(below.any(axis=0), below.argmax(axis=0), len(thresholds) - 1)
    before = np.maximum(after - 1, 0)
    nodules = np.arange(tail.shape[1])
    high, low = tail[before, nodules], tail[after, nodules]
    share = np.clip((high - 0.5) / np.where(high > low, high - low, 1), 0, 1)
    inside = thresholds[before] + share * (thresholds[after] - thresholds[before])
    return np.asarray(np.where(below.any(axis=0), inside, thresholds[-1]))
