"""Numbers as bars one character high: of different heights where a stream has such characters, else heavier ones."""

import itertools
import math
from collections.abc import Mapping, Sequence

from rich.console import Console

_BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = "_.-=+*#@"


def choose_bars(console: Console) -> str:
    """Return the characters for bars, from low to high, that a console's encoding has."""
    return _BARS if console.encoding.startswith("utf") else _ASCII_BARS


def draw_sparkline(values: Sequence[float], bars: str, width: int) -> str:
    """Draw a series from its lowest to its highest value.

    Args:
        values: From left to right; one that is not finite is left out.
        bars: Characters from low to high.
        width: Most characters; of a longer series neighbours are averaged.
    """
    known = [value for value in values if math.isfinite(value)]
    if len(known) > width:
        edges = [at * len(known) // width for at in range(width + 1)]
        known = [sum(known[low:high]) / (high - low) for low, high in itertools.pairwise(edges)]
    low = min(known, default=0.0)
    span = max(known, default=0.0) - low
    return "".join(bars[round((value - low) / span * (len(bars) - 1)) if span else 0] for value in known)


def describe_counts(counts: Mapping[str, int], bars: str) -> str:
    """Return a histogram in a line: "<= 3 8 ▂ | 3-4 51 █"; bins that hold nothing are left out."""
    most = max(counts.values(), default=0)
    return " | ".join(
        f"{name} {count:,} {bars[round(count / most * (len(bars) - 1))]}" for name, count in counts.items() if count
    )
