"""The columns of what the model says of nodules, in `meta.parquet` and in the output of `describe`.

Values are rounded, which is finer than the model is and saves a third of the bytes in a file.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.retrieval.descriptions import describe_nodules
from noduleclip.retrieval.estimates import Estimated, Estimates, Estimator

_MM_DIGITS, _PROBABILITY_DIGITS = 2, 4


def make_columns(estimates: Estimates) -> pl.DataFrame:
    """Return one row per nodule: the diameter with its interval, ratings, the description, then all probabilities."""
    estimates = replace(  # rounded once: words and numbers then agree
        estimates,
        diameter_mm=np.round(estimates.diameter_mm, _MM_DIGITS),
        diameter_low_mm=np.round(estimates.diameter_low_mm, _MM_DIGITS),
        diameter_high_mm=np.round(estimates.diameter_high_mm, _MM_DIGITS),
    )
    return pl.DataFrame(
        [
            _make_column(schema.ESTIMATED_DIAMETER, estimates.diameter_mm, _MM_DIGITS),
            _make_column(schema.ESTIMATED_LOW, estimates.diameter_low_mm, _MM_DIGITS),
            _make_column(schema.ESTIMATED_HIGH, estimates.diameter_high_mm, _MM_DIGITS),
            *(_make_column(schema.ESTIMATED_PREFIX + name, ratings, 0) for name, ratings in estimates.ratings.items()),
            pl.Series(schema.DESCRIPTION, describe_nodules(estimates), dtype=pl.String),
            *(
                _make_column(f"{schema.PROBABILITY_PREFIX}{name}_{at + 1}", shares[:, at], _PROBABILITY_DIGITS)
                for name, shares in estimates.distributions.items()
                for at in range(shares.shape[1])
            ),
            *(
                _make_column(schema.PROBABILITY_PREFIX + name, probabilities, _PROBABILITY_DIGITS)
                for name, probabilities in estimates.phrases.items()
            ),
        ]
    )


def estimate_columns(estimator: Estimator, parts: Iterable[NDArray[np.float32]]) -> pl.DataFrame:
    """Return the columns of embeddings that come in parts of (n, D) unit rows; no part makes no rows."""
    frames = [make_columns(estimator.estimate(part)) for part in parts]
    return pl.concat(frames).rechunk() if frames else make_columns(estimator.estimate_none())


def _make_column(name: str, values: Estimated, digits: int) -> pl.Series:
    return pl.Series(name, np.round(values, digits), dtype=pl.Float32)
