"""Notes of a workflow to its user, delivered by callback."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """What a user should know about a result.

    Attributes:
        text: One sentence without a final full stop.
        is_warning: Whether the result may not be what the user expects.
    """

    text: str
    is_warning: bool = False


OnNote = Callable[[Note], None]


def ignore_note(_: Note) -> None:
    """Drop a note."""
