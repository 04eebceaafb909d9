"""Rankings with ties and repeated items, beside scikit-learn on the repeated items and all orders of the tied ones."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from noduleclip.evaluation.ranked import METRICS, Ranked


def measure(scores: list[float], relevant: list[bool], counts: list[int] | None = None) -> dict[str, float]:
    ranked = Ranked(np.array(scores), np.array([relevant]))
    values = ranked.measure(None if counts is None else np.array(counts))
    return dict(zip(METRICS, values[:, 0].tolist(), strict=True))


@given(
    items=st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.booleans(), st.integers(0, 3)), min_size=1, max_size=14
    )
)
def test_items_counted_often_are_that_many_items(items: list[tuple[float, bool, int]]) -> None:
    scores, relevant, counts = (list(part) for part in zip(*items, strict=True))
    found = measure(scores, relevant, counts)
    copies = [(score, true) for score, true, count in items for _ in range(count)]
    if not any(true for _, true in copies):
        assert all(np.isnan(value) for value in found.values())
        return
    said, results = [score for score, _ in copies], [true for _, true in copies]
    assert found["ap"] == pytest.approx(average_precision_score(results, said))
    if len(copies) > 1:
        assert found["ndcg"] == pytest.approx(ndcg_score([np.array(results, float)], [said]))
    assert found == pytest.approx(measure(said, results))


def test_precision_is_its_mean_over_the_orders_of_tied_items() -> None:
    """Twelve items; the cut at ten goes through a tie of four."""
    scores = [9.0, 8, 7, 6, 5, 4, 3, 3, 2, 2, 2, 2]
    relevant = [True, False] * 3 + [True, True, True, False, False, False]
    means = [np.mean([*relevant[:8], *tied[:2]]) for tied in itertools.permutations(relevant[8:])]
    assert measure(scores, relevant)["precision_10"] == pytest.approx(np.mean(means))
    assert measure(scores, relevant)["precision_50"] == pytest.approx(np.mean(relevant))


def test_some_judgements_can_be_measured() -> None:
    generator = np.random.default_rng(0)
    scores, relevance = generator.random((5, 30)), generator.random((5, 30)) < 0.4
    ranked = Ranked(scores, relevance)
    np.testing.assert_array_equal(ranked.measure(None, np.array([3, 1])), ranked.measure()[:, [3, 1]])
