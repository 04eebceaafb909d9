"""Area under the ROC curve against all pairs."""

import numpy as np
import pytest

from noduleclip.evaluation.auc import weighted_auc


def compare_all_pairs(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    won = total = 0.0
    for at in np.flatnonzero(positive):
        for other in np.flatnonzero(~positive):
            pair = weights[at] * weights[other]
            total += pair
            won += pair * (scores[at] > scores[other]) + pair / 2 * (scores[at] == scores[other])
    return won / total


def test_it_is_the_share_of_pairs_in_order() -> None:
    generator = np.random.default_rng(0)
    scores, positive = generator.integers(1, 6, 50).astype(float), generator.random(50) < 0.4
    weights = generator.integers(0, 4, (8, 50)) * generator.random(50)
    expected = [compare_all_pairs(scores, positive, one) for one in weights]
    np.testing.assert_allclose(weighted_auc(scores, positive, weights), expected)


def test_known_orders() -> None:
    positive, once = np.array([False, False, True, True]), np.ones((1, 4))
    assert weighted_auc(np.array([1.0, 2.0, 3.0, 4.0]), positive, once) == 1
    assert weighted_auc(np.array([4.0, 3.0, 2.0, 1.0]), positive, once) == 0
    assert weighted_auc(np.array([1.0, 1.0, 1.0, 1.0]), positive, once) == 0.5
    assert weighted_auc(np.array([1.0, 3.0, 2.0, 4.0]), positive, once) == 0.75


@pytest.mark.parametrize("positive", [np.ones(3, bool), np.zeros(3, bool), np.zeros(0, bool)])
def test_one_side_alone_has_none(positive: np.ndarray) -> None:
    assert np.isnan(weighted_auc(np.arange(len(positive), dtype=float), positive, np.ones((2, len(positive))))).all()
