"""Messages and progress of a workflow, delivered to whoever called it."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping


class Reporter:
    """Receives the messages and the progress of a workflow; this one drops them.

    Texts are one sentence or phrase without a final full stop.
    """

    def info(self, text: str) -> None:
        """Receive a fact about the run, such as the device or the number of rows."""

    def note(self, text: str) -> None:
        """Receive a remark on the result."""

    def warning(self, text: str) -> None:
        """Receive a reason why the result may differ from what the user expects."""

    def histogram(self, title: str, counts: Mapping[str, int]) -> None:
        """Receive counts by bin, such as the sizes of the nodules."""

    @contextlib.contextmanager
    def progress(self, title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Follow a piece of work while the block runs.

        Args:
            title: Name of the work, such as "cutting crops".
            total: Units in all.
            unit: Name of the units, such as "slices".

        Yields:
            A function to call with the units done since the last call.
        """
        yield lambda _: None


SILENT = Reporter()


class WarningReporter(Reporter):
    """Issues warnings with Python's `warnings` module and drops the rest."""

    def warning(self, text: str) -> None:
        """Issue a warning."""
        warnings.warn(text, UserWarning, stacklevel=2)


class NoteCollector(Reporter):
    """Keeps notes and warnings.

    Attributes:
        notes: The texts, in order.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)

    def warning(self, text: str) -> None:
        """Keep a warning."""
        self.notes.append(text)
