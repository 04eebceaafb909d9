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
        highest: Largest value of all that were compared with the cut-off; None without one.
    """

    rows: Rows
    scores: Scores
    passed: int | None = None
    highest: float | None = None


def take_similarity(best: TopK) -> Found:
    """Return rows that the image alone ranked."""
    return Found(best.rows, {schema.SIMILARITY: best.scores})


def select_best(scores: Scores, request: SearchRequest, rows: Rows | None, groups: Rows | None) -> Found:
    """Select the best of the scored candidates, and count those that pass the cut-off.

    Args:
        scores: (N,) scores by column.
        request: How many are wanted, and the cut-off.
        rows: (N,) rows of the candidates; None = all rows of the index.
        groups: (N,) groups of which only the best row is a hit; None = every row.
    """
    ranking = scores[schema.SCORE if schema.SCORE in scores else schema.SIMILARITY]
    passing = np.arange(len(ranking))
    passed = highest = None
    if (cut_off := _find_cut_off(request)) is not None:
        column, least = cut_off
        passing = np.flatnonzero(scores[column] >= least)
        passed = len(passing) if groups is None else len(np.unique(groups[passing]))
        highest = float(scores[column].max())
    grouped = None if groups is None else groups[passing]
    chosen = passing[select_top_k(ranking[passing], request.k or max(1, len(passing)), grouped).rows]
    best = {name: one[chosen] for name, one in scores.items()}
    return Found(chosen if rows is None else rows[chosen], best, passed, highest)


def summarize(found: Found, ranked: int | None, request: SearchRequest, is_of_nodules: bool) -> str:
    """Return "37 of 417 nodules with probability >= 0.8"; empty without a cut-off."""
    cut_off = _find_cut_off(request)
    if cut_off is None or found.passed is None:
        return ""
    column, least = cut_off
    summary = f"{found.passed:,} of {ranked:,} {name_ranked(request.unique, is_of_nodules)} with {column} >= {least:g}"
    return summary if found.passed else f"{summary}; the highest is {found.highest:.5g}"


def name_ranked(unique: str | None, is_of_nodules: bool) -> str:
    """Return what is ranked, in the plural: "nodules", "rows", or the groups of `unique`."""
    plurals = {None: "nodules" if is_of_nodules else "rows", "series": "series"}
    return plurals.get(unique, f"{unique}s")


def _find_cut_off(request: SearchRequest) -> tuple[str, float] | None:
    """Return the column that is compared with the cut-off, and the cut-off; None without one."""
    if request.min_probability is not None:
        return schema.PROBABILITY, request.min_probability
    return None if request.min_score is None else (schema.SCORE, request.min_score)
