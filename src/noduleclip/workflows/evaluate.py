"""Evaluation of an index by the protocol: sentences, readers and sizes (`evaluate`)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.evaluation.protocol import Evaluation, Rankings, evaluate_rankings
from noduleclip.evaluation.readers import list_known
from noduleclip.io.index.base import Index
from noduleclip.io.score_table import read_scores
from noduleclip.language import EVALUATION_QUERIES, RATING_QUERIES
from noduleclip.language.query import ParsedQuery, list_attributes, parse_queries
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.workflows.evaluated_estimates import EstimateResult, evaluate_estimates
from noduleclip.workflows.evaluated_nodules import EvaluatedNodules, load_nodules
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.search_request import load_sentences
from noduleclip.workflows.text_encoder import open_text_encoder
from noduleclip.workflows.training_patients import TrainingPatients, count_patients, find_unseen, report_patients

MOST_QUERIES = 1000
"""Most sentences that are evaluated at once: their scores of all nodules are held in memory."""
EVALUATION_FILES = (schema.EVALUATION_JSON, schema.EVALUATION_PAGE)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """What to evaluate and by whose readings.

    Attributes:
        index: The index.
        queries: Sentences, or a file with one a line, each with a size or a rating; None = those of the protocol.
        readers_csv: ROI table with a row of every reader for the same nodules; None = the index's own rows.
        scores_csv: Scores to evaluate instead of the index's cosines: a column `row` and one per sentence.
        draws: Draws of the reader who is the truth.
        resamples: Bootstrap samples of patients.
        seed: Seed of draws and bootstrap.
    """

    index: Index
    queries: tuple[str, ...] | Path | None = None
    readers_csv: Path | None = None
    scores_csv: Path | None = None
    draws: int = 50
    resamples: int = 300
    seed: int = 0


@dataclass(frozen=True)
class EvaluationResult:
    """Result of an evaluation.

    Attributes:
        request: The request.
        groups: Evaluated sentences by group: "sizes" and "ratings" of the protocol, or "sentences" of the request.
        evaluations: The evaluation of each group.
        estimates: How good the model's estimates are; None for scores from a file.
        nodules: The nodules.
        encoder: The text encoder of the index.
        training_patients: How many patients the model has seen in training; None where that is not known, and for
            scores from a file.
        unseen: The same evaluation of the nodules of unseen patients alone; None where all patients are unseen, where
            fewer than two nodules are, and where it is not known.
    """

    request: EvaluateRequest
    groups: Mapping[str, tuple[str, ...]]
    evaluations: Mapping[str, Evaluation]
    estimates: EstimateResult | None
    nodules: EvaluatedNodules = field(repr=False)
    encoder: SentenceEncoder = field(repr=False)
    training_patients: TrainingPatients | None = None
    unseen: "EvaluationResult | None" = None

    @property
    def queries(self) -> list[str]:
        """All evaluated sentences."""
        return [query for group in self.groups.values() for query in group]

    def to_mapping(self) -> dict[str, Any]:
        """Return the content of `evaluation.json`, with NaN where a value is unknown."""
        return {
            **self._describe(),
            "training_patients": asdict(self.training_patients) if self.training_patients else None,
            "unseen": self.unseen._describe() if self.unseen else None,
        }

    def _describe(self) -> dict[str, Any]:
        first, *further = self.evaluations.values()
        estimates = self.estimates
        return {
            **asdict(first),
            "ratings": asdict(further[0]) if further else None,
            "sizes": [asdict(one) for one in estimates.sizes] if estimates else [],
            "estimated_ratings": [asdict(one) for one in estimates.ratings] if estimates else [],
            "coverage": [asdict(one) for one in estimates.coverage] if estimates else [],
            "calibration": [asdict(one) for one in estimates.calibration] if estimates else [],
        }


def evaluate(request: EvaluateRequest, reporter: Reporter = SILENT) -> EvaluationResult:
    """Rank the nodules of an index for sentences, and compare the rankings with those of readers.

    Raises:
        InputError: The index has too few nodules with a diameter, or a table or a sentence cannot be used.
        ArtefactError: The index is broken.
    """
    index = request.index
    encoder = open_text_encoder(index)
    nodules = load_nodules(index, request.readers_csv, reporter)
    groups = _choose_queries(request, nodules.readers.attributes, encoder.attributes)
    known = None
    if request.scores_csv is None:
        known = count_patients(nodules)
        report_patients(known, index.location, reporter)
    result = _evaluate_nodules(request, groups, nodules, encoder, reporter)
    first = next(iter(result.evaluations.values()))
    if np.isnan(first.model["ap"].mean):
        raise InputError(f"no nodule in {index.location} satisfies any of the {len(first.queries)} sentence(s)")
    unseen, rows = None, find_unseen(nodules)
    if known is not None and len(rows) >= 2:
        unseen = _evaluate_nodules(request, groups, nodules.take(rows), encoder, reporter)
    return replace(result, training_patients=known, unseen=unseen)


def _evaluate_nodules(
    request: EvaluateRequest,
    groups: Mapping[str, tuple[str, ...]],
    nodules: EvaluatedNodules,
    encoder: SentenceEncoder,
    reporter: Reporter,
) -> EvaluationResult:
    evaluations = {
        name: _evaluate_group(name, queries, nodules, encoder, request, reporter) for name, queries in groups.items()
    }
    estimates = None
    if request.scores_csv is None:
        settings = {"draws": request.draws, "resamples": request.resamples, "seed": request.seed}
        estimates = evaluate_estimates(nodules, encoder, **settings)
    return EvaluationResult(request, groups, evaluations, estimates, nodules, encoder)


def _choose_queries(
    request: EvaluateRequest, rated: Sequence[str], trained: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the sentences by group: those of the request, or the ten sizes and what both readers and model rate."""
    if request.queries is not None:
        is_file = isinstance(request.queries, Path)
        queries = tuple(load_sentences(request.queries)) if isinstance(request.queries, Path) else request.queries
        if len(queries) > MOST_QUERIES:
            source = f"{request.queries}: " if is_file else ""
            raise InputError(
                f"{source}holds {len(queries):,} sentences, at most {MOST_QUERIES:,} are evaluated at once; split it"
            )
        for query, parsed in zip(queries, parse_queries(queries), strict=True):
            _check_query(query, parsed, rated)
        return {"sentences": queries}
    groups = {"sizes": EVALUATION_QUERIES}
    known = list_known(parse_queries(RATING_QUERIES), [name for name in rated if name in trained])
    if known and request.scores_csv is None:
        groups["ratings"] = tuple(RATING_QUERIES[at] for at in known)
    return groups


