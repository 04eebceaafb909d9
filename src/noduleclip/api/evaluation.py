"""Evaluation of an index."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import polars as pl

from noduleclip.api.arguments import as_path, choose_reporter
from noduleclip.api.search import Index
from noduleclip.errors import UsageError

if TYPE_CHECKING:
    from noduleclip.workflows.evaluate import EvaluationResult
    from noduleclip.workflows.evaluate_published import PublishedResult
    from noduleclip.workflows.training_patients import TrainingPatients


@dataclass(frozen=True)
class Evaluation:
    """How well an index is ranked for the sentences of the protocol, beside its readers.

    Attributes:
        result: The metrics with their 95 % intervals, as dataclasses.

    Examples:
        >>> evaluation = nc.evaluate(nc.open_index("idx"), draws=5, resamples=10)
        >>> page = evaluation.save("idx-report")
    """

    result: "EvaluationResult"

    @cached_property
    def table(self) -> pl.DataFrame:
        """One row per sentence: base rate, and each metric of the model and of the readers with its interval."""
        from noduleclip.report.evaluation import flatten_queries

        return pl.DataFrame(flatten_queries(self.result))

    @property
    def training_patients(self) -> "TrainingPatients | None":
        """How many of the patients trained the model or chose its epoch; None where that is not known."""
        return self.result.training_patients

    @cached_property
    def unseen_table(self) -> pl.DataFrame | None:
        """The table of unseen patients alone; None where all are unseen, or where that is not known."""
        from noduleclip.report.evaluation import flatten_queries

        return None if self.result.unseen is None else pl.DataFrame(flatten_queries(self.result.unseen))

    @property
    def mean_ap(self) -> float:
        """Mean average precision over the sentences on sizes, or over those that were given."""
        return next(iter(self.result.evaluations.values())).model["ap"].mean

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write `evaluation.json` and a page with plots, as `noduleclip evaluate --out` does.

        Returns:
            The page.

        Raises:
            UsageError: The folder holds a report already.
            OutputError: It cannot be written to.
        """
        from noduleclip.report.evaluation import write_evaluation

        with _report_lock(folder, overwrite):
            return write_evaluation(self.result, Path(folder))

    def __repr__(self) -> str:
        queries, nodules = len(self.table), len(self.result.nodules.rows)
        return f"<noduleclip.Evaluation of {nodules:,} nodules, {queries} sentences, mean AP {self.mean_ap:.3f}>"


