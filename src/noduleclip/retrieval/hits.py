"""The table of hits of the commands, the Python API and `topk.csv`; `web/explorer.py` makes the explorer's cards."""

from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.language.query import ParsedQuery
from noduleclip.retrieval.criteria import satisfies_all


def list_columns(held: Iterable[str]) -> list[str]:
    """Return the columns of an index that hits carry: not the probabilities, which are 60, and are in the index."""
    return [name for name in held if not name.startswith(schema.PROBABILITY_PREFIX)]


def describe_hits(
    found: pl.DataFrame, scores: Mapping[str, NDArray[np.floating]], sentence: str, parsed: ParsedQuery
) -> pl.DataFrame:
    """Return hits with their metadata, scores, rank, and whether they satisfy the sentence.

    Args:
        found: Metadata of the hits, best first.
        scores: Their scores, by column.
        sentence: The sentence.
        parsed: The parsed sentence.
    """
    satisfies = [satisfies_all(parsed, hit) for hit in found.iter_rows(named=True)]
    hits = found.with_columns(
        pl.lit(sentence).alias(schema.QUERY),
        pl.int_range(1, pl.len() + 1).alias(schema.RANK),
        pl.Series(schema.SATISFIES, satisfies, dtype=pl.Boolean),
        *(pl.Series(name, values, dtype=pl.Float64).fill_nan(None) for name, values in scores.items()),
    )
    leading = [name for name in schema.HIT_COLUMNS if name in hits.columns]
    return hits.select(*leading, pl.exclude(leading))
