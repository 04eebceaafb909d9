"""Page of a training run, without scripts: its curves, and what the best model finds and misses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.config import LUNG_WINDOW_HU
from noduleclip.io.artefacts import write_text
from noduleclip.io.windows import encode_for_page, window_grey
from noduleclip.language import EVALUATION_QUERIES, parse_intervals
from noduleclip.report.page import MODEL_COLOUR, READER_COLOUR, inline_figure, render_page
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.train import TrainResult

_TEMPLATE: Final = "training.html.jinja"
_SHOWN: Final = ("<= 6 mm", "6-10 mm", "> 10 mm")
_EXAMPLES: Final = 8


@dataclass(frozen=True)
class Example:
    """A nodule on the page.

    Attributes:
        place: Its rank, 1 = best.
        size: Mean diameter over its readers, in mm.
        is_true: Whether the query is true of that diameter.
        picture: Data URL of its picture.
    """

    place: int
    size: float
    is_true: bool
    picture: str


@dataclass(frozen=True)
class Examples:
    """Nodules for one query: the highest-ranked ones, and the true ones of the lowest rank."""

    query: str
    found: list[Example]
    missed: list[Example]


def write_training_page(result: TrainResult, reporter: Reporter = SILENT) -> None:
    """Write `training.html` into the folder of a run."""
    ranking, examples = result.ranking, []
    if ranking is None:
        reporter.info(f"no validation patients: the weights at epoch {result.best_epoch}: {result.checkpoint}")
    else:
        reporter.info(f"best validation mean AP {result.val_map:.3f} at epoch {result.best_epoch}: {result.checkpoint}")
        examples = find_examples(ranking.scores, EVALUATION_QUERIES, ranking.diameters_mm, ranking.crops_hu)
    page = result.out / schema.TRAINING_PAGE
    write_text(page, render_training(result.history, result.best_epoch - 1, examples, str(result.out)))
    reporter.info(f"curves and examples: {page}")


def find_examples(
    scores: NDArray[np.float64],
    queries: Sequence[str],
    diameters_mm: NDArray[np.float64],
    crops_hu: NDArray[np.float32],
) -> list[Examples]:
    """Choose examples for the queries of the three size bins.

    Args:
        scores: (Q, N) by query.
        queries: Q evaluation queries.
        diameters_mm: (N, R) by reader, NaN-padded.
        crops_hu: (N, Y, X) HU.
    """
    sizes = np.nanmean(diameters_mm, axis=1)
    chosen = []
    for query, interval, row in zip(queries, parse_intervals(queries), scores, strict=True):
        if not query.endswith(_SHOWN):
            continue
        order = np.argsort(-row, kind="stable")
        ranked = [(place, int(at), interval.contains(float(sizes[at]))) for place, at in enumerate(order, start=1)]
        lowest = [one for one in reversed(ranked) if one[2] and one[0] > _EXAMPLES]
        found, missed = (
            [Example(place, float(sizes[at]), fits, _draw(crops_hu[at])) for place, at, fits in some[:_EXAMPLES]]
            for some in (ranked, lowest)
        )
        chosen.append(Examples(query, found, missed))
    return chosen


def _draw(crop_hu: NDArray[np.float32]) -> str:
    return encode_for_page(window_grey(crop_hu, LUNG_WINDOW_HU))


def render_training(
    history: Sequence[Mapping[str, Any]], best_epoch: int, examples: Sequence[Examples], source: str
) -> str:
    """Return the page as HTML.

    Args:
        history: A record per epoch, as in `metrics.jsonl`.
        best_epoch: Index of the best one.
        examples: Nodules that the best model finds and misses; empty without validation nodules.
        source: Folder of the run.
    """
    best = history[best_epoch]
    return render_page(
        _TEMPLATE,
        curves=inline_figure(_plot_curves(history, best_epoch)),
        queries=[(query, ap) for query, ap in best["val_ap"].items() if ap == ap],
        best=best,
        epochs=len(history),
        examples=examples,
        source=source,
    )


def _plot_curves(history: Sequence[Mapping[str, Any]], best_epoch: int) -> Figure:
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    epochs = [line["epoch"] for line in history]
    axes.plot(epochs, [line["loss"] for line in history], color=READER_COLOUR, linestyle="--")
    axes.set(xlabel="epoch")
    axes.set_ylabel("training loss (dashed)", color=READER_COLOUR)
    val_map = [line["val_map"] for line in history]
    if None not in val_map:
        beside = axes.twinx()
        beside.plot(epochs, val_map, color=MODEL_COLOUR)
        beside.plot(epochs[best_epoch], val_map[best_epoch], "o", color=MODEL_COLOUR)
        beside.set_ylabel("validation mean AP", color=MODEL_COLOUR)
    return figure
