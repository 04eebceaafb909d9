"""Evaluation by parts: bands of size, manufacturers, and fusion weights."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.alpha import ALPHAS, choose_alpha
from noduleclip.evaluation.bootstrap import Comparison
from noduleclip.evaluation.protocol import Rankings, evaluate_rankings
from noduleclip.language import SizeInterval
from noduleclip.language.query import ParsedQuery

BANDS: Final = ("<= 4 mm", "4-6 mm", "6-8 mm", "8-10 mm", "10-15 mm", "15-20 mm", "20-30 mm", "> 30 mm")
_FEWEST_NODULES: Final = 20
_RESAMPLES: Final = 100


@dataclass(frozen=True)
class Part:
    """Evaluation of some nodules, on those with two readers or more.

    Attributes:
        name: The band or the group.
        nodules: Nodules in the band by the true reader, or nodules of the group.
        ap: Average precision (for a group, the mean over queries) of the model beside the readers.
    """

    name: str
    nodules: int
    ap: Comparison


@dataclass(frozen=True)
class Breakdown:
    """The parts of an evaluation.

    Attributes:
        by_size: Each band of sizes.
        by_manufacturer: Each manufacturer with enough nodules.
        by_alpha: (alpha, mean average precision of the fusion).
    """

    by_size: list[Part]
    by_manufacturer: list[Part]
    by_alpha: list[tuple[float, float]]


def evaluate_bands(rankings: Rankings, parsed_queries: Sequence[ParsedQuery], *, draws: int, seed: int) -> list[Part]:
    """Evaluate a query for each of `BANDS`; bands without a nodule of two readers are left out.

    Args:
        rankings: Rankings for the bands.
        parsed_queries: The bands as queries.
        draws: Draws of the true reader.
        seed: Seed of the draws and of the bootstrap.
    """
    results = evaluate_rankings(rankings, BANDS, parsed_queries, draws=draws, resamples=_RESAMPLES, seed=seed)
    return [
        Part(band, round(query.base_rate * query.common), query.readers["ap"])
        for band, query in zip(BANDS, results.queries, strict=True)
        if query.readers and not np.isnan(query.readers["ap"].model.mean)
    ]


def evaluate_groups(
    rankings: Rankings,
    groups: Sequence[str],
    queries: Sequence[str],
    parsed_queries: Sequence[ParsedQuery],
    *,
    draws: int,
    seed: int,
) -> list[Part]:
    """Evaluate each group of nodules by itself.

    Args:
        rankings: Rankings for the sentences.
        groups: Group of each of the N nodules, empty for none; small groups are left out.
        queries: The sentences.
        parsed_queries: The same parsed.
        draws: Draws of the true reader.
        seed: Seed of the draws and of the bootstrap.

    Returns:
        Largest group first.
    """
    parts = []
    for name, _ in Counter(group for group in groups if group).most_common():
        some = rankings.take(np.flatnonzero(np.array(groups) == name))
        results = evaluate_rankings(some, queries, parsed_queries, draws=draws, resamples=_RESAMPLES, seed=seed)
        if results.common >= _FEWEST_NODULES and not np.isnan(results.readers["ap"].model.mean):
            parts.append(Part(name, results.common, results.readers["ap"]))
    return parts


def sweep_alpha(
    probabilities: NDArray[np.float64],
    diameters_mm: NDArray[np.float64],
    intervals: Sequence[SizeInterval],
    softness_mm: float,
) -> list[tuple[float, float]]:
    """Return (alpha, mean AP) of the fusion at each alpha, where one reader measures and another one is the truth.

    Args:
        probabilities: (Q, N) probabilities from the encoders.
        diameters_mm: (N, R) diameters by reader, NaN-padded; nodules with fewer than two are left out.
        intervals: Q intervals.
        softness_mm: As in `score_rule`.
    """
    several = np.isfinite(diameters_mm).sum(axis=1) >= 2
    if not several.any():
        return []
    _, means = choose_alpha(probabilities[:, several], diameters_mm[several], intervals, softness_mm)
    return [(alpha, float(mean)) for alpha, mean in zip(ALPHAS, means, strict=True)]
