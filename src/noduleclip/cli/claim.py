"""The folder that a command writes: one writer at a time, and no results lost unasked."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from noduleclip.io.artefacts import locking, refuse_results
from noduleclip.report.console import warn


@contextlib.contextmanager
def claiming(
    folder: Path | None, results: tuple[str, ...], remedy: str, *, replace: bool, whole: bool = False
) -> Iterator[None]:
    """Keep others from writing a folder while the block runs; refuse one that holds results.

    Args:
        folder: Where the command writes; None where it writes nothing.
        results: File names that count as results.
        remedy: What the user can do about them.
        replace: They may be replaced.
        whole: The folder itself will appear whole: see `locking`.

    Raises:
        UsageError: Another process writes there, or there are results.
        OutputError: The folder cannot be written to.
    """
    if folder is None:
        yield
        return
    with locking(folder, warn, whole=whole):
        if not replace:
            refuse_results(folder, results, remedy)
        yield
