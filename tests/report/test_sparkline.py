"""Series and histograms in a line."""

import io
import math

import pytest
from rich.console import Console

from noduleclip.report.sparkline import choose_bars, describe_counts, draw_sparkline

BARS = "▁▂▃▄▅▆▇█"


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, BARS),
        ([7, 0], 8, "█▁"),
        ([0, math.nan, 7], 8, "▁█"),
        ([2, 2, 2], 8, "▁▁▁"),
        ([0, 0, 7, 7, 14, 14], 3, "▁▅█"),
        ([0, 2, 7, 7, 6], 2, "▁█"),
        ([], 8, ""),
    ],
)
def test_a_series_goes_from_its_lowest_to_its_highest_value(values: list[float], width: int, drawn: str) -> None:
    assert draw_sparkline(values, BARS, width) == drawn


def test_a_histogram_leaves_out_what_is_empty() -> None:
    assert describe_counts({"<= 3": 8, "3-4": 0, "4-6": 1234}, BARS) == "<= 3 8 ▁ | 4-6 1,234 █"
    assert describe_counts({"<= 3": 0}, BARS) == ""


def test_bars_are_characters_that_the_stream_has() -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    assert choose_bars(Console(file=narrow)).isascii()
    assert choose_bars(Console(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))) == BARS
