"""Readers (radiologists): their diameters and ratings, and how they rank nodules for a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.config import SOFTNESS_MM
from noduleclip.evaluation.metrics import draw_pairs, rank_by_diameter
from noduleclip.language import NOMINAL, RatingRange, last_rating
from noduleclip.language.query import ParsedQuery
from noduleclip.retrieval.fusion import multiply_rules, score_rating, score_rule

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Readers:
    """Readings of N nodules by up to R readers.

    Attributes:
        diameters_mm: (N, R) diameters, NaN where a nodule has fewer readers.
        ratings: (N, R, A) ratings by the same readers, NaN where one is missing.
        attributes: The A rated attributes, by column name.
    """

    diameters_mm: Floats
    ratings: Floats
    attributes: tuple[str, ...]

    def take(self, rows: NDArray[np.int64]) -> "Readers":
        """Select nodules, which may be repeated."""
        return Readers(self.diameters_mm[rows], self.ratings[rows], self.attributes)

    def rating(self, attribute: str) -> Floats:
        """Return (N, R) ratings of one attribute."""
        return self.ratings[:, :, self.attributes.index(attribute)]

    def valid_mask(self, parsed: ParsedQuery) -> Bools:
        """Return (N, R) which readers gave a diameter and all ratings that a sentence asks for."""
        valid = np.isfinite(self.diameters_mm)
        for asked in parsed.ratings:
            valid = valid & np.isfinite(self.rating(asked.attribute))
        return valid

    def find_nodules(self, parsed: ParsedQuery, least_readers: int) -> NDArray[np.int64]:
        """Return the nodules that at least so many valid readers have read (`valid_mask`)."""
        return np.flatnonzero(self.valid_mask(parsed).sum(axis=1) >= least_readers)

    def find_true(self, parsed: ParsedQuery) -> Bools:
        """Return (N, R) by which readers a sentence is true; False for NaN."""
        true = np.isfinite(self.diameters_mm)
        if parsed.interval is not None:
            true = true & parsed.interval.contains_each(self.diameters_mm)
        for asked in parsed.ratings:
            rating = self.rating(asked.attribute)
            true = true & (rating >= asked.low) & (rating <= asked.high)
        return true


@dataclass(frozen=True)
class DrawnLabels:
    """Relevance and scores of N nodules in K draws of a true reader.

    Attributes:
        truth: (K, N) whether the sentence is true by the reader drawn.
        second: (K, N) score by another reader; NaN where there is no other.
        panel: (K, N) score by all other readers together; NaN where there is none.
    """

    truth: Bools
    second: Floats
    panel: Floats


def draw_labels(readers: Readers, parsed: ParsedQuery, draws: int, seed: int) -> DrawnLabels:
    """Draw a true reader for each nodule, and score the nodules by another reader and by all others together.

    Args:
        readers: Readings; each nodule has a valid reader (`valid_mask`).
        parsed: The sentence, with a size or a rating.
        draws: K.
        seed: Seed of the draws.
    """
    valid = readers.valid_mask(parsed)
    first, other = draw_pairs(valid, draws, seed)
    nodules = np.arange(len(valid))
    others = valid.sum(axis=1) - 1
    alone = others == 0

    def of_panel(values: Floats, second: Floats) -> Floats:
        """Return (K, N) means of the other readers' values (N, R); a single one exactly, so that ties stay."""
        total = np.where(valid, values, 0).sum(axis=1)
        mean = (total - values[nodules, first]) / np.maximum(others, 1)
        return np.where(alone, np.nan, np.where(others == 1, second, mean))

    seconds: dict[str, Floats] = {}
    panels: dict[str, Floats] = {}
    for asked in parsed.ratings:
        values = readers.rating(asked.attribute)
        if asked.attribute in NOMINAL:  # a share of votes: kinds have no mean
            values = ((values >= asked.low) & (values <= asked.high)).astype(np.float64)
        seconds[asked.attribute] = values[nodules, other]
        panels[asked.attribute] = of_panel(values, seconds[asked.attribute])
    second_mm = readers.diameters_mm[nodules, other]
    panel_mm = of_panel(readers.diameters_mm, second_mm)
    rankings = [_rank(parsed, second_mm, seconds), _rank(parsed, panel_mm, panels)]
    return DrawnLabels(
        readers.find_true(parsed)[nodules, first], *(np.where(alone, np.nan, scores) for scores in rankings)
    )


def _rank(parsed: ParsedQuery, diameters_mm: Floats, ratings: dict[str, Floats]) -> Floats:
    """Score nodules by values as a reader would rank them for a sentence; higher is better."""
    if parsed.interval is not None and not parsed.ratings:
        return rank_by_diameter(parsed.interval, diameters_mm)
    if parsed.interval is None and len(parsed.ratings) == 1:
        return _rank_by_rating(parsed.ratings[0], ratings[parsed.ratings[0].attribute])
    parts = [] if parsed.interval is None else [score_rule(diameters_mm, parsed.interval, SOFTNESS_MM)]
    for asked in parsed.ratings:
        values = ratings[asked.attribute]
        parts.append(values if asked.attribute in NOMINAL else score_rating(values, asked))
    return multiply_rules(parts)


def _rank_by_rating(asked: RatingRange, ratings: Floats) -> Floats:
    """Score ratings: descending for a range at the end of the scale, ascending at its start, else from its middle."""
    if asked.attribute in NOMINAL or asked.high == last_rating(asked.attribute):
        return ratings
    return -ratings if asked.low == 1 else -np.abs(ratings - (asked.low + asked.high) / 2)


def list_known(parsed_queries: Sequence[ParsedQuery], attributes: Sequence[str]) -> list[int]:
    """Return the positions of sentences with a size or a rating, all of whose ratings are among `attributes`."""
    return [
        at
        for at, parsed in enumerate(parsed_queries)
        if parsed.has_criteria and all(asked.attribute in attributes for asked in parsed.ratings)
    ]
