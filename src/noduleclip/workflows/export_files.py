"""Files of an export: checked before the work starts, written whole or not at all."""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from noduleclip.errors import InputError, SliceError, UsageError
from noduleclip.exporters.file_names import name_image_folder
from noduleclip.exporters.formats import ExportFormat, find_format
from noduleclip.io.artefacts import replacing
from noduleclip.io.output_folders import find_other, remove_parts
from noduleclip.workflows.output_lock import OVERWRITE, check_file
from noduleclip.workflows.reporter import Reporter

if TYPE_CHECKING:  # a search without an export does not load the libraries that findings need
    from noduleclip.exporters.findings import Export, ExportFile

_IMAGES: Final = r"\d{4,}\.png"


@dataclass(frozen=True)
class ExportTarget:
    """A file to export to.

    Attributes:
        path: The file that the user named.
        format: Its format.
    """

    path: Path
    format: ExportFormat


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written.

    Attributes:
        path: The file.
        count: Hits or described nodules in it.
        label: Whose they are, where an export has several files; empty where it has one.
    """

    path: Path
    count: int
    label: str

    def describe(self, what: str) -> str:
        """Return the file in a line: "2 hits in hits-1.mrk.json, of patient P1"."""
        text = f"{self.count:,} {what}{'' if self.count == 1 else 's'} in {self.path}"
        return f"{text}, of {self.label}" if self.label else text


def check_exports(option: str, paths: Iterable[Path], *, replace: bool) -> tuple[ExportTarget, ...]:
    """Check the files of an export before the work starts.

    Args:
        option: The option or argument that names them.
        paths: The files.
        replace: Existing exports of these names may be replaced.

    Raises:
        UsageError: No format has the ending, the library that it needs is missing, a file or folder is there and may
            not be replaced or is no export, or two exports would write the same file.
    """
    targets = [ExportTarget(path, find_format(option, path)) for path in paths]
    for target in targets:
        suffixes = (target.path.suffix.lower(),)
        check_file(option, target.path, suffixes, replace=replace)
        numbered = _find_numbered(target)
        for path in numbered:
            check_file(option, path, suffixes, replace=replace)
        _check_own(option, target, [target.path, *numbered])
        if target.format.has_images:
            _check_image_folder(option, target, replace=replace)
    for number, target in enumerate(targets):
        for other in targets[:number]:
            if _writes(target, other.path) or _writes(other, target.path):
                raise UsageError(f"{option} {target.path}: {option} {other.path} writes the same file; rename one")
    return tuple(targets)


def _check_own(option: str, target: ExportTarget, paths: Iterable[Path]) -> None:
    """Refuse to replace files of the format's ending that are no exports."""
    is_own = target.format.is_own
    foreign = [path for path in paths if is_own is not None and path.exists() and not is_own(path)]
    if foreign:
        raise UsageError(
            f"{option} {target.path}: {foreign[0]} is there, is no {target.format.name} of an earlier export, and is "
            "not replaced; choose another name"
        )


def need_places(targets: Iterable[ExportTarget]) -> bool:
    """Return whether slices are read for an export."""
    return any(target.format.needs_places for target in targets)


def report_left_out(errors: Sequence[SliceError], count: int, reporter: Reporter) -> None:
    """Warn of hits that are left out because of their slices.

    Args:
        errors: The reasons.
        count: Number of all hits.
        reporter: Receives the warning.

    Raises:
        InputError: None is left.
    """
    if not errors:
        return
    if len(errors) == count:
        raise InputError(f"nothing is exported: the slices of all {count:,} nodules cannot be used; first: {errors[0]}")
    left_out = f"{len(errors):,} of {count:,} nodules are not exported, as their slices cannot be used"
    reporter.warning(f"{left_out}; first: {errors[0]}")


def write_export(target: ExportTarget, export: "Export", reporter: Reporter) -> list[ExportedFile]:
    """Write the files of one export, all of them or none, in place of those of an earlier one."""
    errors: list[SliceError] = []
    export = replace(export, on_left_out=lambda _finding, error: errors.append(error))
    stale = {path for path in (target.path, *_find_numbered(target), *_find_images(target)) if path.exists()}
    folder = name_image_folder(target.path)
    if target.format.has_images and folder.is_dir():
        remove_parts(folder)
    try:
        # Pictures appear before the file that refers to them.
        with contextlib.ExitStack() as files, contextlib.ExitStack() as images:
            written = []
            with _following_images(target, export, reporter) as advance:
                for file in target.format.render(export, target.path):
                    _write_part(file, images if file.count is None else files)
                    if file.count is None:
                        advance(1)
                    else:
                        written.append(ExportedFile(file.path, file.count, file.label))
            report_left_out(errors, len(export.findings), reporter)
            for path in stale:
                path.unlink(missing_ok=True)
        if not written:
            reporter.warning(f"{target.path}: not written, there is nothing to export")
        return written
    finally:
        if target.format.has_images:
            with contextlib.suppress(OSError):  # it is not there, or holds pictures
                folder.rmdir()


@contextlib.contextmanager
def _following_images(target: ExportTarget, export: "Export", reporter: Reporter) -> Iterator[Callable[[int], None]]:
    """Show the progress of a format with pictures, whose slices are decoded."""
    if not target.format.has_images:
        yield lambda _: None
        return
    slices = {(finding.file, finding.frame) for finding in export.findings}
    with reporter.progress("drawing slices", len(slices), "slices") as advance:
        yield advance


def _write_part(file: "ExportFile", stack: contextlib.ExitStack) -> None:
    """Write a file beside its place, where it appears when the stack is closed without an error."""
    is_main = file.count is not None
    temporary = stack.enter_context(replacing(file.path, size_bytes=len(file.content), flush=is_main))
    temporary.write_bytes(file.content)


def _match_numbered(target: ExportTarget) -> re.Pattern[str] | None:
    """Return the names of the further files of an export, which several series give it; None for other formats."""
    if not target.format.is_numbered:
        return None
    name = target.path.name
    stem, ending = name[: -len(target.format.suffix)], name[-len(target.format.suffix) :]
    return re.compile(rf"{re.escape(stem)}-0*[1-9]\d*{re.escape(ending)}")


def _find_numbered(target: ExportTarget) -> list[Path]:
    names = _match_numbered(target)
    if names is None or not target.path.parent.is_dir():
        return []
    return sorted(path for path in target.path.parent.iterdir() if names.fullmatch(path.name))


def _find_images(target: ExportTarget) -> list[Path]:
    folder = name_image_folder(target.path)
    if not target.format.has_images or not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if re.fullmatch(_IMAGES, path.name)]


def _check_image_folder(option: str, target: ExportTarget, *, replace: bool) -> None:
    folder = name_image_folder(target.path)
    if folder.is_dir() and not folder.is_symlink() and not replace and any(folder.iterdir()):
        raise UsageError(f"{option} {target.path}: its folder of pictures {folder} is already there; {OVERWRITE}")
    other = find_other(folder, [_IMAGES])
    if other is not None:
        raise UsageError(
            f"{option} {target.path}: its pictures go into {folder}, and {other} is none of them; move it, or rename "
            "the export"
        )


def _writes(target: ExportTarget, path: Path) -> bool:
    """Return whether an export may write a file."""
    if target.path.parent.resolve() != path.parent.resolve():
        return False
    names = _match_numbered(target)
    return path.name == target.path.name or (names is not None and names.fullmatch(path.name) is not None)
