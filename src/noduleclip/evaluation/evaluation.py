"""The protocol: sentences, truth by a reader drawn at random, beside another reader and the panel of all others."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.evaluation.ranked import METRICS, Ranked
from noduleclip.evaluation.readers import Readers, draw_labels
from noduleclip.language.query import ParsedQuery

Floats = NDArray[np.float64]
_BOOTSTRAP_DRAWS = 10


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval over patients drawn again."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Comparison:
    """One measure of the model beside the readers, on nodules with at least two of them.

    Attributes:
        model: Of the model.
        second_reader: Of another reader.
        panel: Of all other readers together.
        above_second: Difference of the model to the second reader.
        above_panel: Difference of the model to the panel.
    """

    model: Interval
    second_reader: Interval
    panel: Interval
    above_second: Interval
    above_panel: Interval


@dataclass(frozen=True)
class QueryResult:
    """One query.

    Attributes:
        query: The sentence.
        base_rate: Share of true nodules: the AP of a random order.
        nodules: Nodules with a reader who measured, and rated what is asked for.
        common: Nodules with two such readers.
        model: By metric (`ranked.METRICS`), of the model on all nodules.
        lift_10: Precision among the best 10 over the base rate.
        lift_50: Precision among the best 50 over the base rate.
        readers: By metric, the model beside the readers; empty without nodules that two have read.
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
    """What a model's rankings are worth: means over queries, leaving out those that are true of nothing.

    Attributes:
        queries: One result per query.
        nodules: Nodules ranked.
        common: Nodules with at least two readers.
        model: By metric, of the model on all nodules.
        readers: By metric, the model beside the readers; empty without nodules that two have read.
    """

    queries: tuple[QueryResult, ...]
    nodules: int
    common: int
    model: dict[str, Interval]
    readers: dict[str, Comparison]


@dataclass(frozen=True)
class Rankings:
    """The nodules of an evaluation.

    Attributes:
        scores: (Q, N) the model's scores by query.
        readers: What N nodules' readers say; each nodule has at least one diameter.
        patients: (N,) number of each nodule's patient.
    """

    scores: Floats
    readers: Readers
    patients: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "Rankings":
        """Keep some nodules, perhaps repeatedly."""
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
        parsed_queries: What they ask for, a size or ratings that some reader gave.
        draws: Draws of the judging reader.
        resamples: Bootstrap samples of patients, each with a few of the draws.
        seed: Seed of the draws and of the bootstrap.
        on_query: Called after each query.
    """
    several = np.isfinite(rankings.readers.diameters_mm).sum(axis=1) >= 2
    counts = [_draw_counts(rankings.patients, chosen, resamples, seed) for chosen in (np.ones_like(several), several)]
    results = []
    for at, (query, parsed) in enumerate(zip(queries, parsed_queries, strict=True)):
        results.append(_evaluate_query(query, parsed, at, rankings, counts, draws, seed))
        on_query()
    everyone = np.stack([alone for _, alone, _ in results])  # (Q, 1 + S, rankers, metrics)
    common = np.stack([beside for _, _, beside in results])
    return Evaluation(
        queries=tuple(result for result, _, _ in results),
        nodules=len(rankings.patients),
        common=int(several.sum()),
        model=_describe_model(_mean_of_known(everyone)),
        readers=_compare(_mean_of_known(common)) if several.any() else {},
    )


def draw_patients(patients: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many patients as there are, with replacement: (N,) how often each nodule is drawn with its patient."""
    names, where = np.unique(patients, return_inverse=True)
    drawn = generator.integers(len(names), size=len(names))
    return np.bincount(drawn, minlength=len(names))[where]


