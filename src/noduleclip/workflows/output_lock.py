"""Exclusive access to an output folder: one writer at a time; results and inputs are not replaced unasked."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from noduleclip import schema
from noduleclip.errors import UsageError
from noduleclip.io.chunk_files import holds_chunks
from noduleclip.io.output_folders import locking, refuse_link, refuse_results
from noduleclip.workflows.reporter import SILENT, Reporter

OVERWRITE: Final = "--overwrite replaces it"
_FILE_SUFFIXES = {
    ".csv", ".dcm", ".htm", ".html", ".json", ".jsonl", ".npy", ".onnx", ".parquet", ".png", ".pth", ".sqlite", ".toml",
    ".tsv", ".txt", ".xml",
}  # fmt: skip
_SLICES = "--dicom-root"  # not --data-root, where `prepare` recognises its own files
_REJECTS_HEADER = ",".join((schema.CSV_ROW, schema.DICOM_PATH, schema.REJECT_CODE, schema.REJECT_REASON))
_inputs: ContextVar[Mapping[str, tuple[Path, ...]]] = ContextVar("inputs", default={})  # noqa: B039 - never changed


@contextlib.contextmanager
def naming_inputs(inputs: Mapping[str, tuple[Path, ...]]) -> Iterator[None]:
    """Declare the paths that the command in the block reads, by option; outputs may not replace them."""
    token = _inputs.set(inputs)
    try:
        yield
    finally:
        _inputs.reset(token)


@contextlib.contextmanager
def output_lock(
    folder: Path | None,
    results: tuple[str, ...],
    remedy: str,
    *,
    replace: bool,
    whole: bool = False,
    partial: tuple[str, ...] = (),
    reporter: Reporter = SILENT,
) -> Iterator[None]:
    """Keep others from writing a folder while the block runs; refuse one that holds what would be lost.

    Args:
        folder: Where the command writes; None where it writes nothing.
        results: File names that count as results.
        remedy: Advice for the user.
        replace: They may be replaced.
        whole: The folder itself will appear whole: see `locking`.
        partial: Further file names that the command writes or removes. One beside the chunks of an `embed` that did
            not finish is replaced unasked.
        reporter: Receives a warning where the file system has no locks.

    Raises:
        UsageError: Another process writes there, there are results, or an input would be replaced.
        OutputError: The folder cannot be written to.
    """
    if folder is None:
        yield
        return
    check_folder(folder, (*results, *partial))
    with locking(folder, reporter.warning, whole=whole):
        if not replace:
            refuse_results(folder, results, remedy)
        is_unfinished = holds_chunks(folder / schema.CHUNKS_FOLDER)
        for name in partial:
            _check_partial(folder / name, remedy, replace=replace or is_unfinished)
        yield


def check_folder(folder: Path, names: tuple[str, ...]) -> None:
    """Check a folder of results before the work starts.

    Args:
        folder: Where a command will write.
        names: Files that it writes or removes there.

    Raises:
        UsageError: The folder is a file or named like one, is a folder of DICOM that the command reads, or holds one of
            the names as an input or as something else than a regular file, or one of the folders in it as a link.
    """
    refuse_results(folder, (), "")
    if not folder.exists():
        if folder.suffix.lower() in _FILE_SUFFIXES:
            gets = f"{names[0]} is written into it" if names else "files are written into it"
            raise UsageError(f"{folder}: is the name of a file, and a folder is wanted: {gets}")
        _check_parents(folder)
    for inner in sorted({(folder / name).parent for name in names} - {folder}):
        refuse_link(inner)
    for option, path in _list_inputs():
        if path.is_dir():
            if option == _SLICES and _is_same(folder, path):
                raise UsageError(f"{folder}: is also the {option}; choose a folder of its own for results")
            continue
        for name in names:
            if _is_same(folder / name, path):
                raise UsageError(f"{folder}: its {name} would replace {option} {path}; choose another folder")
    for name in names:
        if Path(name).suffix in _FILE_SUFFIXES and (folder / name).exists() and not (folder / name).is_file():
            raise UsageError(
                f"{folder / name}: is no regular file and is not replaced; move it, or choose another folder"
            )


def check_file(option: str, path: Path, suffixes: tuple[str, ...], *, replace: bool) -> None:
    """Check an output file before the work starts.

    Args:
        option: The option that names it.
        path: The file.
        suffixes: What its name may end in.
        replace: An existing file may be replaced.

    Raises:
        UsageError: It exists, is a link, no regular file or an input of the command, or has another suffix.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder, a file is needed")
    if path.suffix.lower() not in suffixes:
        raise UsageError(
            f"{option} {path}: must end in {' or '.join(suffixes)}, so that no file of another kind is lost"
        )
    _check_parents(path)
    for other, given in _list_inputs():
        if _is_same(path, given):
            raise UsageError(f"{option} {path}: would replace {other} {given}; choose another file")
    if path.is_symlink():
        raise UsageError(f"{option} {path}: is a link and is not replaced; give the file that it leads to, or another")
    if path.exists() and not path.is_file():
        raise UsageError(f"{option} {path}: is no regular file and is not replaced; choose another file")
    if not replace and os.path.lexists(path):
        raise UsageError(f"{path}: is already there; {OVERWRITE}")


def _check_partial(path: Path, remedy: str, *, replace: bool) -> None:
    if not os.path.lexists(path):
        return
    if path.name == schema.REJECTS_CSV:  # a run that failed leaves it, and nothing else
        if not _lists_rejects(path):
            raise UsageError(
                f"{path}: is not a list of rows that this command wrote; move it, or choose another folder"
            )
        replace = replace or not (path.parent / schema.CHECK_REPORT).exists()
    if not replace:
        raise UsageError(f"{path.parent} already holds {path.name}; {remedy}")


def _lists_rejects(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.readline(len(_REJECTS_HEADER) + 2).strip() == _REJECTS_HEADER.encode()
    except OSError:
        return False


def _check_parents(path: Path) -> None:
    there = next((parent for parent in path.absolute().parents if os.path.lexists(parent)), None)
    if there is not None and not there.is_dir():
        raise UsageError(f"{path}: {there} is a file, a folder is needed")


def _list_inputs() -> Iterator[tuple[str, Path]]:
    for option, paths in _inputs.get().items():
        yield from ((option, path) for path in paths)


def _is_same(one: Path, other: Path) -> bool:
    """Return whether two paths are one file or folder, links followed."""
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return False
