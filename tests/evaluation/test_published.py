"""Ratings by published rules: which nodules count, how labels are rounded, and all figures against plain loops."""

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from noduleclip import schema
from noduleclip.evaluation.published import PublishedFigure, RatingEstimates, measure_published
from noduleclip.evaluation.published_rules import ACCURACY, AUC, PROTOCOLS, WITHIN_ONE, PublishedRules, find_nodules
from noduleclip.evaluation.readers import Readers
from noduleclip.language import last_rating

ATTRIBUTES = (schema.CALCIFICATION, schema.TEXTURE, schema.MALIGNANCY)
UNKNOWN = float("nan")


def make_readers(malignancy: Sequence[Sequence[float]]) -> Readers:
    """Readers who rate malignancy only, padded to the nodule of most readers."""
    width = max(map(len, malignancy))
    ratings = np.array([[*row, *[UNKNOWN] * (width - len(row))] for row in malignancy])[:, :, None]
    return Readers(np.where(np.isfinite(ratings[:, :, 0]), 8.0, np.nan), ratings, (schema.MALIGNANCY,))


@pytest.mark.parametrize(
    ("malignancy", "credanno", "proto_caps"),
    [
        ((1, 1), False, False),  # two readers
        ((1, 2, 2), True, True),
        ((3, 3, 5), False, True),  # the median is 3
        ((1, 4, 4), True, False),  # the mean is 3
        ((2, 2, 4, 4), False, False),
        ((4, 4, 4, 4), True, True),
        ((4, 4, 4, 4, 4), True, False),  # five outlines are not of four readers
    ],
)
def test_which_nodules_count(malignancy: tuple[float, ...], credanno: bool, proto_caps: bool) -> None:
    readers = make_readers([malignancy])
    for name, counts in (("credanno", credanno), ("proto-caps", proto_caps)):
        assert len(find_nodules(PROTOCOLS[name], readers, np.array([np.nan]))) == counts


@pytest.mark.parametrize(("thickness", "credanno"), [(1.25, True), (2.5, True), (3.0, False), (UNKNOWN, True)])
def test_thick_slices_do_not_count_for_credanno(thickness: float, credanno: bool) -> None:
    readers = make_readers([(4, 4, 4)])
    assert len(find_nodules(PROTOCOLS["credanno"], readers, np.array([thickness]))) == credanno
    assert len(find_nodules(PROTOCOLS["proto-caps"], readers, np.array([thickness]))) == 1


def test_labels_are_rounded_as_published() -> None:
    halves = np.array([1.5, 2.5, 3.5, 4.5, 2.75])
    credanno, proto_caps = PROTOCOLS["credanno"], PROTOCOLS["proto-caps"]
    for rules, attribute in ((credanno, schema.MALIGNANCY), (credanno, schema.TEXTURE), (proto_caps, schema.TEXTURE)):
        assert rules.round_labels(attribute, halves).tolist() == [2, 2, 4, 4, 3]
    assert proto_caps.round_labels(schema.MALIGNANCY, halves).tolist() == [1, 2, 3, 4, 3]


def simulate(seed: int) -> tuple[Readers, RatingEstimates, np.ndarray]:
    """Readers of random ratings, some missing, a model that knows nothing, and the patients."""
    generator = np.random.default_rng(seed)
    ratings = np.stack(
        [generator.integers(1, last_rating(name) + 1, (60, 4)).astype(float) for name in ATTRIBUTES], axis=2
    )
    ratings[generator.random((60, 4)) < 0.15] = np.nan
    ratings[:7, :, 1] = np.nan  # nobody rated the texture of these
    readers = Readers(np.full((60, 4), 8.0), ratings, ATTRIBUTES)
    estimated = {name: generator.integers(1, last_rating(name) + 1, 60).astype(np.float32) for name in ATTRIBUTES}
    distribution = generator.dirichlet(np.ones(5), 60)
    distribution[::5] = 0.2  # undecided
    return readers, RatingEstimates(estimated, distribution), generator.integers(15, size=60)


def round_label(rules: PublishedRules, attribute: str, value: float) -> int:
    if rules.name == "proto-caps" and attribute == schema.MALIGNANCY:
        return math.floor(value) if value - math.floor(value) <= 0.5 else math.ceil(value)
    return round(value)  # half to even


