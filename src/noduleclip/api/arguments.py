"""Conversion of arguments that several functions share."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from noduleclip.workflows.reporter import Reporter, WarningReporter

if TYPE_CHECKING:  # a search does not load what reads tables
    from noduleclip.workflows.roi_crops import TableRequest


def choose_reporter(verbose: bool) -> Reporter:
    """Return what prints messages and progress on stderr, or what only issues warnings."""
    if not verbose:
        return WarningReporter()
    from noduleclip.report.console import CONSOLE

    return CONSOLE


def as_path(path: str | Path | None) -> Path | None:
    """Return a path of an argument that may be left out."""
    return None if path is None else Path(path)


def make_table_request(
    roi_csv: str | Path,
    *,
    dicom_root: str | Path | None,
    max_rejects: float,
    cache_dir: str | Path | None,
    workers: int | str,
    limit: int | None,
    keep: Sequence[str],
) -> "TableRequest":
    """Return the ROI table that is to be embedded or described."""
    from noduleclip.workflows.roi_crops import TableRequest

    return TableRequest(
        Path(roi_csv), dicom_root=as_path(dicom_root), max_rejects=max_rejects, cache_dir=as_path(cache_dir),
        workers=str(workers), limit=limit, keep=tuple(keep),
    )  # fmt: skip
