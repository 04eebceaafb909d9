"""Results of an evaluation by published rules: a table, CSV or JSON on stdout, and the files of a report."""

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noduleclip import schema
from noduleclip.io.artefacts import format_json, write_together
from noduleclip.report.console import data_console, write_json_lines
from noduleclip.report.evaluation import flatten_record, without_nan
from noduleclip.report.page import render_page
from noduleclip.report.tables import print_records
from noduleclip.workflows.evaluate_published import PublishedResult

_TITLE = "share of nodules; constant: one answer for all; reader: one against the others"


def print_published(result: PublishedResult, form: str) -> None:
    """Print an evaluation by published rules.

    Args:
        result: The evaluation.
        form: "table", "csv" for a row per figure, or "json" for one object.
    """
    found = result.to_mapping()
    if form == "json":
        write_json_lines([json.dumps(without_nan(found))])
    elif form == "csv":
        print_records(flatten_figures(result), form)
    else:
        known, unseen = result.training_patients, result.unseen
        print_records([_describe_figure(figure) for figure in found["figures"]], form, _TITLE)
        if unseen is not None:
            print_records(
                [_describe_figure(figure) for figure in found["unseen"]["figures"]],
                form,
                f"unseen patients alone: {_count(unseen)}",
            )
        training = f" {known.describe().capitalize()}." if known else ""
        for line in textwrap.wrap(f"{_count(result)}. {result.rules.source}.{training}", 80):
            data_console().print(line, markup=False)


def _count(result: PublishedResult) -> str:
    return f"{result.nodules} nodules of {result.patients} patient{'' if result.patients == 1 else 's'}"


def flatten_figures(result: PublishedResult) -> list[dict[str, Any]]:
    """Return a record per figure, with mean and interval of the model, the constant and a reader."""
    return [flatten_record(figure) for figure in result.to_mapping()["figures"]]


def write_published(result: PublishedResult, folder: Path) -> Path:
    """Write `evaluation.json` and a page.

    Returns:
        The page.
    """
    found = without_nan(result.to_mapping())
    filters = {"share": _share, "interval": _interval}
    known = result.training_patients
    page = render_page(
        "published.html.jinja",
        filters,
        found=found,
        source=str(result.request.index.location),
        patients=known.describe() if known else None,
    )
    texts = {schema.EVALUATION_PAGE: page, schema.EVALUATION_JSON: format_json(found)}
    write_together({folder / name: text for name, text in texts.items()})
    return folder / schema.EVALUATION_PAGE


def _describe_figure(figure: Mapping[str, Any]) -> dict[str, Any]:
    rating = figure["constant_rating"]
    constant = _share(figure["constant"]["mean"])
    return {
        "figure": figure["name"].replace(" within one", " ± 1"),
        "model": _interval(figure["model"]),
        "constant": constant if rating is None else f"{constant} ({rating})",
        schema.READER: _share(figure["one_reader"]["mean"]),
        "published": _share(figure["published"]),
    }


def _share(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3f}"


def _interval(value: Mapping[str, float | None]) -> str:
    if _share(value["mean"]) == "-":
        return "-"
    return f"{_share(value['mean'])} [{_share(value['low'])}, {_share(value['high'])}]"
