"""Curves on planted rankings, beside scikit-learn and plain arithmetic."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve

from noduleclip.evaluation.curves import RECALLS, trace_precision
from noduleclip.evaluation.readers import Readers
from noduleclip.language.query import parse_query


def one_reader_each(sizes: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Readers:
    """Two readers who agree, so that the truth does not depend on the draw."""
    return Readers(np.stack([sizes, sizes], axis=1), np.empty((len(sizes), 2, 0)), ())


def test_precision_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.uniform(3, 20, 120)
    scores = sizes + generator.normal(0, 4, 120)
    (curve,) = trace_precision(scores[None], one_reader_each(sizes), [parse_query("> 8 mm")], draws=2)
    assert curve is not None
    precision, recall, _ = precision_recall_curve(sizes > 8, scores)
    expected = [precision[recall >= wanted - 1e-9].max() for wanted in RECALLS]
    np.testing.assert_allclose(curve.model, expected)
    np.testing.assert_allclose(curve.second_reader, 1)
    assert curve.base_rate == pytest.approx(np.mean(sizes > 8))


def test_a_query_that_no_nodule_satisfies_has_no_curve() -> None:
    sizes = np.full(5, 7.0)
    assert trace_precision(np.zeros((1, 5)), one_reader_each(sizes), [parse_query("> 30 mm")]) == [None]
    alone = Readers(sizes[:, None], np.empty((5, 1, 0)), ())
    assert trace_precision(np.zeros((1, 5)), alone, [parse_query("> 3 mm")]) == [None]
