"""The protocol: size queries, truth by a reader drawn at random, beside another reader and the panel of all others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.retrieval.metrics import (
    Draws,
    contains_all,
    draw_readers,
    mean_average_precisions,
    normalized_dcg,
    precision_at,
    rank_by_diameter,
)
from noduleclip.size import SizeInterval

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
class QueryResult:
    """One query. The readers rank nodules with at least two readers, and so does `ap_common`.

    Attributes:
        query: The sentence.
        base_rate: Share of true nodules: the AP of a random order.
        ap: Average precision of the model on all nodules.
        precision_10: Precision among the best 10.
        precision_50: Precision among the best 50.
        ndcg: Normalised discounted cumulative gain of the model, all nodules.
        ap_common: Average precision of the model on the nodules that the readers rank.
        second_reader: Average precision of another reader's diameter.
        panel: Average precision of the mean diameter of all other readers.
        above_second: Difference of `ap_common` to the second reader.
        above_panel: Difference of `ap_common` to the panel.
    """

    query: str
    base_rate: float
    ap: float
    precision_10: float
    precision_50: float
    ndcg: float
    ap_common: float
    second_reader: float
    panel: float
    above_second: Interval
    above_panel: Interval


@dataclass(frozen=True)
class Comparison:
    """The model beside the readers, on nodules with at least two of them; means over the queries.

    Attributes:
        ap: Of the model.
        second_reader: Of another reader's diameter.
        panel: Of the mean diameter of all other readers.
        above_second: Difference of the model to the second reader.
        above_panel: Difference of the model to the panel.
    """

    ap: Interval
    second_reader: Interval
    panel: Interval
    above_second: Interval
    above_panel: Interval


@dataclass(frozen=True)
class Evaluation:
    """What a model's ranking is worth.

    Attributes:
        queries: One result per query.
        nodules: Nodules ranked.
        common: Nodules with at least two readers.
        ap: Mean average precision over the queries, on all nodules.
        readers: The same beside the readers; None without nodules that two have read.
    """

    queries: tuple[QueryResult, ...]
    nodules: int
    common: int
    ap: Interval
    readers: Comparison | None


@dataclass(frozen=True)
class Rankings:
    """The nodules of an evaluation.

    Attributes:
        scores: (Q, N) the model's scores by query.
        diameters_mm: (N, R) diameters by reader, NaN-padded.
        patients: (N,) number of each nodule's patient.
    """

    scores: Floats
    diameters_mm: Floats
    patients: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "Rankings":
        """Keep some nodules, perhaps repeatedly."""
        return Rankings(self.scores[:, rows], self.diameters_mm[rows], self.patients[rows])


def evaluate_rankings(
    rankings: Rankings,
    queries: Sequence[str],
    intervals: Sequence[SizeInterval],
    *,
    draws: int = 50,
    resamples: int = 300,
    seed: int = 0,
    on_resample: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate a model's rankings by the protocol.

    Args:
        rankings: Scores and readers.
        queries: Q sentences.
        intervals: Their intervals.
        draws: Draws of the judging reader.
        resamples: Bootstrap samples of patients, with fewer draws each.
        seed: Seed of the draws and of the bootstrap.
        on_resample: Called after each bootstrap sample.
    """
    common = rankings.take(np.flatnonzero(np.isfinite(rankings.diameters_mm).sum(axis=1) >= 2))
    everyone, several = (
        _score_all(rankings, intervals, draws, seed),
        _score_all(common, intervals, draws, seed),
    )
    generator = np.random.default_rng(seed)
    samples = []
    for _ in range(resamples):
        sample_seed = int(generator.integers(1 << 31))
        drawn = (_resample(part, generator) for part in (rankings, common))
        samples.append([_score_all(part, intervals, _BOOTSTRAP_DRAWS, sample_seed) for part in drawn])
        on_resample()
    spread = np.array([[_mean_of_known(all_)[0], *_mean_of_known(several_)] for all_, several_ in samples])
    by_query = np.array([several_ for _, several_ in samples])  # (S, 3, Q)
    truth = draw_readers(rankings.diameters_mm, draws, seed).truth_mm
    return Evaluation(
        queries=tuple(
            _judge_query(
                query, interval, rankings.scores[at], truth, everyone[0, at], several[:, at], by_query[:, :, at]
            )
            for at, (query, interval) in enumerate(zip(queries, intervals, strict=True))
        ),
        nodules=len(rankings.patients),
        common=len(common.patients),
        ap=make_interval(float(_mean_of_known(everyone)[0]), spread[:, 0]),
        readers=_compare(several, spread[:, 1:]) if len(common.patients) else None,
    )


