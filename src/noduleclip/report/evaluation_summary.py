"""The figures of an evaluation on one screen: all nodules, then those of unseen patients."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from noduleclip import schema
from noduleclip.report.console import data_console
from noduleclip.report.tables import print_records
from noduleclip.workflows.training_patients import TrainingPatients

_COMMON_START: Final = "a lung nodule with diameter "
_MOST_SENTENCES: Final = 10
_SHOWN_SIZES: Final = {
    "three-bin accuracy": "three-bin accuracy",
    "implied diameter, mean absolute error, mm": "diameter, mean error, mm",
}
"""Measures of the diameter that are shown, by their name in the evaluation."""

Figures = Mapping[str, Any]


def print_summary(evaluation: Figures) -> None:
    """Print the main figures, at most 40 lines of 80 characters.

    Args:
        evaluation: As `evaluation.json` has it.
    """
    unseen = evaluation["unseen"]
    parts = [("", evaluation)] if unseen is None else [("", evaluation), ("unseen patients alone: ", unseen)]
    for of, part in parts:
        title = f"{of}{part['nodules']:,} nodules; (*) on {part['common']:,} with two readers or more"
        print_records(list(_list_figures(part, has_sentences=not of)), "table", title)
    known = evaluation["training_patients"]
    notes = [] if known is None else [TrainingPatients(**known).describe()]
    for note in (
        *notes,
        "! = the 95 % interval of the difference to the panel excludes zero",
        "--verbose has all tables, --out DIR a page",
    ):
        data_console().print(note, markup=False)


def shorten_sentence(sentence: str) -> str:
    """Return a sentence without the words that most begin with."""
    return sentence.removeprefix("a lung nodule, ").removeprefix(_COMMON_START)


def _list_figures(part: Figures, *, has_sentences: bool) -> Iterator[dict[str, Any]]:
    groups = [group for group in (part, part["ratings"]) if group is not None]
    for group in groups:
        kind = "sentences" if len(groups) == 1 else "sizes" if group is part else "ratings"
        yield _describe(f"mean AP, {len(group['queries'])} {kind}", group["model"]["ap"], group["readers"].get("ap"))
        if has_sentences and group is part and len(group["queries"]) <= _MOST_SENTENCES:
            for query in group["queries"]:
                name = f"  {shorten_sentence(query['query'])}"[:28]
                yield _describe(name, query["model"]["ap"], query["readers"].get("ap"))
    for measure in part["sizes"]:
        if measure["name"] in _SHOWN_SIZES:
            yield _describe(_SHOWN_SIZES[measure["name"]], None, measure["readers"])
    for coverage in part["coverage"][:1]:
        yield _describe("80 % interval covers", coverage["share"])
    for subject in part["calibration"]:
        if subject["name"] == schema.DIAMETER_MM:
            yield _describe("error of size probabilities", {"mean": subject["error"]})


def _describe(name: str, model: Mapping[str, float] | None, readers: Figures | None = None) -> dict[str, str]:
    """Return a row: the model on all nodules, and beside the readers on those with two or more."""
    of = {key: readers[key]["mean"] if readers else None for key in ("model", "second_reader", "panel")}
    mark = "!" if readers and excludes_zero(readers["above_panel"]) else " "
    interval = "-" if model is None or "low" not in model else f"{_number(model['low'])}-{_number(model['high'])}"
    return {
        "": name,
        "model": _number(None if model is None else model["mean"]),
        "95 %": interval,
        "model*": _number(of["model"]) + mark,
        "second*": _number(of["second_reader"]),
        "panel*": _number(of["panel"]),
    }


def excludes_zero(difference: Mapping[str, float | None]) -> bool:
    """Return whether the interval of a difference does not contain zero; a missing one does."""
    low, high = difference["low"], difference["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
