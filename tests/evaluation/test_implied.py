"""Diameters implied by probabilities of known distributions."""

import numpy as np

from noduleclip.evaluation.implied import SWEPT_MM, imply_diameters, make_sweep
from noduleclip.language import parse_intervals


def tails(medians: list[float], width: float) -> np.ndarray:
    """(X, N) logistic upper tails of the logarithm."""
    swept = np.log(SWEPT_MM)[:, None]
    return 1 / (1 + np.exp((swept - np.log(medians)) / width))


def test_the_median_is_implied() -> None:
    medians = [2.1, 5.0, 7.3, 18.2, 44.0]
    for width in (0.05, 0.3):
        np.testing.assert_allclose(imply_diameters(tails(medians, width)), medians, atol=0.03)


def test_what_never_crosses_a_half_is_at_the_ends() -> None:
    swept = len(SWEPT_MM)
    assert imply_diameters(np.stack([np.ones(swept), np.zeros(swept)], axis=1)).tolist() == [45, 2]


def test_a_tail_that_rises_again_counts_once() -> None:
    tail = tails([8.0], 0.1)
    tail[-5:] = 0.9
    np.testing.assert_allclose(imply_diameters(tail), 8.0, atol=0.03)


def test_the_sweep_asks_for_its_thresholds() -> None:
    assert [interval.low_mm for interval in parse_intervals(make_sweep())] == list(SWEPT_MM)
