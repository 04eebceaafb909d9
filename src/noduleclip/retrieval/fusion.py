"""Fusion of the image with the measured diameter: `score = alpha * probability + (1 - alpha) * rule`.

Both parts lie in [0, 1], so that alpha weighs like with like: the cosine of sentence and crop enters through the
model's own scale and bias, as the probability that the sentence is true of the crop (docs/decisions/0005-fusion.md).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.language import NOMINAL, RatingRange, SizeInterval
from noduleclip.language.query import ParsedQuery

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Map from a cosine to a probability: `sigmoid(scale * cosine + bias)`."""

    scale: float
    bias: float

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> "Calibration":
        """Parse the calibration in an encoder's file.

        Raises:
            KeyError: There is none.
            ValueError: It is no finite number.
        """
        scale, bias = float(texts["scale"]), float(texts["bias"])
        if not (math.isfinite(scale) and math.isfinite(bias)):
            raise ValueError(f"scale {scale}, bias {bias}")
        return cls(scale, bias)

    def to_probability(self, cosines: NDArray[np.floating]) -> Floats:
        """Map cosines in [-1, 1] to probabilities, in float64 so that the order is kept."""
        with np.errstate(over="ignore"):  # the exponential of a large logit is infinite, and the probability 0
            return np.asarray(1 / (1 + np.exp(-(self.scale * cosines.astype(np.float64) + self.bias))))


def score_rule(diameters_mm: Floats, interval: SizeInterval, softness_mm: float) -> Floats:
    """Score measured diameters against an interval.

    Args:
        diameters_mm: (N,) diameters; NaN where none was measured.
        interval: What was asked for.
        softness_mm: Distance outside the interval at which the score is exp(-1/2); 0 = a hard filter.

    Returns:
        (N,) 1 inside, falling as a Gaussian of the distance outside, NaN without a diameter.
    """
    inside = interval.contains_each(diameters_mm)
    distance = np.maximum(np.maximum(interval.low_mm - diameters_mm, diameters_mm - interval.high_mm), 0)
    outside = np.exp(-0.5 * (distance / softness_mm) ** 2) if softness_mm > 0 else np.zeros_like(distance)
    return np.asarray(np.where(np.isnan(diameters_mm), np.nan, np.where(inside, 1.0, outside)))


def score_rating(ratings: Floats, asked: RatingRange) -> Floats:
    """Score ratings against a range.

    Args:
        ratings: (N,) ratings; NaN where there is none.
        asked: What was asked for.

    Returns:
        (N,) 1 inside, falling as a Gaussian of the steps outside, by one step to exp(-1/2); 0 outside where ratings are
        kinds and not degrees; NaN without a rating.
    """
    inside = (ratings >= asked.low) & (ratings <= asked.high)
    steps = np.maximum(np.maximum(asked.low - ratings, ratings - asked.high), 0)
    outside = np.zeros_like(steps) if asked.attribute in NOMINAL else np.exp(-0.5 * steps**2)
    return np.asarray(np.where(np.isnan(ratings), np.nan, np.where(inside, 1.0, outside)))


def multiply_rules(parts: Sequence[Floats]) -> Floats:
    """Return the product of rule scores (N,), ignoring NaN; NaN where all are NaN."""
    stacked = np.stack(parts)
    known = np.isfinite(stacked)
    return np.asarray(np.where(known.any(axis=0), np.where(known, stacked, 1.0).prod(axis=0), np.nan))


def score_query(parsed: ParsedQuery, read: Callable[[str], Floats], softness_mm: float) -> Floats:
    """Score rows by the criteria of a sentence: the diameter and each rating.

    Args:
        parsed: The sentence; it asks for something.
        read: Gives (N,) measured values by column name, NaN where there are none.
        softness_mm: As in `score_rule`.

    Returns:
        (N,) the product of what is known; NaN where nothing is.
    """
    sized = [] if parsed.interval is None else [score_rule(read(schema.DIAMETER_MM), parsed.interval, softness_mm)]
    return multiply_rules([*sized, *(score_rating(read(asked.attribute), asked) for asked in parsed.ratings)])


def fuse_scores(probability: Floats, rule: Floats, alpha: float) -> Floats:
    """Mix the two parts; an item without a rule score keeps its probability alone.

    Args:
        probability: (..., N) probabilities from the encoders.
        rule: (..., N) rule scores; NaN where there is none.
        alpha: Weight of the probability, in [0, 1].
    """
    return np.where(np.isnan(rule), probability, alpha * probability + (1 - alpha) * rule)


def mix_likeness(probability: Floats, likeness: NDArray[np.floating], weight: float) -> Floats:
    """Mix the probability of a sentence with the likeness to a nodule (docs/decisions/0010-similar-nodules.md).

    Args:
        probability: (N,) probabilities that the sentence is true.
        likeness: (N,) cosines with the other nodule's image, in [-1, 1]; (1 + likeness) / 2 lies in [0, 1], too.
        weight: Weight of the likeness, in [0, 1].
    """
    return np.asarray((1 - weight) * probability + weight * (1 + likeness.astype(np.float64)) / 2)
