"""Evaluation of estimated ratings by the rules of published work (`evaluate --protocol`)."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from noduleclip import schema
from noduleclip.errors import InputError, UsageError
from noduleclip.evaluation.published import PublishedFigure, RatingEstimates, measure_published
from noduleclip.evaluation.published_rules import PROTOCOLS, PublishedRules, find_nodules
from noduleclip.io.index.base import Index
from noduleclip.retrieval.estimates import estimate
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.workflows.evaluated_nodules import EvaluatedNodules, load_nodules
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.text_encoder import open_text_encoder
from noduleclip.workflows.training_patients import TrainingPatients, count_patients, find_unseen, report_patients

DEFAULT_PROTOCOL = "default"
"""The package's own protocol (`workflows/evaluate.py`)."""


@dataclass(frozen=True, kw_only=True)
class PublishedRequest:
    """What to evaluate by whose rules.

    Attributes:
        index: The index.
        protocol: One of `PROTOCOLS`.
        readers_csv: ROI table with a row of every reader for the same nodules; None = the index's own readers.
        resamples: Bootstrap samples of patients.
        seed: Seed of the bootstrap.
    """

    index: Index
    protocol: str
    readers_csv: Path | None = None
    resamples: int = 300
    seed: int = 0


@dataclass(frozen=True)
class PublishedResult:
    """Result of an evaluation by published rules.

    Attributes:
        request: The request.
        rules: The rules.
        nodules: Number of nodules that count.
        patients: Number of their patients.
        figures: The figures.
        training_patients: How many of the patients the model has seen in training; None where that is not known.
        unseen: The same of the unseen patients alone; None where all are unseen, where no nodule of theirs counts, and
            where it is not known.
    """

    request: PublishedRequest
    rules: PublishedRules
    nodules: int
    patients: int
    figures: tuple[PublishedFigure, ...]
    training_patients: TrainingPatients | None = None
    unseen: "PublishedResult | None" = None

    def to_mapping(self) -> dict[str, Any]:
        """Return the content of `evaluation.json`, with NaN where a value is unknown."""
        return {
            "protocol": self.rules.name,
            "source": self.rules.source,
            **self._describe(),
            "training_patients": asdict(self.training_patients) if self.training_patients else None,
            "unseen": self.unseen._describe() if self.unseen else None,
        }

    def _describe(self) -> dict[str, Any]:
        return {
            "nodules": self.nodules,
            "patients": self.patients,
            "figures": [asdict(figure) for figure in self.figures],
        }


def refuse_sentences(protocol: str, queries: object, scores_csv: object) -> None:
    """Check that sentences and scores are given to the default protocol only.

    Raises:
        UsageError: They are given to another one.
    """
    for name, value in (("queries", queries), ("scores", scores_csv)):
        if value is not None and protocol != DEFAULT_PROTOCOL:
            raise UsageError(f"{name} are for the protocol {DEFAULT_PROTOCOL}; {protocol} evaluates ratings")


def evaluate_published(request: PublishedRequest, reporter: Reporter = SILENT) -> PublishedResult:
    """Compare estimated ratings with those of the readers by published rules.

    Raises:
        UsageError: There is no such protocol.
        InputError: No nodules count, or malignancy was not rated or is not what the model was trained on.
        ArtefactError: The index is broken.
    """
    rules = PROTOCOLS.get(request.protocol)
    if rules is None:
        raise UsageError(f"protocol must be {' or '.join((DEFAULT_PROTOCOL, *PROTOCOLS))}, got {request.protocol!r}")
    encoder = open_text_encoder(request.index)
    nodules = load_nodules(request.index, request.readers_csv, reporter)
    where = f"{request.index.location}: --protocol {rules.name}"
    if schema.MALIGNANCY not in encoder.attributes:
        raise InputError(f"{where} needs a model trained on ratings of {schema.MALIGNANCY}")
    if schema.MALIGNANCY not in nodules.readers.attributes:
        raise InputError(f"{where} needs readers' ratings of {schema.MALIGNANCY}, in the index or by --readers")
    rows = find_nodules(rules, nodules.readers, nodules.slice_thickness_mm)
    if len(rows) == 0:
        raise InputError(
            f"{where} counts nodules of three readers or more whose {rules.summary} {schema.MALIGNANCY} is not 3; "
            f"of {len(nodules.rows)} nodules there is none"
        )
    counted = nodules.take(rows)
    known = count_patients(counted)
    report_patients(known, request.index.location, reporter)
    result = _measure(request, rules, counted, encoder)
    unseen = find_unseen(counted)
    apart = _measure(request, rules, counted.take(unseen), encoder) if len(unseen) else None
    return replace(result, training_patients=known, unseen=apart)


def _measure(
    request: PublishedRequest, rules: PublishedRules, nodules: EvaluatedNodules, encoder: SentenceEncoder
) -> PublishedResult:
    estimates = estimate(encoder, nodules.embeddings)
    figures = measure_published(
        rules,
        RatingEstimates(estimates.ratings, estimates.distributions[schema.MALIGNANCY]),
        nodules.readers,
        nodules.patients,
        resamples=request.resamples,
        seed=request.seed,
    )
    return PublishedResult(request, rules, len(nodules.rows), len(set(nodules.patients.tolist())), figures)
