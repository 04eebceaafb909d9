"""Estimates of a nodule's size and ratings: what the text encoder's sentences say of its image.

A sentence's probability is the share of readers of whom it would be true, so the sentences "larger than x mm" of all x
are the distribution of a reader's diameter, and "malignancy >= k" of all k that of a reader's rating. Ratings that are
kinds and not degrees (calcification) have a sentence per kind.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from noduleclip.language.query import list_attributes, parse_query
from noduleclip.language.rating_scale import NOMINAL, last_rating
from noduleclip.retrieval.fusion import Calibration
from noduleclip.retrieval.top_k import Gallery

Floats = NDArray[np.float64]
Estimated = NDArray[np.float32]

SWEPT_MM = tuple(step / 4 for step in range(8, 181))
"""Thresholds x that are swept, ascending: 2 to 45 mm."""
QUANTILES = (0.1, 0.5, 0.9)
"""Low end of the interval of the diameter, the diameter, high end."""
PHRASES = {
    "spiculated": "a spiculated lung nodule",
    "lobulated": "a lobulated lung nodule",
    "smooth": "a lung nodule with a smooth margin",
    "poorly_defined": "a lung nodule with a poorly defined margin",
    "round": "a round lung nodule",
    "ground_glass": "a ground-glass lung nodule",
    "part_solid": "a part-solid lung nodule",
    "solid": "a solid lung nodule",
    "calcified": "a calcified lung nodule",
    "suspicious": "a suspicious lung nodule",
    "highly_suspicious": "a highly suspicious lung nodule",
    "benign": "a benign lung nodule",
    "subtle": "a subtle lung nodule",
}
"""Sentences whose probability is estimated, by the name that columns have."""
_ROWS_AT_ONCE = 4096


class Encoder(Protocol):
    """Text encoder, with the attributes that it was trained on."""

    calibration: Calibration
    attributes: tuple[str, ...]

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Embed sentences: (Q, D) unit vectors."""


@dataclass(frozen=True)
class Estimates:
    """Sizes and ratings of N nodules as their images show them.

    Attributes:
        diameter_mm: (N,) median of a reader's diameter.
        diameter_low_mm: (N,) its 10 % quantile.
        diameter_high_mm: (N,) its 90 % quantile.
        ratings: (N,) median of a reader's rating, by attribute.
        distributions: (N, K) probability of each rating from 1 to K, by attribute; sums to 1.
        phrases: (N,) probability of each sentence of `PHRASES` whose attributes the encoder knows.
    """

    diameter_mm: Estimated
    diameter_low_mm: Estimated
    diameter_high_mm: Estimated
    ratings: dict[str, Estimated]
    distributions: dict[str, Estimated]
    phrases: dict[str, Estimated]

    def __len__(self) -> int:
        return len(self.diameter_mm)


class Estimator:
    """Estimates nodules again and again; the sentences are encoded once."""

    def __init__(self, encoder: Encoder) -> None:
        """Encode all sentences.

        Raises:
            ArtefactError: The encoder is broken.
        """
        self.attributes = encoder.attributes
        self._calibration = encoder.calibration
        self._phrases = [name for name, sentence in PHRASES.items() if _is_known(sentence, self.attributes)]
        sentences = [make_sweep(), *map(_make_rating_sweep, self.attributes), [PHRASES[name] for name in self._phrases]]
        self._ends = [0, *itertools.accumulate(map(len, sentences))]
        # In float64: a row's values, rounded to float32, then do not depend on the rows beside it.
        self._vectors = encoder.encode(list(itertools.chain(*sentences))).astype(np.float64)

    def estimate(self, embeddings: Gallery) -> Estimates:
        """Estimate nodules, in blocks of rows so that memory does not grow with them beyond the result.

        Args:
            embeddings: (N, D) unit rows; may be memory-mapped.
        """
        starts = range(0, max(1, len(embeddings)), _ROWS_AT_ONCE)  # a block without rows where there are none
        return _concatenate([self._estimate(embeddings[start : start + _ROWS_AT_ONCE]) for start in starts])

    def estimate_none(self) -> Estimates:
        """Return the estimates of no nodules."""
        return self._estimate(np.empty((0, self._vectors.shape[1]), np.float32))

    def _estimate(self, embeddings: NDArray[np.float32]) -> Estimates:
        probabilities = self._calibration.to_probability(self._vectors @ embeddings.astype(np.float64).T)
        sweep, *rated, phrases = (probabilities[start:end] for start, end in itertools.pairwise(self._ends))
        low, middle, high = find_quantiles(sweep, QUANTILES).astype(np.float32)
        shares = {name: _find_shares(name, found) for name, found in zip(self.attributes, rated, strict=True)}
        return Estimates(
            middle,
            low,
            high,
            {name: _find_medians(one).astype(np.float32) for name, one in shares.items()},
            {name: one.astype(np.float32) for name, one in shares.items()},
            {name: phrase.astype(np.float32) for name, phrase in zip(self._phrases, phrases, strict=True)},
        )