def _check_query(query: str, parsed: ParsedQuery, rated: Sequence[str]) -> None:
    if not parsed.has_criteria:
        raise InputError(f"{query!r} has no size and no rating: no reader can say what is relevant")
    missing = [name for name in list_attributes([parsed]) if name not in rated]
    if missing:
        raise InputError(f"{query!r}: no reader has rated {missing[0]} in this table; rated are {list(rated)}")


def _evaluate_group(
    name: str,
    queries: Sequence[str],
    nodules: EvaluatedNodules,
    encoder: SentenceEncoder,
    request: EvaluateRequest,
    reporter: Reporter,
) -> Evaluation:
    rankings = rank_nodules(queries, nodules, encoder, request)
    with reporter.progress(f"evaluating {name}", len(queries), "queries") as advance:
        return evaluate_rankings(
            rankings, queries, parse_queries(queries),
            draws=request.draws, resamples=request.resamples, seed=request.seed, on_query=lambda: advance(1),
        )  # fmt: skip


def rank_nodules(
    queries: Sequence[str], nodules: EvaluatedNodules, encoder: SentenceEncoder, request: EvaluateRequest
) -> Rankings:
    """Rank the nodules for sentences, by the model or by the scores of the request."""
    return Rankings(score_nodules(queries, nodules, encoder, request), nodules.readers, nodules.patients)


def score_nodules(
    queries: Sequence[str], nodules: EvaluatedNodules, encoder: SentenceEncoder, request: EvaluateRequest
) -> Floats:
    """Return (Q, N) cosines of sentences and nodules, or the scores of the request."""
    if request.scores_csv is not None:
        return read_scores(request.scores_csv, queries, nodules.rows)
    return np.asarray(encoder.encode(queries) @ nodules.embeddings.T, np.float64)
