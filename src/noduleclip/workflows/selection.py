"""Selection of the best of scored rows: so many, or all that pass a cut-off."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.retrieval.top_k import TopK, select_top_k
from noduleclip.workflows.search_request import SearchRequest

Rows = NDArray[np.int64]
Scores = dict[str, NDArray[np.floating]]


class Found(NamedTuple):
    """The best rows for a sentence.

    Attributes:
        rows: (k,) rows of the index, best first.
        scores: (k,) scores by column.
        passed: Rows, or groups with `unique`, that pass the cut-off; None without one.
    """

    rows: Rows
    scores: Scores
    passed: int | None = None


def take_similarity(best: TopK) -> Found:
    """Return rows that the image alone ranked."""
    return Found(best.rows, {schema.SIMILARITY: best.scores})


def select_best(scores: Scores, request: SearchRequest, groups: Rows | None) -> tuple[Rows, int | None]:
    """Select the best of the scored candidates, and count those that pass the cut-off; None without one."""
    ranking = scores[schema.SCORE if schema.SCORE in scores else schema.SIMILARITY]
    k = request.k or max(1, len(ranking))
    if request.min_probability is not None:
        passing = np.flatnonzero(scores[schema.PROBABILITY] >= request.min_probability)
    elif request.min_score is not None:
        passing = np.flatnonzero(ranking >= request.min_score)
    else:
        return select_top_k(ranking, k, groups).rows, None
    grouped = None if groups is None else groups[passing]
    passed = len(passing) if grouped is None else len(np.unique(grouped))
    return passing[select_top_k(ranking[passing], k, grouped).rows], passed


def summarize(passed: int | None, ranked: int | None, request: SearchRequest, is_of_nodules: bool) -> str:
    """Return "37 of 417 nodules with probability >= 0.8"; empty without a cut-off."""
    if passed is None:
        return ""
    cut_off = (
        f"score >= {request.min_score:g}"
        if request.min_probability is None
        else f"{schema.PROBABILITY} >= {request.min_probability:g}"
    )
    plurals = {None: "nodules" if is_of_nodules else "rows", "series": "series"}
    return f"{passed:,} of {ranked:,} {plurals.get(request.unique, f'{request.unique}s')} with {cut_off}"
