"""Estimates are those of a slow loop over readers' distributions, and the words say what they say."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.language import ATTRIBUTES, RATING_QUERIES, last_rating
from noduleclip.language.query import parse_query
from noduleclip.retrieval.descriptions import describe_nodules, describe_size
from noduleclip.retrieval.estimates import (
    PHRASES,
    SWEPT_MM,
    Estimates,
    Estimator,
    estimate,
    find_quantiles,
    make_sweep,
)
from noduleclip.retrieval.fusion import Calibration

EMB = 24


class ScriptedEncoder:
    """A text encoder that keeps the sentences that it was given; each has an axis of its own."""

    def __init__(self, attributes: Sequence[str] = ATTRIBUTES) -> None:
        self.attributes = tuple(attributes)
        self.calibration = Calibration(1.0, 0.0)
        self.sentences: list[str] = []

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        self.sentences = list(sentences)
        return np.eye(len(sentences), dtype=np.float32)


class RandomEncoder(ScriptedEncoder):
    """A text encoder of random directions, whose tails rise and fall."""

    def __init__(self, attributes: Sequence[str] = ATTRIBUTES) -> None:
        super().__init__(attributes)
        self.calibration = Calibration(6.0, -1.0)

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        self.sentences = list(sentences)
        vectors = np.random.default_rng(5).normal(size=(len(sentences), EMB)).astype(np.float32)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def probability(encoder: ScriptedEncoder, sentence: str, vector: NDArray[np.float32]) -> float:
    """The probability of a sentence by the definition."""
    at = encoder.sentences.index(sentence)
    cosine = float(encoder.encode(encoder.sentences)[at].astype(np.float64) @ vector.astype(np.float64))
    return 1 / (1 + math.exp(-(encoder.calibration.scale * cosine + encoder.calibration.bias)))


def lowest_so_far(values: Sequence[float]) -> list[float]:
    return [min(values[: at + 1]) for at in range(len(values))]


def quantile_by_loop(tail: Sequence[float], share: float) -> float:
    """Where the running minimum of a tail crosses 1 - share."""
    falling = lowest_so_far(tail)
    for at, value in enumerate(falling):
        if value < 1 - share:
            if at == 0:
                return SWEPT_MM[0]
            before = falling[at - 1]
            return SWEPT_MM[at - 1] + (before - (1 - share)) / (before - value) * (SWEPT_MM[at] - SWEPT_MM[at - 1])
    return SWEPT_MM[-1]


@pytest.fixture(scope="module")
def embeddings() -> NDArray[np.float32]:
    vectors = np.random.default_rng(7).normal(size=(50, EMB)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_estimates_are_those_of_a_loop(embeddings: NDArray[np.float32]) -> None:
    encoder = RandomEncoder()
    found = estimate(encoder, embeddings)
    for row in range(0, 50, 7):
        vector = embeddings[row]
        tail = [probability(encoder, f"a lung nodule with diameter > {mm:g} mm", vector) for mm in SWEPT_MM]
        for values, share in ((found.diameter_low_mm, 0.1), (found.diameter_mm, 0.5), (found.diameter_high_mm, 0.9)):
            assert values[row] == pytest.approx(quantile_by_loop(tail, share), abs=1e-3)
        for name in ATTRIBUTES:
            last = last_rating(name)
            if name == schema.CALCIFICATION:  # kinds
                each = [probability(encoder, f"a lung nodule, {name} {kind}", vector) for kind in range(1, last + 1)]
                shares = [one / sum(each) for one in each]
            else:
                sentences = [f"a lung nodule, {name} >= {rating}" for rating in range(2, last + 1)]
                at_least = [1.0, *lowest_so_far([probability(encoder, sentence, vector) for sentence in sentences])]
                shares = [high - low for high, low in zip(at_least, [*at_least[1:], 0.0], strict=True)]
            assert found.distributions[name][row].tolist() == pytest.approx(shares, abs=1e-5)
            median = next(rating for rating in range(1, last + 1) if sum(shares[:rating]) >= 0.5)
            assert found.ratings[name][row] == median
        for name, sentence in PHRASES.items():
            assert found.phrases[name][row] == pytest.approx(probability(encoder, sentence, vector), abs=1e-6)


def test_distributions_are_distributions(embeddings: NDArray[np.float32]) -> None:
    found = estimate(RandomEncoder(), embeddings)
    assert (found.diameter_low_mm <= found.diameter_mm).all()
    assert (found.diameter_mm <= found.diameter_high_mm).all()
    for name in ATTRIBUTES:
        shares = found.distributions[name]
        assert shares.shape == (50, last_rating(name))
        assert (shares >= 0).all()
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)


def test_a_row_does_not_depend_on_the_rows_beside_it(embeddings: NDArray[np.float32]) -> None:
    """Shards and whole tables have the same columns."""
    many = np.tile(embeddings, (120, 1))  # more than a block
    estimator = Estimator(RandomEncoder())
    alone, together = estimator.estimate(embeddings[3:4]), estimator.estimate(many)
    assert len(together) == 6000
    for at in (3, 53, 4103, 5953):
        assert together.diameter_mm[at] == alone.diameter_mm[0]
        shares = together.distributions[schema.MALIGNANCY][at]
        assert shares.tolist() == alone.distributions[schema.MALIGNANCY][0].tolist()
        assert together.phrases["solid"][at] == alone.phrases["solid"][0]
    assert len(estimator.estimate(embeddings[:0])) == 0


def test_only_known_attributes_are_estimated(embeddings: NDArray[np.float32]) -> None:
    found = estimate(RandomEncoder((schema.MARGIN, schema.MALIGNANCY)), embeddings)
    assert list(found.ratings) == list(found.distributions) == [schema.MARGIN, schema.MALIGNANCY]
    assert set(found.phrases) == {"poorly_defined", "suspicious", "highly_suspicious", "benign"}  # "smooth" needs three
    sizes_alone = estimate(RandomEncoder(()), embeddings)
    assert not sizes_alone.ratings
    assert not sizes_alone.phrases
    assert describe_nodules(sizes_alone)[0] == describe_size(
        sizes_alone.diameter_mm[0], sizes_alone.diameter_low_mm[0], sizes_alone.diameter_high_mm[0]
    )


def test_every_sentence_is_understood() -> None:
    encoder = ScriptedEncoder()
    Estimator(encoder)
    parsed = [parse_query(sentence) for sentence in encoder.sentences]
    assert all(one.has_criteria and not one.notes for one in parsed)
    assert [one.interval.low_mm for one in parsed if one.interval is not None] == list(SWEPT_MM)
    assert len(encoder.sentences) == len(SWEPT_MM) + 4 * 7 + 6 + len(PHRASES)
    single = {query for query in RATING_QUERIES if len(parse_query(query).ratings) != 2 and "mm" not in query}
    assert single <= set(PHRASES.values())


def tails(medians: list[float], width: float) -> NDArray[np.float64]:
    """(X, N) logistic upper tails of the logarithm."""
    swept = np.log(SWEPT_MM)[:, None]
    return np.asarray(1 / (1 + np.exp((swept - np.log(medians)) / width)))


def test_the_median_is_implied() -> None:
    medians = [2.1, 5.0, 7.3, 18.2, 44.0]
    for width in (0.05, 0.3):
        np.testing.assert_allclose(find_quantiles(tails(medians, width), (0.5,))[0], medians, atol=0.03)


def test_quantiles_are_those_of_the_distribution() -> None:
    medians, width = np.array([5.0, 7.3, 18.2]), 0.1
    shares = (0.1, 0.5, 0.9)
    found = find_quantiles(tails(medians.tolist(), width), shares)
    for share, quantile in zip(shares, found, strict=True):
        np.testing.assert_allclose(quantile, medians * math.exp(width * math.log(share / (1 - share))), atol=0.03)


def test_a_tail_that_never_crosses_a_half_implies_an_end() -> None:
    swept = len(SWEPT_MM)
    assert find_quantiles(np.stack([np.ones(swept), np.zeros(swept)], axis=1), (0.5,))[0].tolist() == [45, 2]


def test_a_tail_that_rises_again_counts_once() -> None:
    tail = tails([8.0], 0.1)
    tail[-5:] = 0.9
    np.testing.assert_allclose(find_quantiles(tail, (0.5,))[0], 8.0, atol=0.03)


def make_estimates(size: tuple[float, float, float], texture: Sequence[float] = (), **phrases: float) -> Estimates:
    """Estimates of one nodule."""
    diameter, low, high = (np.array([mm], np.float32) for mm in size)
    distributions = {schema.TEXTURE: np.array([texture], np.float32)} if texture else {}
    return Estimates(
        diameter, low, high, {}, distributions, {name: np.array([p], np.float32) for name, p in phrases.items()}
    )


SOLID = (0.0, 0.0, 0.05, 0.05, 0.9)


@pytest.mark.parametrize(
    ("estimates", "expected"),
    [
        (
            make_estimates(
                (7.2, 5.9, 8.6), SOLID, calcified=0.03, smooth=0.9, poorly_defined=0.02, lobulated=0.1,
                spiculated=0.02, subtle=0.2, benign=0.8, suspicious=0.05, highly_suspicious=0.01,
            ),
            "about 7.2 mm (5.9-8.6), solid, smooth margin, not spiculated, probably benign",
        ),
        (
            make_estimates(
                (18.0, 15.5, 21.3), (0.1, 0.1, 0.1, 0.3, 0.4), smooth=0.02, poorly_defined=0.7, lobulated=0.55,
                spiculated=0.84, benign=0.02, suspicious=0.95, highly_suspicious=0.7,
            ),
            (
                "about 18.0 mm (15.5-21.3), probably solid, probably poorly defined margin, possibly lobulated, "
                "probably spiculated, probably highly suspicious"
            ),
        ),
        (
            make_estimates(
                (5.0, 4.0, 6.0), (0.3, 0.3, 0.3, 0.1, 0.0), calcified=0.9, spiculated=0.3, subtle=0.86,
                benign=0.4, suspicious=0.3, highly_suspicious=0.1,
            ),
            "about 5.0 mm (4.0-6.0), possibly ground-glass, calcified, subtle, indeterminate",
        ),
        (
            make_estimates(
                (5.0, 4.0, 6.0), (0.2, 0.2, 0.25, 0.25, 0.1), benign=0.1, suspicious=0.99, highly_suspicious=0.6
            ),
            "about 5.0 mm (4.0-6.0), probably suspicious",
        ),
        (make_estimates((45.0, 38.2, 45.0)), "over 45 mm (38.2-45.0)"),
        (make_estimates((2.0, 2.0, 3.1)), "under 2 mm (2.0-3.1)"),
    ],
)  # fmt: skip
def test_words(estimates: Estimates, expected: str) -> None:
    assert describe_nodules(estimates) == [expected]


def words_by_loop(estimates: Estimates, at: int) -> str:
    """The description of one nodule, word by word."""

    def grade(word: str, p: float) -> list[str]:
        return [] if p < 0.5 else [f"possibly {word}" if p < 0.65 else f"probably {word}" if p < 0.85 else word]

    texture = estimates.distributions[schema.TEXTURE][at]
    kinds = {"ground-glass": texture[0] + texture[1], "part-solid": texture[2], "solid": texture[3] + texture[4]}
    p = {name: float(values[at]) for name, values in estimates.phrases.items()}
    words = [word for kind, share in kinds.items() if share == max(kinds.values()) for word in grade(kind, share)]
    for name, word in (
        ("calcified", "calcified"), ("smooth", "smooth margin"), ("poorly_defined", "poorly defined margin"),
        ("lobulated", "lobulated"), ("spiculated", "spiculated"),
    ):  # fmt: skip
        words += grade(word, p[name])
    words += ["not spiculated"] if p["spiculated"] <= 0.15 else []
    words += grade("subtle", p["subtle"])
    if p["highly_suspicious"] >= 0.65 and p["highly_suspicious"] > p["benign"]:
        verdict = grade("highly suspicious", p["highly_suspicious"])
    elif p["highly_suspicious"] < 0.65 and p["suspicious"] > p["benign"]:
        verdict = grade("suspicious", p["suspicious"])
    else:
        verdict = grade("benign", p["benign"])
    verdict = [word if word.startswith("p") else f"probably {word}" for word in verdict]
    ends = (estimates.diameter_mm, estimates.diameter_low_mm, estimates.diameter_high_mm)
    size = describe_size(*(float(end[at]) for end in ends))
    return ", ".join([size, *words, *(verdict or ["indeterminate"])])


def test_words_are_those_of_a_loop(embeddings: NDArray[np.float32]) -> None:
    found = estimate(RandomEncoder(), embeddings)
    described = describe_nodules(found)
    assert len(set(described)) > 30
    assert described == [words_by_loop(found, at) for at in range(50)]


def test_the_sweep_asks_for_its_thresholds() -> None:
    assert [parse_query(sentence).interval.low_mm for sentence in make_sweep()] == list(SWEPT_MM)  # type: ignore[union-attr]
