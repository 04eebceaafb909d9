"""The rule beside the image: how well measured or estimated sizes and ratings satisfy a sentence (`fuse`)."""

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.index.base import Index
from noduleclip.language.query import ParsedQuery
from noduleclip.retrieval.fusion import score_query
from noduleclip.workflows.reporter import Reporter
from noduleclip.workflows.row_finder import RowFinder
from noduleclip.workflows.search_request import SearchRequest

Floats = NDArray[np.float64]


def score_rule(
    index: Index,
    finder: RowFinder,
    parsed: ParsedQuery,
    rows: NDArray[np.int64] | None,
    request: SearchRequest,
    reporter: Reporter,
) -> Floats:
    """Score rows by their diameter and by each rating asked for.

    Args:
        index: The index.
        finder: Reads its columns of numbers.
        parsed: What is asked for.
        rows: (M,) ascending rows to score; None = all.
        request: How far outside an interval still counts, and whether estimates stand in for missing values.
        reporter: Receives notes on values that are missing or estimated.

    Returns:
        (M,) scores in [0, 1], NaN where no value is known.

    Raises:
        UsageError: Estimates are wanted, and the index has none.
    """
    count = index.manifest.rows if rows is None else len(rows)
    if not parsed.has_criteria:
        reporter.warning("no size or rating in the query: ranked by image only")
        return np.full(count, np.nan)
    estimated = np.zeros(count, bool)

    def take(name: str) -> Floats:
        values = finder.read_numbers(name)
        return values if rows is None else values[rows]

    def read(name: str) -> Floats:
        values = take(name)
        if request.rule == "measured":
            return values
        stand_ins = take(schema.ESTIMATED_PREFIX + name)
        missing = np.isnan(values) & np.isfinite(stand_ins)
        np.logical_or(estimated, missing, out=estimated)
        return np.where(missing, stand_ins, values)

    if request.rule == "estimated":
        index.require_columns([schema.ESTIMATED_DIAMETER])
    rule = score_query(parsed, read, request.softness_mm)
    if replaced := int(estimated.sum()):
        reporter.note(f"{replaced} row(s) have no measured value of what is asked for: the estimate is used")
    if unmeasured := int(np.isnan(rule).sum()):
        lacks = "none of the ratings or sizes asked for" if parsed.ratings else "no diameter"
        others = "; --rule estimated uses estimates" if request.rule == "measured" else ""
        reporter.note(f"{unmeasured} row(s) have {lacks}: ranked by image only{others}")
    return rule
