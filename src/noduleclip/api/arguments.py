"""Conversion of arguments that several functions share."""

from pathlib import Path

from noduleclip.workflows.reporter import Reporter, WarningReporter


def choose_reporter(verbose: bool) -> Reporter:
    """Return what prints messages and progress on stderr, or what only issues warnings."""
    if not verbose:
        return WarningReporter()
    from noduleclip.report.console import CONSOLE

    return CONSOLE


def as_path(path: str | Path | None) -> Path | None:
    """Return a path of an argument that may be left out."""
    return None if path is None else Path(path)
