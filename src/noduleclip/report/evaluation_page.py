"""The report of an evaluation: one self-contained page with tables and plots, no script and no request to a network."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from noduleclip.evaluation.breakdown import Part
from noduleclip.evaluation.calibration import Reliability
from noduleclip.evaluation.curves import RECALLS, PrecisionCurves
from noduleclip.evaluation.sizes import SizeErrors
from noduleclip.report.evaluation_summary import excludes_zero
from noduleclip.report.page import MODEL_COLOUR, PLAIN_COLOUR, READER_COLOUR, inline_figure, render_page
from noduleclip.workflows.evaluation_curves import EvaluationCurves
from noduleclip.workflows.training_patients import TrainingPatients

_COLUMNS = 5
_TEMPLATE = "evaluation.html.jinja"


def render_evaluation(
    found: Mapping[str, Any],
    queries: Sequence[str],
    curves: EvaluationCurves,
    source: str,
) -> str:
    """Return the page.

    Args:
        found: Content of `evaluation.json`; None for unknown values.
        queries: All evaluated sentences.
        curves: Curves and breakdown.
        source: Location of the index.
    """
    sizes, reliability, breakdown = curves.sizes, curves.reliability, curves.breakdown
    unseen, known = found["unseen"], found["training_patients"]
    groups = _list_groups(found, "") + (_list_groups(unseen, "Unseen patients: ") if unseen else [])
    filters = {"number": _number, "interval": _interval, "sure": excludes_zero, "short": _shorten, "part": _name_part}
    return render_page(
        _TEMPLATE,
        filters,
        source=source,
        found=found,
        groups=groups,
        patients=TrainingPatients(**known).describe() if known else None,
        precision=inline_figure(_plot_precision(queries, curves.precision)),
        sizes=inline_figure(_plot_sizes(sizes)) if sizes and found["sizes"] else None,
        errors=sizes,
        reliability=inline_figure(_plot_reliability(reliability)) if reliability else None,
        calibration=reliability,
        breakdown=breakdown,
        by_size=inline_figure(_plot_parts(breakdown.by_size)) if breakdown and breakdown.by_size else None,
        by_manufacturer=inline_figure(_plot_parts(breakdown.by_manufacturer))
        if breakdown and breakdown.by_manufacturer
        else None,
        by_alpha=inline_figure(_plot_alpha(breakdown.by_alpha)) if breakdown and breakdown.by_alpha else None,
    )


def _list_groups(found: Mapping[str, Any], of: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the groups of sentences with their headings."""
    groups = [("Sentences", found)]
    if found["ratings"]:
        groups = [("Sizes", found), ("What readers rated", found["ratings"])]
    return [(f"{of}{heading.lower()}" if of else heading, group) for heading, group in groups]


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(value: Mapping[str, float | None], digits: int = 3) -> str:
    if value["mean"] is None or value["low"] is None or value["high"] is None:
        return "-"
    return f"{value['mean']:+.{digits}f} [{value['low']:+.{digits}f}, {value['high']:+.{digits}f}]"


def _name_part(name: str) -> str:
    """Return the name of a measure, or of a part of the one above it: those are indented."""
    return f"… {name.strip()}" if name.startswith(" ") else name


def _plot_precision(queries: Sequence[str], curves: Sequence[PrecisionCurves | None]) -> Figure:
    rows = -(-len(queries) // _COLUMNS)
    figure = Figure(figsize=(10, 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).flatten()
    for axes in grid[len(queries) :]:
        axes.axis("off")
    for axes, query, curve in zip(grid, queries, curves, strict=False):
        axes.set_title(_shorten(query), fontsize=8, parse_math=False)
        if curve is not None:
            axes.plot(RECALLS, curve.model, color=MODEL_COLOUR)
            axes.plot(RECALLS, curve.second_reader, color=READER_COLOUR, linestyle="--")
            axes.axhline(curve.base_rate, color=PLAIN_COLOUR, linestyle=":")
    grid[0].set(xlim=(0, 1), ylim=(0, 1.02))
    figure.supxlabel("recall", fontsize=9)
    figure.supylabel("precision", fontsize=9)
    return figure


def _shorten(query: str) -> str:
    short = query.removeprefix("a lung nodule with ").removeprefix("diameter ")
    return short if len(short) <= 32 else short[:31] + "…"


def _plot_sizes(sizes: SizeErrors) -> Figure:
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(
        (sizes.read_mm + sizes.implied_mm) / 2, sizes.implied_mm - sizes.read_mm, s=9, alpha=0.6, color=MODEL_COLOUR
    )
    axes.axhline(sizes.mean_mm, color=READER_COLOUR)
    for limit in sizes.limits_mm:
        axes.axhline(limit, color=READER_COLOUR, linestyle="--")
    axes.axhline(0, color=PLAIN_COLOUR, linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xticks([3, 4, 6, 8, 10, 15, 20, 30, 40])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    axes.set(xlabel="mean of implied and read diameter, mm", ylabel="implied - read, mm")
    return figure


def _plot_parts(parts: Sequence[Part]) -> Figure:
    """Plot a line per part: the model with its interval, another reader, the panel."""
    figure = Figure(figsize=(8, 0.9 + 0.36 * len(parts)), layout="constrained")
    axes = figure.subplots()
    places = range(len(parts))
    model = [part.ap.model for part in parts]
    axes.hlines(places, [one.low for one in model], [one.high for one in model], color=MODEL_COLOUR, linewidth=1.5)
    axes.plot([one.mean for one in model], places, "o", color=MODEL_COLOUR)
    axes.plot([part.ap.second_reader.mean for part in parts], places, "x", color=READER_COLOUR)
    axes.plot([part.ap.panel.mean for part in parts], places, "|", color=PLAIN_COLOUR, markersize=13, markeredgewidth=2)
    axes.set_yticks(places, [f"{_shorten(part.name)} ({part.nodules})" for part in parts], parse_math=False)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.02), xlabel="average precision")
    axes.grid(axis="x", linewidth=0.4)
    return figure


def _plot_alpha(means: Sequence[tuple[float, float]]) -> Figure:
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(*zip(*means, strict=True), "o-", color=MODEL_COLOUR, markersize=3)
    axes.set(xlim=(0, 1), xlabel="alpha: 0 the measured diameter alone, 1 the image alone", ylabel="mean AP")
    axes.grid(linewidth=0.4)
    return figure


def _plot_reliability(reliability: Reliability) -> Figure:
    figure = Figure(figsize=(4.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=PLAIN_COLOUR, linewidth=0.8)
    axes.plot(reliability.predicted, reliability.observed, color=MODEL_COLOUR)
    area = 20 + 180 * reliability.pairs / reliability.pairs.max()
    axes.scatter(reliability.predicted, reliability.observed, s=area, color=MODEL_COLOUR, alpha=0.6)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", ylabel="share of readers who agree")
    return figure
