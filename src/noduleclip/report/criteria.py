"""Scores, and how a nodule stands to what a sentence asks for, as text: "27.9 ✓", "2 ✗", "~36.0 (✓)".

A mark without brackets is about a measured value. One in brackets says how the model's estimate stands, where nothing
was measured, and claims nothing.
"""

from collections.abc import Container
from typing import NamedTuple

from noduleclip import schema
from noduleclip.language.query import ParsedQuery
from noduleclip.retrieval.criteria import CheckedCriterion

LEGEND = "~ and marks in brackets: the model's estimate, where nothing was measured"


class Marks(NamedTuple):
    """Characters for what is satisfied and what is not."""

    yes: str = "✓"
    no: str = "✗"


ASCII_MARKS = Marks("+", "x")


def format_mark(checked: CheckedCriterion, marks: Marks = Marks()) -> str:  # noqa: B008 - immutable
    """Return "✓" or "✗" of a measured value, "(✓)" or "(✗)" of an estimate, and nothing where none is known."""
    if checked.satisfied is None:
        return ""
    mark = marks.yes if checked.satisfied else marks.no
    return f"({mark})" if checked.is_estimated else mark


def format_value(checked: CheckedCriterion) -> str:
    """Return the diameter as "27.9", the rating as "2" or "2.67", an estimate with "~" before it; "-" if not known."""
    if checked.value is None:
        return "-"
    is_size = checked.criterion.name == schema.DIAMETER_MM
    text = f"{checked.value:.1f}" if is_size else format_rating(checked.value)
    return f"~{text}" if checked.is_estimated else text


def format_rating(rating: float) -> str:
    """Return a rating, or the mean of several readers', with as many digits as it has: "4", "3.5", "2.67"."""
    return f"{rating:.2f}".rstrip("0").rstrip(".")


def format_criterion(checked: CheckedCriterion) -> str:
    """Return a criterion with its mark and value: "✓ larger than 10 mm", "✗ spiculation at least 3: 2"."""
    mark = format_mark(checked)
    if checked.criterion.name == schema.DIAMETER_MM and checked.value is not None:
        return f"{mark} {checked.criterion.label}"  # the size stands beside it
    value = "not known" if checked.value is None else format_value(checked)
    return " ".join(filter(None, (mark, f"{checked.criterion.label}: {value}")))


def list_scores(columns: Container[str], parsed: ParsedQuery) -> list[str]:
    """Return the scores that people compare, of those that hits have, and the one that ranks first.

    That is the probability of a sentence or the likeness to a nodule; of a mix the score with its two parts. A sentence
    that asks for neither a size nor a rating has no probability: its similarity is shown.
    """
    if not parsed.has_criteria and schema.LIKENESS not in columns:
        shown = [schema.SIMILARITY]
    elif schema.SCORE in columns:
        image = schema.PROBABILITY if parsed.has_criteria else schema.SIMILARITY
        shown = [schema.SCORE, image, schema.RULE, schema.LIKENESS]
    else:
        shown = [schema.LIKENESS if schema.LIKENESS in columns else schema.PROBABILITY]
    return [name for name in shown if name in columns]
