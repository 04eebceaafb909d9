"""Distance of estimated ratings from readers', against loops and on constructed ratings."""

import statistics

import numpy as np
import pytest

from noduleclip import schema
from noduleclip.evaluation.metrics import draw_pairs
from noduleclip.evaluation.ratings import Summary, measure_ratings, summarize_others
from noduleclip.evaluation.readers import Readers

NODULES, READERS, DRAWS, SAMPLES = 60, 4, 12, 40


def make_readers(seed: int = 0) -> tuple[Readers, np.ndarray]:
    """Readers who miss some nodules and leave some ratings out, and the patients of the nodules."""
    generator = np.random.default_rng(seed)
    ratings = generator.integers(1, 6, (NODULES, READERS, 2)).astype(float)
    ratings[generator.random(ratings.shape) < 0.3] = np.nan
    diameters = generator.uniform(4, 20, (NODULES, READERS))
    return Readers(diameters, ratings, (schema.MARGIN, schema.TEXTURE)), generator.integers(20, size=NODULES)


def test_differences_are_those_of_a_loop() -> None:
    readers, patients = make_readers()
    estimated = {schema.TEXTURE: np.random.default_rng(1).integers(1, 6, NODULES).astype(np.float32)}
    (measure,) = measure_ratings(estimated, readers, patients, draws=DRAWS, resamples=SAMPLES, seed=3)
    ratings = readers.rating(schema.TEXTURE)
    rows = [row for row in range(NODULES) if np.isfinite(ratings[row]).sum() >= 2]
    first, other = draw_pairs(np.isfinite(ratings[rows]), DRAWS, 3)
    errors: list[list[float]] = [[], [], []]
    for draw in range(DRAWS):
        for at, row in enumerate(rows):
            truth = ratings[row, first[draw, at]]
            rest = [ratings[row, one] for one in range(READERS) if one != first[draw, at] and ratings[row, one] > 0]
            errors[0].append(abs(estimated[schema.TEXTURE][row] - truth))
            errors[1].append(abs(ratings[row, other[draw, at]] - truth))
            errors[2].append(abs(statistics.median(rest) - truth))
    found = measure.readers
    assert [found.model.mean, found.second_reader.mean, found.panel.mean] == pytest.approx(
        [statistics.mean(one) for one in errors]
    )
    assert measure.nodules == len(rows)
    assert found.above_second.mean == pytest.approx(found.model.mean - found.second_reader.mean)
    assert found.model.low < found.model.mean < found.model.high


def test_the_median_of_skewed_ratings_is_nearer_than_their_mean() -> None:
    """Nine readers in ten say 6: the estimate 6 misses a reader by half as much as the mean rating does."""
    generator = np.random.default_rng(9)  # not the seed of the draws
    ratings = np.where(generator.random((400, 4, 1)) < 0.9, 6.0, 1.0)
    readers = Readers(np.full((400, 4), 8.0), ratings, (schema.CALCIFICATION,))
    patients = np.arange(400)
    median, mean = (
        measure_ratings({schema.CALCIFICATION: np.full(400, one)}, readers, patients, draws=5, resamples=5)[0]
        for one in (6.0, float(ratings.mean()))
    )
    assert median.readers.model.mean == pytest.approx(5 * float((ratings == 1).mean()), abs=0.1)
    assert mean.readers.model.mean > 1.6 * median.readers.model.mean


def test_attributes_that_only_one_side_knows_are_left_out() -> None:
    readers, patients = make_readers()
    estimated = {schema.MARGIN: np.ones(NODULES), schema.SUBTLETY: np.ones(NODULES)}
    assert [one.name for one in measure_ratings(estimated, readers, patients, draws=2, resamples=2)] == [schema.MARGIN]
    alone = Readers(readers.diameters_mm[:, :1], readers.ratings[:, :1], readers.attributes)
    assert measure_ratings(estimated, alone, patients, draws=2, resamples=2) == ()


@pytest.mark.parametrize("by", ["median", "mean"])
def test_the_others_are_summarized_as_by_a_loop(by: Summary) -> None:
    ratings = make_readers(5)[0].rating(schema.MARGIN)
    summaries = summarize_others(ratings, by)
    for row, reader in np.ndindex(ratings.shape):
        others = [ratings[row, one] for one in range(READERS) if one != reader and ratings[row, one] > 0]
        expected = getattr(statistics, by)(others) if others and ratings[row, reader] > 0 else np.nan
        assert summaries[row, reader] == pytest.approx(expected, nan_ok=True)
