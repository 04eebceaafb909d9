"""Sizes and estimates as text."""

import math
from typing import Any

import pytest

from noduleclip import schema
from noduleclip.report.estimates import format_counts, format_estimates, format_reader_sizes, format_size

MODEL = {
    schema.ESTIMATED_DIAMETER: 9.44,
    schema.ESTIMATED_LOW: 8.06,
    schema.ESTIMATED_HIGH: 10.84,
    "probability_solid": 0.931,
    "probability_ground_glass": 0.02,
    "probability_poorly_defined": 0.5,
    "probability_texture_5": 0.99,
    schema.DESCRIPTION: "about 9.4 mm",
}


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({schema.DIAMETER_MM: 8.25, **MODEL}, "8.2"),
        ({schema.DIAMETER_MM: None, **MODEL}, "~9.4"),
        ({schema.DIAMETER_MM: math.nan, **MODEL}, "~9.4"),
        ({schema.DIAMETER_MM: None}, None),
    ],
)
def test_an_estimate_stands_in_for_a_diameter_and_is_marked(row: dict[str, Any], text: str | None) -> None:
    assert format_size(row) == text


def test_estimates_have_their_interval_and_the_phrases_that_are_likely() -> None:
    assert format_estimates(MODEL) == "9.4 mm (8.1-10.8), solid 0.93, poorly defined 0.50"
    assert format_estimates({schema.DIAMETER_MM: 8.0}) == ""


@pytest.mark.parametrize(
    ("highly", "text"), [(0.71, "highly suspicious 0.71, solid 0.60"), (0.4, "suspicious 0.94, solid 0.60")]
)
def test_the_stronger_of_two_phrases_stands_alone(highly: float, text: str) -> None:
    row = {"probability_suspicious": 0.94, "probability_highly_suspicious": highly, "probability_solid": 0.6}
    assert format_estimates(row) == text


def test_readers_have_their_sizes_and_counts() -> None:
    row = {schema.READERS: 4, schema.SLICES: 1, schema.READER_DIAMETERS: [27.14, None, 29.3]}
    assert format_counts(row) == "4 readers, 1 slice"
    assert format_reader_sizes(row) == "27.1, 29.3 mm"
    assert format_counts({schema.READERS: None}) == format_reader_sizes({}) == ""
