"""Coverage of the interval of the diameter, against a loop and for intervals that are right by construction."""

import math

import numpy as np
import pytest

from noduleclip.evaluation.coverage import measure_coverage
from noduleclip.evaluation.metrics import draw_readers
from noduleclip.evaluation.sizes import BANDS_MM

Z_90 = 1.2815515655446004


def simulate(nodules: int = 300, noise: float = 0.15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True sizes, diameters of three readers who err by a factor, and patients."""
    generator = np.random.default_rng(0)
    sizes = generator.lognormal(math.log(8), 0.5, nodules)
    return (
        sizes,
        sizes[:, None] * np.exp(generator.normal(0, noise, (nodules, 3))),
        generator.integers(80, size=nodules),
    )


def test_the_quantiles_of_the_readers_cover_four_fifths_in_every_band() -> None:
    sizes, diameters, patients = simulate(4000)
    spread = math.exp(0.15 * Z_90)
    found = measure_coverage(sizes / spread, sizes * spread, diameters, patients, resamples=50)
    assert [one.name.strip() for one in found] == [
        "all nodules", *(f"{low}-{high} mm by another" for low, high in BANDS_MM)
    ]  # fmt: skip
    for one in found:
        assert one.share.mean == pytest.approx(0.8, abs=0.025)
        assert one.share.low < one.share.mean < one.share.high
    assert found[0].nodules == 4000
    assert found[0].median_width_mm == pytest.approx(np.median(sizes * (spread - 1 / spread)))


def test_coverage_is_that_of_a_loop() -> None:
    sizes, diameters, patients = simulate(40)
    diameters[::3, 1:] = np.nan
    low, high = sizes * 0.9, sizes * 1.15
    found = {one.name.strip(): one for one in measure_coverage(low, high, diameters, patients, draws=7, resamples=5)}
    drawn = draw_readers(diameters, 7, 0)
    for name, band in (("all nodules", (-math.inf, math.inf)), ("6-8 mm by another", (6, 8))):
        covered, widths = [], []
        for draw in range(7):
            for at in range(40):
                other = drawn.second_mm[draw, at]
                if name == "all nodules" or band[0] < other <= band[1]:
                    covered.append(low[at] <= drawn.truth_mm[draw, at] <= high[at])
                    widths.append(high[at] - low[at])
        assert found[name].share.mean == pytest.approx(np.mean(covered))
        assert found[name].nodules == pytest.approx(len(covered) / 7)
        assert found[name].median_width_mm == pytest.approx(np.median(widths))


def test_wide_intervals_cover_all_and_empty_ones_none() -> None:
    sizes, diameters, patients = simulate(50)
    everything = measure_coverage(sizes * 0, sizes * 100, diameters, patients, draws=3, resamples=5)
    nothing = measure_coverage(sizes * 100, sizes * 101, diameters, patients, draws=3, resamples=5)
    assert {one.share.mean for one in everything} == {1.0}
    assert {one.share.mean for one in nothing} == {0.0}


def test_one_reader_alone_has_no_bands() -> None:
    sizes, diameters, patients = simulate(30)
    (found,) = measure_coverage(sizes * 0.8, sizes * 1.2, diameters[:, :1], patients, draws=3, resamples=5)
    assert found.nodules == 30
