"""The evaluation protocol: rankings for sentences against a reader drawn at random, beside the other readers."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.bootstrap import Comparison, Interval, compare_rankers, draw_counts, summarize_samples
from noduleclip.evaluation.ranked import METRICS, Ranked
from noduleclip.evaluation.readers import Readers, draw_labels
from noduleclip.language.query import ParsedQuery

Floats = NDArray[np.float64]
_BOOTSTRAP_DRAWS = 10


@dataclass(frozen=True)
class QueryResult:
    """Evaluation of one query.

    Attributes:
        query: The sentence.
        base_rate: Share of relevant nodules, which is the AP of a random order.
        nodules: Nodules with a reader who gave the diameter and the ratings that the sentence asks for.
        common: Nodules with two such readers.
        model: The model's metrics (`ranked.METRICS`) on all nodules.
        lift_10: Precision at 10 over the base rate.
        lift_50: Precision at 50 over the base rate.
        readers: Each metric of the model beside the readers'; empty without nodules of two readers.
    """

    query: str
    base_rate: float
    nodules: int
    common: int
    model: dict[str, Interval]
    lift_10: float
    lift_50: float
    readers: dict[str, Comparison]


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of several queries; the means leave out queries that no nodule satisfies.

    Attributes:
        queries: One result per query.
        nodules: Number of nodules.
        common: Number of nodules with at least two readers.
        model: Mean of each metric of the model on all nodules.
        readers: Mean of each metric of the model beside the readers'; empty without nodules of two readers.
    """

    queries: tuple[QueryResult, ...]
    nodules: int
    common: int
    model: dict[str, Interval]
    readers: dict[str, Comparison]


@dataclass(frozen=True)
class Rankings:
    """The ranked nodules of an evaluation.

    Attributes:
        scores: (Q, N) the model's scores by query.
        readers: Readings of the N nodules; each nodule has at least one diameter.
        patients: (N,) number of each nodule's patient.
    """

    scores: Floats
    readers: Readers
    patients: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "Rankings":
        """Select nodules, which may be repeated."""
        return Rankings(self.scores[:, rows], self.readers.take(rows), self.patients[rows])


def evaluate_rankings(
    rankings: Rankings,
    queries: Sequence[str],
    parsed_queries: Sequence[ParsedQuery],
    *,
    draws: int = 50,
    resamples: int = 300,
    seed: int = 0,
    on_query: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate a model's rankings by the protocol.

    Args:
        rankings: Scores and readers.
        queries: Q sentences.
        parsed_queries: The same parsed; each asks for a size or for ratings that some reader gave.
        draws: Draws of the true reader.
        resamples: Bootstrap samples of patients, each with a few of the draws.
        seed: Seed of the draws and of the bootstrap.
        on_query: Called after each query.
    """
    several = np.isfinite(rankings.readers.diameters_mm).sum(axis=1) >= 2
    weights = [draw_counts(rankings.patients, chosen, resamples, seed) for chosen in (np.ones_like(several), several)]
    results, everyone, common = [], [], []
    for scores, query, parsed in zip(rankings.scores, queries, parsed_queries, strict=True):
        on_all = _measure_query(scores, parsed, rankings.readers, weights[0], draws, seed, least_readers=1)
        on_common = _measure_query(scores, parsed, rankings.readers, weights[1], draws, seed, least_readers=2)
        results.append(_describe_query(query, on_all, on_common))
        everyone.append(on_all.metrics)
        common.append(on_common.metrics)
        on_query()
    return Evaluation(
        queries=tuple(results),
        nodules=len(rankings.patients),
        common=int(several.sum()),
        model=_describe_model(_mean(np.stack(everyone), axis=0)),
        readers=_compare(_mean(np.stack(common), axis=0)) if several.any() else {},
    )


@dataclass(frozen=True)
class _Measured:
    """One query on the nodules of enough readers.

    Attributes:
        nodules: Number of these nodules.
        base_rate: Share of relevant ones; NaN without nodules.
        metrics: (1 + S, rankers, metrics) of the model alone, or of model, second reader and panel.
    """

    nodules: int
    base_rate: float
    metrics: Floats


def _measure_query(
    scores: Floats,
    parsed: ParsedQuery,
    readers: Readers,
    weights: NDArray[np.int64],
    draws: int,
    seed: int,
    *,
    least_readers: int,
) -> _Measured:
    """Measure a query on the nodules of one reader or more, or beside the readers on those of two or more.

    Args:
        scores: (N,) scores of the model.
        parsed: The query.
        readers: Readings of the N nodules.
        weights: (1 + S, N) weights of the nodules.
        draws: Draws of the true reader.
        seed: Seed of the draws.
        least_readers: 1 for the model alone, 2 for the comparison with the readers.
    """
    rows, rankers = readers.find_nodules(parsed, least_readers), 1 if least_readers == 1 else 3
    if len(rows) == 0:
        return _Measured(0, np.nan, np.full((len(weights), rankers, len(METRICS)), np.nan))
    drawn = draw_labels(readers.take(rows), parsed, draws, seed)
    compared = (scores[rows], drawn.second, drawn.panel)[:rankers]
    metrics = _measure_all(compared, drawn.truth, weights[:, rows], seed)
    return _Measured(len(rows), float(drawn.truth.mean()), metrics)


def _describe_query(query: str, on_all: _Measured, on_common: _Measured) -> QueryResult:
    model, base_rate = _describe_model(on_all.metrics), on_all.base_rate
    return QueryResult(
        query=query,
        base_rate=base_rate,
        nodules=on_all.nodules,
        common=on_common.nodules,
        model=model,
        lift_10=model["precision_10"].mean / base_rate if base_rate else np.nan,
        lift_50=model["precision_50"].mean / base_rate if base_rate else np.nan,
        readers=_compare(on_common.metrics) if on_common.nodules else {},
    )


def _measure_all(scores: Sequence[Floats], truth: NDArray[np.bool_], counts: NDArray[np.int64], seed: int) -> Floats:
    """Measure (1 + S, rankers, metrics): in all draws with equal weights, then in some draws with those of each sample.

    Args:
        scores: (N,) or (K, N) by ranker.
        truth: (K, N) by draw.
        counts: (1 + S, N) weights of the nodules.
        seed: Seed of which draws a sample takes.
    """
    draws, rankers = len(truth), len(scores)
    together = np.concatenate([np.broadcast_to(one, truth.shape) for one in scores])
    ranked = Ranked(together, np.tile(truth, (rankers, 1)))  # one pass over all rankers is a third of three passes
    generator = np.random.default_rng(seed)
    measured = []
    for sample, count in enumerate(counts):
        some = generator.choice(draws, min(draws, _BOOTSTRAP_DRAWS), replace=False) if sample else np.arange(draws)
        places = (some + np.arange(rankers)[:, None] * draws).flatten()
        measured.append(_mean(ranked.measure(count, places).reshape(len(METRICS), rankers, -1), axis=2).T)
    return np.array(measured)


def _mean(values: Floats, axis: int) -> Floats:
    """Mean of the values that are not NaN; NaN where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis))


def _describe_model(measured: Floats) -> dict[str, Interval]:
    """Return the interval of each metric from (1 + S, 1, metrics)."""
    return {name: summarize_samples(measured[:, 0, at]) for at, name in enumerate(METRICS)}


def _compare(measured: Floats) -> dict[str, Comparison]:
    """Return the comparison for each metric from (1 + S, 3, metrics)."""
    return {name: compare_rankers(measured[:, :, at]) for at, name in enumerate(METRICS)}
