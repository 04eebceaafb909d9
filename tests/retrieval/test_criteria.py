"""What a sentence asks for, and how a nodule stands to each part of it."""

import itertools
import math
from typing import Any

import pytest

from noduleclip.language.query import parse_query
from noduleclip.retrieval.criteria import CheckedCriterion, Criterion, check_criteria, list_criteria, satisfies_all

BOTH = parse_query("a spiculated nodule > 10 mm")
SIZE, RATING = Criterion("diameter_mm", "larger than 10 mm"), Criterion("spiculation", "spiculation at least 3")


def test_criteria_are_named_in_words() -> None:
    assert list_criteria(BOTH) == (SIZE, RATING)
    assert list_criteria(parse_query("a lung nodule")) == ()
    labels = [one.label for one in list_criteria(parse_query("a smooth calcified part-solid nodule of 8 mm"))]
    assert labels == [
        "from 7 to 9 mm", "calcification 1 to 5", "margin at least 4", "lobulation at most 2", "spiculation at most 2",
        "texture 3",
    ]  # fmt: skip


def test_each_criterion_is_checked_by_itself() -> None:
    assert check_criteria(BOTH, {"diameter_mm": 27.9, "spiculation": 2.0}) == (
        CheckedCriterion(SIZE, 27.9, is_estimated=False, satisfied=True),
        CheckedCriterion(RATING, 2.0, is_estimated=False, satisfied=False),
    )


def test_an_estimate_stands_in_for_what_was_not_measured() -> None:
    hit = {"diameter_mm": None, "estimated_diameter_mm": 36.0, "spiculation": 4.5, "estimated_spiculation": 1.0}
    size, rating = check_criteria(BOTH, hit)
    assert size == CheckedCriterion(SIZE, 36.0, is_estimated=True, satisfied=True)
    assert rating == CheckedCriterion(RATING, 4.5, is_estimated=False, satisfied=True)


@pytest.mark.parametrize("hit", [{}, {"diameter_mm": None, "spiculation": math.nan}])
def test_what_is_not_known_is_neither(hit: dict[str, Any]) -> None:
    assert [(one.value, one.is_estimated, one.satisfied) for one in check_criteria(BOTH, hit)] == [
        (None, False, None)
    ] * 2
    assert satisfies_all(BOTH, hit) is None


MEASURED = {True: 5.0, False: 1.0, None: None}


@pytest.mark.parametrize("estimate", [None, 1.0, 5.0])
@pytest.mark.parametrize("standings", list(itertools.product((True, False, None), repeat=2)))
def test_measured_values_alone_satisfy_a_sentence(
    standings: tuple[bool | None, bool | None], estimate: float | None
) -> None:
    """Compared with the three-valued "and" of the criteria."""
    parsed = parse_query("spiculation >= 3 and lobulation >= 3")
    names = ("spiculation", "lobulation")
    hit = {name: MEASURED[standing] for name, standing in zip(names, standings, strict=True)}
    hit |= {f"estimated_{name}": estimate for name in names}
    expected = False if False in standings else None if None in standings else True
    assert satisfies_all(parsed, hit) is expected
    measured = [None if one.is_estimated else one.satisfied for one in check_criteria(parsed, hit)]
    assert sorted(map(str, measured)) == sorted(map(str, standings))


def test_nothing_asked_for_is_not_satisfied() -> None:
    assert satisfies_all(parse_query("a lung nodule"), {"diameter_mm": 8.0}) is None
