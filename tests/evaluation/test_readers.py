"""Readers of ratings and sizes, beside plain loops."""

import math

import numpy as np
import pytest

from noduleclip import schema
from noduleclip.evaluation.readers import Readers, draw_labels, list_known
from noduleclip.language import RATING_QUERIES, RatingRange
from noduleclip.language.query import parse_queries, parse_query
from noduleclip.retrieval.fusion import multiply_rules, score_rating

ATTRIBUTES = (schema.CALCIFICATION, schema.TEXTURE)


def make_readers(nodules: int = 80, readers: int = 4, seed: int = 0) -> Readers:
    generator = np.random.default_rng(seed)
    sizes = generator.uniform(3, 20, (nodules, readers))
    present = generator.random((nodules, readers)) < 0.7
    present[:, 0] = True
    ratings = generator.integers(1, 6, (nodules, readers, 2)).astype(float)
    ratings[generator.random(ratings.shape) < 0.1] = math.nan
    ratings[:3, 1:] = math.nan
    ratings[:3, 0] = 3
    return Readers(np.where(present, sizes, math.nan), np.where(present[..., None], ratings, math.nan), ATTRIBUTES)


@pytest.mark.parametrize("sentence", ["> 8 mm", "a solid nodule", "a calcified solid nodule > 8 mm", "texture 2"])
def test_valid_readers_and_truth_are_those_of_a_loop(sentence: str) -> None:
    readers, parsed = make_readers(), parse_query(sentence)
    valid, true = readers.valid_mask(parsed), readers.find_true(parsed)
    for nodule, reader in np.ndindex(*valid.shape):
        size = float(readers.diameters_mm[nodule, reader])
        said = {name: readers.ratings[nodule, reader, at] for at, name in enumerate(ATTRIBUTES)}
        can = not math.isnan(size) and not any(math.isnan(said[one.attribute]) for one in parsed.ratings)
        fits = parsed.interval is None or parsed.interval.contains(size)
        assert valid[nodule, reader] == can
        if can:
            assert true[nodule, reader] == (fits and all(one.contains(said[one.attribute]) for one in parsed.ratings))


@pytest.mark.parametrize(
    ("sentence", "score"),
    [
        ("a solid nodule", lambda rating: rating),
        ("a ground-glass nodule", lambda rating: -rating),
        ("texture 2 to 3", lambda rating: -abs(rating - 2.5)),
    ],
)
def test_a_reader_ranks_by_the_rating(sentence: str, score: object) -> None:
    assert callable(score)
    readers, parsed = make_readers(), parse_query(sentence)
    valid = readers.valid_mask(parsed)
    rows = np.flatnonzero(valid.any(axis=1))
    readers, valid = readers.take(rows), valid[rows]
    drawn = draw_labels(readers, parsed, draws=30, seed=1)
    texture = readers.rating(schema.TEXTURE)
    true = readers.find_true(parsed)
    for draw, nodule in np.ndindex(*drawn.truth.shape):
        able = np.flatnonzero(valid[nodule])
        if len(able) == 1:
            assert math.isnan(drawn.second[draw, nodule]) and math.isnan(drawn.panel[draw, nodule])
            continue
        pairs = {
            (bool(true[nodule, judge]), float(score(texture[nodule, other])),
             round(float(score(np.mean([texture[nodule, one] for one in able if one != judge]))), 9))
            for judge in able for other in able if judge != other
        }  # fmt: skip
        second, panel = float(drawn.second[draw, nodule]), float(drawn.panel[draw, nodule])
        found = (bool(drawn.truth[draw, nodule]), second, round(panel, 9))
        assert found in pairs


def test_the_panel_on_kinds_is_a_share_of_votes() -> None:
    sizes = np.full((1, 4), 8.0)
    kinds = np.array([[[3.0], [6.0], [6.0], [1.0]]])
    drawn = draw_labels(Readers(sizes, kinds, (schema.CALCIFICATION,)), parse_query("calcified"), 60, 0)
    pairs = {(bool(truth), round(float(panel), 6)) for truth, panel in zip(drawn.truth[:, 0], drawn.panel[:, 0])}  # noqa: B905
    assert pairs == {(True, round(1 / 3, 6)), (False, round(2 / 3, 6))}


def test_rules_of_ratings() -> None:
    texture, kinds = RatingRange(schema.TEXTURE, 4, 5), RatingRange(schema.CALCIFICATION, 1, 5)
    scores = score_rating(np.array([5.0, 4, 3, 2, math.nan]), texture)
    np.testing.assert_allclose(scores, [1, 1, math.exp(-0.5), math.exp(-2), math.nan])
    np.testing.assert_array_equal(score_rating(np.array([6.0, 1]), kinds), [0, 1])
    product = multiply_rules([np.array([0.5, math.nan, math.nan]), np.array([0.5, 0.25, math.nan])])
    np.testing.assert_allclose(product, [0.25, 0.25, math.nan])


def test_only_sentences_that_readers_rated_are_listed() -> None:
    parsed_queries = parse_queries(["> 6 mm", "a pleural nodule", "a solid nodule", "a spiculated nodule"])
    assert list_known(parsed_queries, ATTRIBUTES) == [0, 2]
    assert list_known(parse_queries(RATING_QUERIES), ()) == []
