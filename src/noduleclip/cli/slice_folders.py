"""Folders that slices are read from: those of `--dicom-root`, or those of an index that was made here."""

import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from noduleclip import schema
from noduleclip.errors import UsageError, make_printable
from noduleclip.io.index.base import Index
from noduleclip.io.own_indexes import SliceFolders, choose_slice_folders, find_embedded_folders
from noduleclip.report.console import log_info, message_console

_MOST_NAMED, _MOST_LETTERS = 5, 200
_LEAST_PARTS = 2  # of a folder that a note proposes: not / and not /home


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
    if given or folders.embedded:
        return folders
    paths = index.read_columns([schema.DICOM_PATH])[schema.DICOM_PATH]
    named = find_embedded_folders(paths, tuple(map(Path, index.manifest.dicom_roots)))
    if ask and sys.stdin.isatty() and message_console().is_terminal:
        import typer

        log_info(f"{index.location} was not made here. It wants to show slices from these folders:")
        for folder in sorted(named)[:_MOST_NAMED]:
            log_info(f"  {_quote(folder)}")
        if len(named) > _MOST_NAMED:
            log_info(f"  and {len(named) - _MOST_NAMED} more, all below {_quote(_find_common(named))}")
        if typer.confirm("Read slices from them?", default=False, err=True):
            return choose_slice_folders(index, given, accepted=True)
    common = _find_common(named)
    remedy = (
        f"if they are right, allow them with --dicom-root {_quote(common)}"
        if len(common.parts) > _LEAST_PARTS
        else "name theirs with --dicom-root"
    )
    log_info(f"note: {index.location} was not made here: slices are not read from the folders that it names; {remedy}")
    return folders


def _find_common(folders: Collection[Path]) -> Path:
    try:
        return Path(os.path.commonpath(folders))
    except ValueError:  # of several drives
        return min(folders)


def _quote(folder: Path) -> str:
    return repr(make_printable(str(folder))[:_MOST_LETTERS])
