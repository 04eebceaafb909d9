"""Choice of the fusion weight alpha on validation nodules."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.metrics import draw_readers, mean_average_precisions
from noduleclip.language import SizeInterval
from noduleclip.retrieval.fusion import fuse_scores, score_rule

Floats = NDArray[np.float64]
ALPHAS = tuple(step / 20 for step in range(21))


def choose_alpha(
    probability: Floats,
    diameters_mm: Floats,
    intervals: Sequence[SizeInterval],
    softness_mm: float,
    draws: int = 20,
) -> tuple[float, Floats]:
    """Choose alpha on validation nodules with several readers: one reader measures, another is the truth.

    With the measuring reader as truth, the rule alone would always win.

    Args:
        probability: (Q, N) probabilities from the encoders, one row per query.
        diameters_mm: (N, R) diameters by reader, at least two a nodule, NaN-padded.
        intervals: Q intervals.
        softness_mm: As in `score_rule`.
        draws: Draws of (true reader, measuring reader).

    Returns:
        The alpha of `ALPHAS` with the highest mean average precision, the smaller one if tied, and
        (len(ALPHAS),) that mean for each.
    """
    drawn = draw_readers(diameters_mm, draws)
    rules = np.stack([score_rule(drawn.second_mm, interval, softness_mm) for interval in intervals])
    means = []
    for alpha in ALPHAS:
        scores = fuse_scores(np.broadcast_to(probability[:, None, :], rules.shape), rules, alpha)
        means.append(np.nanmean(mean_average_precisions(scores, intervals, drawn.truth_mm)))
    return ALPHAS[int(np.argmax(means))], np.array(means)
