"""Reliability of probabilities that are known to be calibrated."""

import numpy as np

from noduleclip.evaluation.calibration import trace_reliability
from noduleclip.evaluation.readers import Readers
from noduleclip.language.query import parse_queries


def test_calibrated_probabilities_lie_on_the_diagonal() -> None:
    generator = np.random.default_rng(1)
    given = generator.random((2, 4000))
    sizes = np.where(generator.random((4000, 50)) < given[0, :, None], 9.0, 5.0)
    readers = Readers(sizes, np.empty((4000, 50, 0)), ())
    calibrated = trace_reliability(given[:1], readers, parse_queries(["> 6 mm"]))
    assert calibrated.error < 0.01
    np.testing.assert_allclose(calibrated.predicted, calibrated.observed, atol=0.02)
    assert calibrated.pairs.sum() == 4000
    assert trace_reliability(given[1:], readers, parse_queries(["> 6 mm"])).error > 0.2