def measure_slowly(rules: PublishedRules, readers: Readers, estimates: RatingEstimates) -> dict[str, list[float]]:
    """Model, constant and reader of each figure by loops over nodules and readers."""
    summarize: Callable[[list[float]], float] = statistics.median if rules.summary == "median" else statistics.fmean
    figures = {}
    rated = [[one for one in row if one > 0] for row in readers.rating(schema.MALIGNANCY)]
    above = [summarize(row) > 3 for row in rated]
    scores = [p[3] + p[4] + p[2] / 2 for p in estimates.malignancy]
    model = [
        0.5 if math.isclose(score, 0.5) else float((score > 0.5) == side)
        for score, side in zip(scores, above, strict=True)
    ]
    won, shares, pairs = [], [], []
    for row in rated:
        for at, own in enumerate(row):
            others = summarize([*row[:at], *row[at + 1 :]])
            if others != 3:
                share = 1 / len(row)
                won.append(share * (0.5 if own == 3 else float((own > 3) == (others > 3))))
                shares.append(share)
                pairs.append((own, others > 3, share))
    figures[ACCURACY] = [
        statistics.fmean(model),
        max(sum(above), len(above) - sum(above)) / len(above),
        sum(won) / sum(shares),
    ]
    figures[AUC] = [area([(s, side, 1.0) for s, side in zip(scores, above, strict=True)]), 0.5, area(pairs)]
    for attribute in ATTRIBUTES:
        hits, of_reader, labels = [], [], []
        for row, guess in zip(readers.rating(attribute), estimates.ratings[attribute], strict=True):
            known = [one for one in row if one > 0]
            if not known:
                continue
            labels.append(round_label(rules, attribute, summarize(known)))
            hits.append(abs(guess - labels[-1]) <= 1)
            of_reader.append([
                abs(own - round_label(rules, attribute, summarize([*known[:at], *known[at + 1 :]]))) <= 1
                for at, own in enumerate(known) if len(known) > 1
            ])  # fmt: skip
        constants = [
            statistics.fmean(abs(one - label) <= 1 for label in labels) for one in range(1, last_rating(attribute) + 1)
        ]
        figures[WITHIN_ONE.format(attribute=attribute)] = [
            statistics.fmean(hits), max(constants), statistics.fmean(statistics.fmean(one) for one in of_reader if one)
        ]  # fmt: skip
    return figures


def area(items: list[tuple[float, bool, float]]) -> float:
    won = total = 0.0
    for score, positive, weight in items:
        for other, is_positive, other_weight in items:
            if positive and not is_positive:
                total += weight * other_weight
                won += weight * other_weight * (1.0 if score > other else 0.5 if math.isclose(score, other) else 0.0)
    return won / total


@pytest.mark.parametrize("name", PROTOCOLS)
def test_figures_are_those_of_loops(name: str) -> None:
    rules = PROTOCOLS[name]
    readers, estimates, patients = simulate(len(name))
    rows = find_nodules(rules, readers, np.full(60, np.nan))
    assert 20 < len(rows) < 60
    readers = readers.take(rows)
    estimates = RatingEstimates({k: v[rows] for k, v in estimates.ratings.items()}, estimates.malignancy[rows])
    figures = {one.name: one for one in measure_published(rules, estimates, readers, patients[rows], resamples=40)}
    slow = measure_slowly(rules, readers, estimates)
    assert set(figures) == set(slow)
    for figure in figures.values():
        found = [figure.model.mean, figure.constant.mean, figure.one_reader.mean]
        assert found == pytest.approx(slow[figure.name]), figure.name
        assert figure.above_reader.mean == pytest.approx(found[0] - found[2])
        assert figure.model.low < figure.model.mean < figure.model.high
        assert figure.published == rules.published.get(figure.name)


def measure(malignancy: Sequence[Sequence[float]], estimated: Sequence[float]) -> dict[str, PublishedFigure]:
    """Measure a model that is sure of its ratings."""
    distribution = np.eye(5)[np.array(estimated, int) - 1]
    estimates = RatingEstimates({schema.MALIGNANCY: np.array(estimated)}, distribution)
    readers = make_readers(malignancy)
    found = measure_published(PROTOCOLS["credanno"], estimates, readers, np.arange(len(estimated)), resamples=5)
    return {one.name: one for one in found}


def test_readers_who_agree_and_a_model_that_says_the_same_are_perfect() -> None:
    malignancy = [(1, 1, 1), (2, 2, 2), (4, 4, 4), (5, 5, 5)]
    for figure in measure(malignancy, [1, 2, 4, 5]).values():
        assert figure.model.mean == figure.one_reader.mean == 1
    assert {one.model.mean for one in measure(malignancy, [5, 4, 2, 1]).values()} == {0.0}


def test_the_constant_is_the_best_one_and_3_is_half_right() -> None:
    malignancy = [(2, 2, 2)] * 7 + [(5, 5, 5)] * 3
    found = measure(malignancy, [3] * 10)
    assert found[ACCURACY].constant.mean == 0.7
    assert found[ACCURACY].model.mean == found[AUC].model.mean == 0.5
    within = found[WITHIN_ONE.format(attribute=schema.MALIGNANCY)]
    assert (within.constant.mean, within.constant_rating, within.model.mean) == (0.7, 1, 0.7)


def test_every_published_figure_is_one_that_is_measured() -> None:
    known = {ACCURACY, AUC, *(WITHIN_ONE.format(attribute=name) for name in schema.RATING_COLUMNS)}
    assert all(set(rules.published) <= known and rules.published for rules in PROTOCOLS.values())
    assert [name == rules.name for name, rules in PROTOCOLS.items()] == [True, True]
