"""Precision over recall of the model and of a second reader."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.readers import Readers, draw_labels
from noduleclip.language.query import ParsedQuery

Floats = NDArray[np.float64]
RECALLS: Floats = np.linspace(0.02, 1, 50)


@dataclass(frozen=True)
class PrecisionCurves:
    """Precision of one query at `RECALLS`, mean over draws, on the nodules of two readers or more.

    Attributes:
        model: (50,) precision of the model.
        second_reader: (50,) precision of another reader.
        base_rate: Share of relevant nodules.
    """

    model: Floats
    second_reader: Floats
    base_rate: float


def trace_precision(
    scores: Floats, readers: Readers, parsed_queries: Sequence[ParsedQuery], *, draws: int = 50, seed: int = 0
) -> list[PrecisionCurves | None]:
    """Trace precision over recall for each query, interpolated as the best precision at that recall or beyond.

    Args:
        scores: (Q, N) the model's scores.
        readers: Readings of the N nodules.
        parsed_queries: Q sentences.
        draws: Draws of the true reader.
        seed: Seed of the draws.

    Returns:
        One pair of curves per query; None where no nodule has two readers, or none is relevant.
    """
    curves: list[PrecisionCurves | None] = []
    for query, parsed in zip(scores, parsed_queries, strict=True):
        rows = readers.find_nodules(parsed, 2)
        drawn = draw_labels(readers.take(rows), parsed, draws, seed) if len(rows) else None
        if drawn is None or not drawn.truth.any():
            curves.append(None)
            continue
        model = np.broadcast_to(query[rows], drawn.truth.shape)
        second = _interpolate(drawn.second, drawn.truth)
        curves.append(PrecisionCurves(_interpolate(model, drawn.truth), second, float(drawn.truth.mean())))
    return curves


def _interpolate(scores: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Return (50,) precision at `RECALLS`, mean over the draws with a relevant nodule."""
    order = np.argsort(-scores, axis=1, kind="stable")
    found = np.cumsum(np.take_along_axis(truth, order, axis=1), axis=1)
    precision = found / np.arange(1, truth.shape[1] + 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    traced = []
    for row, total in zip(range(len(truth)), found[:, -1], strict=True):
        if total:
            places = np.searchsorted(found[row], np.ceil(RECALLS * total - 1e-9))
            traced.append(best[row, places])
    return np.asarray(np.mean(traced, axis=0))
