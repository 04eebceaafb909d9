"""Bootstrap samples of means against means over nodules that are drawn again one by one."""

import numpy as np

from noduleclip.evaluation.bootstrap import draw_patients
from noduleclip.evaluation.measures import compare_means, draw_weights, sample_means

PATIENTS = np.array([0, 0, 1, 2, 2, 2, 3, 4, 4, 5])


def test_weights_are_the_patients_drawn_one_sample_after_another() -> None:
    generator = np.random.default_rng(7)
    expected = [draw_patients(PATIENTS, generator) for _ in range(5)]
    weights = draw_weights(PATIENTS, 5, 7)
    np.testing.assert_array_equal(weights, expected)
    for sample in weights:
        assert all(len(set(sample[patient == PATIENTS])) == 1 for patient in range(6)), "patients are drawn whole"
        assert sum(sample[np.flatnonzero(patient == PATIENTS)[0]] for patient in range(6)) == 6


def test_samples_are_means_over_repeated_nodules() -> None:
    generator = np.random.default_rng(0)
    values, counted = generator.normal(size=(4, 10)), generator.random((4, 10)) < 0.7
    values[~counted] = np.nan  # what does not count may be unknown
    weights = draw_weights(PATIENTS, 6, 1)
    samples = sample_means(values, counted, weights)
    for sample, weight in zip(samples, [np.ones(10), *weights], strict=True):
        drawn = [
            values[draw, nodule]
            for nodule in range(10)
            for _ in range(int(weight[nodule]))
            for draw in range(4)
            if counted[draw, nodule]
        ]
        np.testing.assert_allclose(sample, np.mean(drawn))


def test_shares_weigh_what_counts() -> None:
    values, shares = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[0.25, 1.0], [0.75, 0.0]])
    assert sample_means(values, shares, np.array([[1.0, 1.0], [2.0, 0.0]])).tolist() == [1.25, 1.25, 2.5]


def test_differences_are_taken_in_each_sample() -> None:
    generator = np.random.default_rng(3)
    model = generator.normal(size=(3, 10))
    weights = draw_weights(PATIENTS, 50, 0)
    measure = compare_means("shifted", [model, model + 1, model - 2], np.ones((3, 10), bool), weights)
    second, panel = measure.readers.above_second, measure.readers.above_panel
    np.testing.assert_allclose([second.mean, second.low, second.high], -1)
    np.testing.assert_allclose([panel.mean, panel.low, panel.high], 2)
    assert measure.nodules == 10


def test_a_sample_without_a_nodule_that_counts_is_unknown() -> None:
    counted = np.array([[True, False]])
    assert np.isnan(sample_means(np.ones((1, 2)), counted, np.array([[0.0, 3.0]]))[1])