def draw_patients(patients: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw as many patients as there are, with replacement: (N,) how often each nodule is drawn with its patient."""
    names, where = np.unique(patients, return_inverse=True)
    drawn = generator.integers(len(names), size=len(names))
    return np.bincount(drawn, minlength=len(names))[where]


def _resample(part: Rankings, generator: np.random.Generator) -> Rankings:
    if len(part.patients) == 0:
        return part
    return part.take(np.repeat(np.arange(len(part.patients)), draw_patients(part.patients, generator)))


def _score_all(part: Rankings, intervals: Sequence[SizeInterval], draws: int, seed: int) -> Floats:
    """Give (3, Q) average precisions: of the model, of a second reader, of the panel; NaN where there is none."""
    if len(part.patients) == 0:
        return np.full((3, len(intervals)), np.nan)
    drawn: Draws = draw_readers(part.diameters_mm, draws, seed)
    model = mean_average_precisions(part.scores, intervals, drawn.truth_mm)
    if np.isnan(drawn.second_mm).any():
        return np.stack([model, np.full_like(model, np.nan), np.full_like(model, np.nan)])
    readers = [
        mean_average_precisions([rank_by_diameter(i, sizes) for i in intervals], intervals, drawn.truth_mm)
        for sizes in (drawn.second_mm, drawn.panel_mm)
    ]
    return np.stack([model, *readers])


def _judge_query(
    query: str, interval: SizeInterval, scores: Floats, truth_mm: Floats, ap: float, common: Floats, spread: Floats
) -> QueryResult:
    """Put one query together: `common` (3,) of model, second reader and panel, `spread` (S, 3) the same resampled."""
    relevance = contains_all(interval, truth_mm)
    tops = [precision_at(k, scores, relevance) for k in (10, 50)]
    gain = normalized_dcg(scores, relevance)
    ndcg = float(gain[np.isfinite(gain)].mean()) if np.isfinite(gain).any() else np.nan
    ap_common, second, panel = (float(value) for value in common)
    above = [make_interval(float(common[0] - common[at]), spread[:, 0] - spread[:, at]) for at in (1, 2)]
    return QueryResult(
        query=query,
        base_rate=float(relevance.mean()),
        ap=float(ap),
        precision_10=tops[0],
        precision_50=tops[1],
        ndcg=ndcg,
        ap_common=ap_common,
        second_reader=second,
        panel=panel,
        above_second=above[0],
        above_panel=above[1],
    )


def _mean_of_known(precisions: Floats) -> Floats:
    """Mean over queries of (3, Q), leaving out those true of nothing; NaN where there is no reader."""
    known = np.isfinite(precisions)
    return np.asarray(
        np.where(known, precisions, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    )


def make_interval(mean: float, spread: Floats) -> Interval:
    """Give the mean with the middle 95 % of its bootstrap samples; NaN among them are left out."""
    known = spread[np.isfinite(spread)]
    low, high = np.quantile(known, [0.025, 0.975]) if known.size else (np.nan, np.nan)
    return Interval(mean, float(low), float(high))


def _compare(several: Floats, spread: Floats) -> Comparison:
    """Put the model beside the readers.

    Args:
        several: (3, Q) average precisions of model, second reader and panel.
        spread: (S, 3) their means in each bootstrap sample.
    """
    model, second, panel = (float(mean) for mean in _mean_of_known(several))
    return Comparison(
        ap=make_interval(model, spread[:, 0]),
        second_reader=make_interval(second, spread[:, 1]),
        panel=make_interval(panel, spread[:, 2]),
        above_second=make_interval(model - second, spread[:, 0] - spread[:, 1]),
        above_panel=make_interval(model - panel, spread[:, 0] - spread[:, 2]),
    )
