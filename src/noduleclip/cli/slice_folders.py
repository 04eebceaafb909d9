"""Folders that slices are read from: those of `--dicom-root`, or those of an index that was made here."""

import sys
from collections.abc import Sequence
from pathlib import Path

from noduleclip.errors import UsageError, make_printable
from noduleclip.io.index.base import Index
from noduleclip.io.own_indexes import SliceFolders, choose_slice_folders
from noduleclip.report.console import log_info, message_console

_MOST_NAMED, _MOST_LETTERS = 5, 200


def settle_slice_folders(index: Index, given: Sequence[Path], *, ask: bool = True) -> SliceFolders:
    """Choose where the slices of an index may be read, and ask on a terminal about one that was made elsewhere.

    Args:
        index: The index.
        given: Folders that the user named with `--dicom-root`.
        ask: Whether this is a moment to ask.

    Raises:
        UsageError: A folder of `--dicom-root` is not there.
    """
    for folder in given:
        if not folder.is_dir():
            raise UsageError(f"--dicom-root {folder}: no such folder")
    folders = choose_slice_folders(index, given)
    if given or folders.anywhere or not index.manifest.dicom_roots:
        return folders
    named = index.manifest.dicom_roots
    if ask and sys.stdin.isatty() and message_console().is_terminal:
        import typer

        log_info(f"{index.location} was not made here. It wants to show slices from these folders:")
        for name in named[:_MOST_NAMED]:
            log_info(f"  {make_printable(name)[:_MOST_LETTERS]!r}")
        if len(named) > _MOST_NAMED:
            log_info(f"  and {len(named) - _MOST_NAMED} more")
        if typer.confirm("Read slices from them?", default=False, err=True):
            return choose_slice_folders(index, given, accepted=True)
    log_info(
        f"note: {index.location} was not made here: slices are not read from the folders that it names; "
        "name theirs with --dicom-root"
    )
    return folders
