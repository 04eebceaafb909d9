"""Measures of size on planted models and simulated readers."""

import math

import numpy as np
import pytest

from noduleclip.evaluation.measures import Measure
from noduleclip.evaluation.readers import Readers
from noduleclip.evaluation.sizes import SizeEstimates, compare_sizes, measure_sizes
from noduleclip.language import BIN_PROMPTS, parse_intervals

BINS = parse_intervals(BIN_PROMPTS)
NODULES = 300


def simulate(readers: int = 3, noise: float = 0.15, bias: float = 0.0) -> SizeEstimates:
    """A model that knows the true sizes but for a bias, and readers who err by a factor."""
    generator = np.random.default_rng(0)
    sizes = generator.lognormal(math.log(8), 0.5, NODULES)
    diameters = sizes[:, None] * np.exp(generator.normal(0, noise, (NODULES, readers)))
    bins = np.array([[interval.contains(size) for interval in BINS].index(True) for size in sizes])
    return SizeEstimates(bins, sizes + bias, diameters, generator.integers(80, size=NODULES))


def measure(estimates: SizeEstimates, resamples: int = 50) -> dict[str, Measure]:
    measures = measure_sizes(estimates, BINS, draws=20, resamples=resamples)
    assert len(measures) == 15
    return {f"{at}": one for at, one in enumerate(measures)}


def test_a_perfect_model_of_agreeing_readers() -> None:
    measures = measure(simulate(noise=0))
    assert measures["0"].readers.model.mean == measures["0"].readers.panel.mean == 1
    for at in range(1, 15):
        assert measures[str(at)].readers.model.mean == pytest.approx(0, abs=1e-9)


def test_the_truth_is_nearer_than_the_panel_and_the_panel_than_a_second_reader() -> None:
    measures = measure(simulate())
    accuracy, error = measures["0"], measures["1"]
    assert accuracy.readers.model.mean > accuracy.readers.panel.mean > accuracy.readers.second_reader.mean
    assert error.readers.model.mean < error.readers.panel.mean < error.readers.second_reader.mean
    assert error.readers.above_second.high < 0
    assert error.nodules == NODULES
    assert error.readers.above_panel.mean == pytest.approx(error.readers.model.mean - error.readers.panel.mean)
    for one in (accuracy.readers.model, error.readers.model, error.readers.panel, error.readers.above_panel):
        assert one.low < one.mean < one.high


def test_a_bias_is_found_and_bands_add_up() -> None:
    measures = measure(simulate(noise=0, bias=1.5))
    assert measures["6"].readers.model.mean == pytest.approx(1.5)
    assert [measures[str(at)].readers.model.mean for at in range(7, 11)] == pytest.approx([1.5] * 4)
    assert sum(measures[str(at)].nodules for at in range(7, 11)) <= NODULES


def test_measures_are_those_of_a_loop() -> None:
    """Two readers who differ: each is the truth in half of the draws, and the other is second reader and panel."""
    generator = np.random.default_rng(3)
    sizes = generator.uniform(4, 30, 40)
    readers = np.stack([sizes, sizes + 2], axis=1)
    estimates = SizeEstimates(np.zeros(40, np.int64), sizes + 1, readers, np.arange(40))
    measures = measure_sizes(estimates, BINS, draws=30, resamples=5)
    assert measures[1].readers.model.mean == pytest.approx(1)
    assert measures[1].readers.second_reader.mean == pytest.approx(2)
    assert measures[1].readers.panel.mean == pytest.approx(2)
    small = [np.mean([size <= 6, size + 2 <= 6]) for size in sizes]
    assert measures[0].readers.model.mean == pytest.approx(np.mean(small), abs=0.03)


def test_one_reader_alone_has_no_measures() -> None:
    assert measure_sizes(simulate(readers=1), BINS, draws=5, resamples=5) == ()


def test_limits_of_agreement() -> None:
    readers = Readers(np.array([[5.0, 5.0], [8.0, 8.0], [11.0, 11.0]]), np.empty((3, 2, 0)), ())
    errors = compare_sizes(np.array([6.0, 8.0, 13.0]), readers)
    assert errors.mean_mm == pytest.approx(1)
    assert errors.limits_mm == pytest.approx((1 - 1.96, 1 + 1.96))
    assert not math.isnan(errors.read_mm[0])