@dataclass(frozen=True)
class PublishedEvaluation:
    """Estimated ratings by the rules of published work, beside the best constant and one reader.

    Attributes:
        result: The figures with their 95 % intervals, as dataclasses.

    Examples:
        >>> evaluation = nc.evaluate(nc.open_index("rated_idx"), protocol="proto-caps", resamples=10)
        >>> page = evaluation.save("rated-report")
    """

    result: "PublishedResult"

    @cached_property
    def table(self) -> pl.DataFrame:
        """One row per figure: the model, the constant and a reader with intervals, and the published figure."""
        from noduleclip.report.published import flatten_figures

        return pl.DataFrame(flatten_figures(self.result))

    @property
    def training_patients(self) -> "TrainingPatients | None":
        """How many of the patients trained the model or chose its epoch; None where that is not known."""
        return self.result.training_patients

    @cached_property
    def unseen_table(self) -> pl.DataFrame | None:
        """The table of unseen patients alone; None where all are unseen, or where that is not known."""
        from noduleclip.report.published import flatten_figures

        return None if self.result.unseen is None else pl.DataFrame(flatten_figures(self.result.unseen))

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write `evaluation.json` and a page, as `noduleclip evaluate --protocol … --out` does.

        Returns:
            The page.

        Raises:
            UsageError: The folder holds a report already.
            OutputError: It cannot be written to.
        """
        from noduleclip.report.published import write_published

        with _report_lock(folder, overwrite):
            return write_published(self.result, Path(folder))

    def __repr__(self) -> str:
        return f"<noduleclip.PublishedEvaluation of {self.result.nodules:,} nodules by {self.result.rules.name}>"


def _report_lock(folder: str | Path, overwrite: bool) -> AbstractContextManager[None]:
    """Return the lock of a folder that a report is written to."""
    from noduleclip.workflows.evaluate import EVALUATION_FILES
    from noduleclip.workflows.output_lock import OVERWRITE, output_lock

    return output_lock(Path(folder), EVALUATION_FILES, OVERWRITE, replace=overwrite)


@overload
def evaluate(
    index: Index,
    *,
    protocol: Literal["default"] = "default",
    queries: Sequence[str] | Path | None = None,
    readers_csv: str | Path | None = None,
    scores_csv: str | Path | None = None,
    draws: int = 50,
    resamples: int = 300,
    seed: int = 0,
    verbose: bool = False,
) -> Evaluation: ...


@overload
def evaluate(
    index: Index,
    *,
    protocol: Literal["credanno", "proto-caps"],
    readers_csv: str | Path | None = None,
    resamples: int = 300,
    seed: int = 0,
    verbose: bool = False,
) -> PublishedEvaluation: ...


def evaluate(
    index: Index,
    *,
    protocol: Literal["default", "credanno", "proto-caps"] = "default",
    queries: Sequence[str] | Path | None = None,
    readers_csv: str | Path | None = None,
    scores_csv: str | Path | None = None,
    draws: int = 50,
    resamples: int = 300,
    seed: int = 0,
    verbose: bool = False,
) -> Evaluation | PublishedEvaluation:
    """Evaluate an index; the same figures as `noduleclip evaluate`.

    Args:
        index: The index.
        protocol: "default" for rankings and estimates beside the readers; "credanno" or "proto-caps" for estimated
            ratings by the rules of that publication.
        queries: Sentences with a size or a rating, or a file with one a line; None = those of the protocol.
        readers_csv: ROI table with a row of every reader for the same nodules; None = the index's own readers.
        scores_csv: Scores to evaluate instead of the index's: a CSV with the column `row` and one per sentence.
        draws: Draws of the reader who is the truth, by the default protocol.
        resamples: Bootstrap samples of patients.
        seed: Seed of draws and bootstrap.
        verbose: Print messages and progress on stderr.

    Raises:
        UsageError: There is no such protocol, or sentences or scores are given to another than the default.
        InputError: There are too few nodules with a diameter, or a sentence or a table cannot be used.
        ArtefactError: The index is broken.

    Examples:
        >>> evaluation = nc.evaluate(nc.open_index("idx"), queries=["> 6 mm", "<= 8 mm"], draws=5, resamples=10)
        >>> table = evaluation.table.select("query", "model_ap")
        >>> published = nc.evaluate(nc.open_index("rated_idx"), protocol="credanno", resamples=10)
        >>> table = published.table.select("name", "model", "constant", "one_reader", "published")
    """
    from noduleclip.workflows.evaluate import EvaluateRequest
    from noduleclip.workflows.evaluate import evaluate as run
    from noduleclip.workflows.evaluate_published import (
        DEFAULT_PROTOCOL,
        PublishedRequest,
        evaluate_published,
        refuse_sentences,
    )

    if isinstance(queries, str):
        raise UsageError("queries must be a sequence of sentences or a Path, not a single text")
    refuse_sentences(protocol, queries, scores_csv)
    if protocol != DEFAULT_PROTOCOL:
        published = PublishedRequest(
            index=index.stored, protocol=protocol, readers_csv=as_path(readers_csv), resamples=resamples, seed=seed
        )
        return PublishedEvaluation(evaluate_published(published, choose_reporter(verbose)))
    request = EvaluateRequest(
        index=index.stored,
        queries=queries if queries is None or isinstance(queries, Path) else tuple(queries),
        readers_csv=as_path(readers_csv),
        scores_csv=as_path(scores_csv),
        draws=draws,
        resamples=resamples,
        seed=seed,
    )
    return Evaluation(run(request, choose_reporter(verbose)))