def _draw_counts(
    patients: NDArray[np.int64], chosen: NDArray[np.bool_], resamples: int, seed: int
) -> NDArray[np.int64]:
    """Return (1 + S, N) how often each nodule counts: once, then in each bootstrap sample of the chosen nodules."""
    counts = np.zeros((1 + resamples, len(patients)), np.int64)
    counts[0, chosen] = 1
    generator = np.random.default_rng(seed)
    if chosen.any():
        for sample in counts[1:]:
            sample[chosen] = draw_patients(patients[chosen], generator)
    return counts


def _evaluate_query(
    query: str,
    parsed: ParsedQuery,
    at: int,
    rankings: Rankings,
    counts: Sequence[NDArray[np.int64]],
    draws: int,
    seed: int,
) -> tuple[QueryResult, Floats, Floats]:
    """Judge one query: its result, and (1 + S, 1, metrics) of the model and (1 + S, 3, metrics) beside the readers."""
    valid = rankings.readers.valid_mask(parsed).sum(axis=1)
    measured, base_rate, sizes = [], np.nan, []
    for least, (chosen, rankers) in zip((1, 2), ((counts[0], 1), (counts[1], 3)), strict=True):
        rows = np.flatnonzero((valid >= least) & (chosen[0] > 0))
        sizes.append(len(rows))
        if not len(rows):
            measured.append(np.full((len(chosen), rankers, len(METRICS)), np.nan))
            continue
        some = rankings.take(rows)
        drawn = draw_labels(some.readers, parsed, draws, seed)
        if least == 1:
            base_rate = float(drawn.truth.mean())
        scores = (some.scores[at], drawn.second, drawn.panel)[:rankers]
        measured.append(_measure_all(scores, drawn.truth, chosen[:, rows], seed))
    everyone, common = measured
    model = _describe_model(everyone)
    result = QueryResult(
        query=query,
        base_rate=base_rate,
        nodules=sizes[0],
        common=sizes[1],
        model=model,
        lift_10=model["precision_10"].mean / base_rate if base_rate else np.nan,
        lift_50=model["precision_50"].mean / base_rate if base_rate else np.nan,
        readers=_compare(common) if sizes[1] else {},
    )
    return result, everyone, common


def _measure_all(scores: Sequence[Floats], truth: NDArray[np.bool_], counts: NDArray[np.int64], seed: int) -> Floats:
    """Return (1 + S, rankers, metrics): all draws with every nodule once, then some draws with each sample's counts.

    Args:
        scores: (N,) or (K, N) by ranker.
        truth: (K, N) by draw.
        counts: (1 + S, N) how often each nodule counts.
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
    """Mean of what is known; NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis))


def _mean_of_known(measured: Floats) -> Floats:
    """Mean over queries of (Q, 1 + S, rankers, metrics), leaving out those that are true of nothing."""
    return _mean(measured, axis=0)


def make_interval(mean: float, spread: Floats) -> Interval:
    """Return the mean with the middle 95 % of its bootstrap samples; NaN among them are left out."""
    known = spread[np.isfinite(spread)]
    low, high = np.quantile(known, [0.025, 0.975]) if known.size else (np.nan, np.nan)
    return Interval(mean, float(low), float(high))


def _interval_of(samples: Floats) -> Interval:
    """Make an interval of (1 + S,): the value itself, then its bootstrap samples."""
    return make_interval(float(samples[0]), samples[1:])


def _describe_model(measured: Floats) -> dict[str, Interval]:
    """Name what (1 + S, 1, metrics) holds."""
    return {name: _interval_of(measured[:, 0, at]) for at, name in enumerate(METRICS)}


def _compare(measured: Floats) -> dict[str, Comparison]:
    """Put the model beside the readers, by metric, from (1 + S, 3, metrics)."""
    return {name: compare_rankers(measured[:, :, at]) for at, name in enumerate(METRICS)}


def compare_rankers(samples: Floats) -> Comparison:
    """Put model, second reader and panel beside each other, from (1 + S, 3): values, then bootstrap samples."""
    model, second, panel = samples.T
    return Comparison(*map(_interval_of, (model, second, panel, model - second, model - panel)))
