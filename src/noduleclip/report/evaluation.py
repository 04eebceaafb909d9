"""Results of an evaluation: tables, CSV or JSON on stdout, and the files of a report."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noduleclip import schema
from noduleclip.io.artefacts import format_json, write_together
from noduleclip.report.console import data_console, write_json_lines
from noduleclip.report.evaluation_summary import excludes_zero, print_summary, shorten_sentence
from noduleclip.report.tables import print_records
from noduleclip.workflows.evaluate import EvaluationResult
from noduleclip.workflows.evaluation_curves import trace_curves
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.training_patients import TrainingPatients

_DIFFERENCES = {"above_second": "- second", "above_panel": "- panel"}
_READER_HEADS = (("second_reader", "second"), ("panel", "panel"))
_MEAN_LABELS = {
    "model": "mean AP, nodules with two readers or more",
    "second_reader": "  a second reader there",
    "panel": "  the panel of all other readers there",
    "above_second": "model - second reader",
    "above_panel": "model - panel",
}
_AP_TITLE = "AP there; P@50 and nDCG above the panel's; ! = the 95 % interval over patients excludes zero"
_SIZES_TITLE = "nodules with two readers or more; ! = the 95 % interval over patients excludes zero"
_RATINGS_TITLE = f"mean absolute difference of a rating from a random reader's; {_SIZES_TITLE}"
_COVERAGE_TITLE = "share of nodules of which the 80 % interval covers a random reader's diameter"
_CALIBRATION_TITLE = "expected calibration error of the probabilities of sentences"


def print_evaluation(result: EvaluationResult, form: str, *, verbose: bool = False) -> None:
    """Print an evaluation.

    Args:
        result: The evaluation.
        form: "table" for the main figures, "csv" for a row per sentence, "json" for one object with everything.
        verbose: For "table": print all tables of sentences, sizes and ratings instead.
    """
    if form == "json":
        write_json_lines([json.dumps(without_nan(result.to_mapping()))])
    elif form == "csv":
        print_records(flatten_queries(result), form)
    elif verbose:
        _print_tables(result.to_mapping())
    else:
        print_summary(result.to_mapping())


def flatten_queries(result: EvaluationResult) -> list[dict[str, Any]]:
    """Return a record per sentence: mean and interval of each metric, of the model and of the readers."""
    return [flatten_record(query) for group in _list_groups(result.to_mapping()) for query in group["queries"]]


def write_evaluation(result: EvaluationResult, folder: Path, reporter: Reporter = SILENT) -> Path:
    """Write `evaluation.json` and a page with plots.

    Returns:
        The page.
    """
    from noduleclip.report.evaluation_page import render_evaluation

    found = without_nan(result.to_mapping())
    curves = trace_curves(result, reporter)
    page = render_evaluation(found, result.queries, curves, str(result.request.index.location))
    texts = {schema.EVALUATION_PAGE: page, schema.EVALUATION_JSON: format_json(found)}
    write_together({folder / name: text for name, text in texts.items()})
    return folder / schema.EVALUATION_PAGE


def _list_groups(evaluation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [group for group in (evaluation, evaluation["ratings"]) if group is not None]


def _print_tables(evaluation: Mapping[str, Any]) -> None:
    known, unseen = evaluation["training_patients"], evaluation["unseen"]
    _print_part(evaluation, "")
    if known is not None:
        data_console().print()
        data_console().print(TrainingPatients(**known).describe(), markup=False)
    if unseen is not None:
        data_console().print()
        _print_part(unseen, "unseen patients alone: ")


def _print_part(evaluation: Mapping[str, Any], of: str) -> None:
    """Print the tables of all nodules, or of those of unseen patients, which `of` says in the title."""
    form = "table"
    title = f"{of}{evaluation['nodules']} nodules, {evaluation['common']} with two readers or more (*)"
    for group in _list_groups(evaluation):
        print_records([_describe_query(query) for query in group["queries"]], form, title)
        title = "what readers rated"
        if group["readers"]:
            print_records([_compare_query(query) for query in group["queries"] if query["readers"]], form, _AP_TITLE)
        _print_means(group)
    sizes = [_describe_measure("sizes", measure) for measure in evaluation["sizes"]]
    ratings = [_describe_measure("estimated", measure) for measure in evaluation["estimated_ratings"]]
    coverage = [_describe_coverage(part) for part in evaluation["coverage"]]
    calibration = [_describe_calibration(subject) for subject in evaluation["calibration"]]
    for records, title in (
        (sizes, _SIZES_TITLE),
        (ratings, _RATINGS_TITLE),
        (coverage, _COVERAGE_TITLE),
        (calibration, _CALIBRATION_TITLE),
    ):
        if records:
            data_console().print()
            print_records(records, form, title)


def _describe_query(query: Mapping[str, Any]) -> dict[str, Any]:
    model = {name: interval["mean"] for name, interval in query["model"].items()}
    return {
        "query": shorten_sentence(query["query"]),
        "base": query["base_rate"],
        "P@10": model["precision_10"],
        "lift": _lift(query["lift_10"]),
        "P@50": model["precision_50"],
        "lift ": _lift(query["lift_50"]),
        "nDCG": model["ndcg"],
        "AP": model["ap"],
    }


def _lift(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}x"


def _compare_query(query: Mapping[str, Any]) -> dict[str, Any]:
    ap = query["readers"]["ap"]
    ranked = {f"{head}*": ap[name]["mean"] for name, head in (("model", "AP"), *_READER_HEADS)}
    return {
        "query": shorten_sentence(query["query"]),
        **ranked,
        **{head: _signed(ap[name], 3) for name, head in _DIFFERENCES.items()},
        "P@50": _signed(query["readers"]["precision_50"]["above_panel"], 3),
        "nDCG": _signed(query["readers"]["ndcg"]["above_panel"], 3),
    }


def _print_means(group: Mapping[str, Any]) -> None:
    rows = [("mean AP, all nodules", group["model"]["ap"])]
    if group["readers"]:
        rows += [(label, group["readers"]["ap"][name]) for name, label in _MEAN_LABELS.items()]
    for label, value in rows:
        data_console().print(
            f"{label:<44}{value['mean']:>7.3f}  [{value['low']:.3f}, {value['high']:.3f}]", markup=False
        )


def _describe_measure(head: str, measure: Mapping[str, Any]) -> dict[str, Any]:
    readers = measure["readers"]
    means = {head: readers[name]["mean"] for name, head in (("model", "model"), *_READER_HEADS)}
    differences = {head: _signed(readers[name], 2) for name, head in _DIFFERENCES.items()}
    return {head: measure["name"], "nodules": round(measure["nodules"]), **means, **differences}


def _describe_coverage(part: Mapping[str, Any]) -> dict[str, Any]:
    share = part["share"]
    return {
        "interval": part["name"],
        "nodules": round(part["nodules"]),
        "covered": share["mean"],
        "95 %": f"{share['low']:.3f}-{share['high']:.3f}",
        "median width, mm": part["median_width_mm"],
    }


def _describe_calibration(subject: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sentences about": subject["name"],
        "number": subject["sentences"],
        "nodules": subject["nodules"],
        "error": subject["error"],
        "farthest off": shorten_sentence(subject["worst"]),
        "by": f"{subject['worst_gap']:+.3f}",
    }


def _signed(value: Mapping[str, float], digits: int) -> str:
    """Format a difference, with a ! where its interval excludes zero."""
    if math.isnan(value["mean"]):
        return "-"
    return f"{value['mean']:+.{digits}f}" + ("!" if excludes_zero(value) else " ")


def flatten_record(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn {"x": {"mean": 1, "low": 0}} into {"x": 1, "x_low": 0}, at any depth."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        key = prefix.rstrip("_") if name == "mean" else f"{prefix}{name}"
        flat |= flatten_record(value, f"{key}_") if isinstance(value, Mapping) else {key: value}
    return flat


def without_nan(value: Any) -> Any:
    """Replace NaN, which JSON lacks, by None."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Mapping):
        return {name: without_nan(item) for name, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list | tuple) else value