def estimate(encoder: Encoder, embeddings: Gallery) -> Estimates:
    """Estimate the size and the ratings of nodules.

    Args:
        encoder: The text encoder that belongs to the embeddings.
        embeddings: (N, D) unit rows; may be memory-mapped.

    Raises:
        ArtefactError: The encoder is broken.
    """
    return Estimator(encoder).estimate(embeddings)


def make_sweep() -> list[str]:
    """Return a sentence per threshold of `SWEPT_MM`."""
    return [f"a lung nodule with diameter > {mm:g} mm" for mm in SWEPT_MM]


def find_quantiles(probabilities: Floats, shares: Sequence[float]) -> Floats:
    """Return quantiles of the distribution whose upper tail the probabilities are.

    Args:
        probabilities: (X, N) probability that each nodule is larger than each threshold of `SWEPT_MM`.
        shares: For each of Q quantiles the share of readers whose diameter is at most that, in (0, 1).

    Returns:
        (Q, N) in mm, by linear interpolation between thresholds; the first or last threshold where the probability
        never crosses 1 - share. A tail that rises again is taken at its running minimum.
    """
    tail = np.minimum.accumulate(probabilities, axis=0)
    return np.stack([_find_crossings(tail, 1 - share) for share in shares])


def _find_crossings(tail: Floats, level: float) -> Floats:
    """Return the (N,) places in mm where a falling tail (X, N) crosses a level."""
    thresholds, nodules = np.array(SWEPT_MM), np.arange(tail.shape[1])
    crossed = (tail >= level).sum(axis=0)  # the first threshold below the level
    after = np.minimum(crossed, len(thresholds) - 1)
    before = np.maximum(after - 1, 0)
    high, low = tail[before, nodules], tail[after, nodules]
    weight = np.clip((high - level) / np.where(high > low, high - low, 1), 0, 1)
    inside = thresholds[before] + weight * (thresholds[after] - thresholds[before])
    return np.asarray(np.where(crossed < len(thresholds), inside, thresholds[-1]))


def _find_shares(attribute: str, probabilities: Floats) -> Floats:
    """Return the (N, K) probabilities of K ratings from those of the sentences of `_make_rating_sweep`."""
    if attribute in NOMINAL:
        return np.asarray((probabilities / probabilities.sum(axis=0)).T)
    tail = np.minimum.accumulate(probabilities, axis=0)
    nodules = tail.shape[1]
    return np.asarray((np.vstack([np.ones(nodules), tail]) - np.vstack([tail, np.zeros(nodules)])).T)


def _find_medians(shares: Floats) -> Floats:
    """Return the (N,) medians of distributions (N, K) of the ratings 1 to K."""
    return np.asarray(1 + (np.cumsum(shares, axis=1) < 0.5).sum(axis=1), np.float64)


def _make_rating_sweep(attribute: str) -> list[str]:
    """Return the sentences that yield the distribution of a rating: "at least k", or one per kind where it is kinds."""
    last = last_rating(attribute)
    if attribute in NOMINAL:
        return [f"a lung nodule, {attribute} {rating}" for rating in range(1, last + 1)]
    return [f"a lung nodule, {attribute} >= {rating}" for rating in range(2, last + 1)]


def _is_known(sentence: str, attributes: Sequence[str]) -> bool:
    return set(list_attributes([parse_query(sentence)])) <= set(attributes)


def _concatenate(parts: Sequence[Estimates]) -> Estimates:
    """Join the estimates of blocks of rows."""
    return Estimates(
        np.concatenate([part.diameter_mm for part in parts]),
        np.concatenate([part.diameter_low_mm for part in parts]),
        np.concatenate([part.diameter_high_mm for part in parts]),
        _join([part.ratings for part in parts]),
        _join([part.distributions for part in parts]),
        _join([part.phrases for part in parts]),
    )


def _join(parts: Sequence[dict[str, Estimated]]) -> dict[str, Estimated]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
