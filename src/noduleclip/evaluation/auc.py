"""Area under the ROC curve of weighted items."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def weighted_auc(scores: NDArray[np.floating], positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Compute the share of pairs, one positive and one negative item, in which the positive one scores higher.

    Args:
        scores: (M,) higher is more positive; a tie is half a pair.
        positive: (M,) which items are positive.
        weights: (W, M) weights of the items, one row for each result.

    Returns:
        (W,) in [0, 1]; NaN where the positive or the negative items weigh nothing.

    Source: Hanley and McNeil, Radiology 143:29-36, 1982.
    """
    order = np.argsort(scores, kind="stable")
    _, starts = np.unique(scores[order], return_index=True)
    if len(starts) == 0:
        return np.full(len(weights), np.nan)
    grouped = [np.add.reduceat((weights * side)[:, order], starts, axis=1) for side in (positive, ~positive)]
    above, below = grouped
    lower = np.cumsum(below, axis=1) - below
    with np.errstate(invalid="ignore"):
        return np.asarray((above * (lower + below / 2)).sum(axis=1) / (above.sum(axis=1) * below.sum(axis=1)))
