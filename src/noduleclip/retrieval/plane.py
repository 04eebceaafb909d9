"""A map of a collection: the two directions in which embeddings differ most."""

import numpy as np
from numpy.typing import NDArray

from noduleclip.retrieval.top_k import Gallery

_ROWS_AT_ONCE = 1 << 16
_MOST_FITTED = 100_000


def project_to_plane(embeddings: Gallery, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Project rows on the two principal axes of a collection.

    The axes are fitted on at most 100,000 rows spread over the collection; an axis points to where its largest
    component is positive, so that the map of an index is always the same.

    Args:
        embeddings: (N, D) rows, D at least 2; may be memory-mapped.
        rows: (M,) those to place.

    Returns:
        (M, 2) coordinates, the first along the axis of the largest variance.
    """
    fitted = np.unique(np.linspace(0, len(embeddings) - 1, min(len(embeddings), _MOST_FITTED)).astype(np.int64))
    mean = np.zeros(embeddings.shape[1])
    moment = np.zeros((embeddings.shape[1], embeddings.shape[1]))
    for start in range(0, len(fitted), _ROWS_AT_ONCE):
        part = embeddings[fitted[start : start + _ROWS_AT_ONCE]].astype(np.float64)
        mean += part.sum(axis=0)
        moment += part.T @ part
    mean /= len(fitted)
    axes = np.linalg.eigh(moment / len(fitted) - np.outer(mean, mean))[1][:, :-3:-1]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return np.asarray((embeddings[rows] - mean) @ axes, np.float32)
