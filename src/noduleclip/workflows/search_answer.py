"""The answer of a search: the best rows for a sentence, and their metadata."""

from dataclasses import dataclass

import polars as pl

from noduleclip.language.query import ParsedQuery
from noduleclip.workflows.selection import Rows, Scores
from noduleclip.workflows.similar import Reference


@dataclass(frozen=True)
class Ranking:
    """The best rows for one sentence.

    Attributes:
        question: What was asked, with the reference: "> 6 mm, like row 17".
        description: How it was understood, in one line.
        parsed: The parsed sentence; without criteria where only a reference was given.
        reference: The nodule that the hits are to resemble.
        rows: (k,) rows of the index, best first.
        scores: (k,) scores by column, NaN where there is none.
        ranked: Rows that were ranked; None where a vector index answered.
        distinct: Nodules, slices, series or patients among these, or rows without `unique`: the largest number of hits.
        summary: How many of them pass the cut-off: "37 of 417 nodules with probability >= 0.8"; empty without one.
        passed: How many that is; None without a cut-off.
    """

    question: str
    description: str
    parsed: ParsedQuery
    reference: Reference | None
    rows: Rows
    scores: Scores
    ranked: int | None
    distinct: int | None
    summary: str = ""
    passed: int | None = None


@dataclass(frozen=True)
class Answer:
    """The best rows for one sentence, with their metadata.

    Attributes:
        ranking: The rows, and how the sentence was understood.
        hits: One row per hit, best first: rank, metadata, scores, and whether it satisfies the sentence.
    """

    ranking: Ranking
    hits: pl.DataFrame
