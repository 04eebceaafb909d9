"""Formats of exports by the ending of the file; their modules and libraries are loaded when one is written."""

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from noduleclip.errors import UsageError, is_encodable
from noduleclip.machine import install_command

if TYPE_CHECKING:  # the command line asks for endings only, and findings need DICOM
    from noduleclip.exporters.findings import Export, ExportFile

Render = Callable[["Export", Path], Iterator["ExportFile"]]


def _render_markups(export: "Export", path: Path) -> Iterator["ExportFile"]:
    from noduleclip.exporters.slicer_markups import render

    return render(export, path)


def _render_coco(export: "Export", path: Path) -> Iterator["ExportFile"]:
    from noduleclip.exporters.coco import render

    return render(export, path)


def _render_excel(export: "Export", path: Path) -> Iterator["ExportFile"]:
    from noduleclip.exporters.excel import render

    return render(export, path)


def _render_parquet(export: "Export", path: Path) -> Iterator["ExportFile"]:
    from noduleclip.exporters.parquet import render

    return render(export, path)


def _render_report(export: "Export", path: Path) -> Iterator["ExportFile"]:
    from noduleclip.exporters.dicom_sr import render

    return render(export, path)


def _is_report(path: Path) -> bool:
    from noduleclip.exporters.dicom_sr import is_own_report

    return is_own_report(path)


@dataclass(frozen=True)
class ExportFormat:
    """A format of exports.

    Attributes:
        suffix: Ending of its files.
        name: Its name, for messages.
        render: Makes the files of an export, whose path has the ending: the pictures that a file refers to first.
        needs_places: Whether it takes findings, whose slices must be there; else the table alone.
        is_numbered: Whether several series give several files, named by `number_files`.
        has_images: Whether pictures go into the folder that `name_image_folder` returns.
        library: Library that it needs; empty where it needs none.
        extra: Extra of this package that installs it.
        is_own: Returns whether a file is an earlier export, where files of another kind have the same ending, such as
            slices; None where any file of the name may be replaced.
    """

    suffix: str
    name: str
    render: Render
    needs_places: bool = True
    is_numbered: bool = False
    has_images: bool = False
    library: str = ""
    extra: str = ""
    is_own: Callable[[Path], bool] | None = None


FORMATS: Final = (
    ExportFormat(".mrk.json", "3D Slicer markups", _render_markups, is_numbered=True),
    ExportFormat(".json", "COCO", _render_coco, has_images=True),
    ExportFormat(".xlsx", "Excel", _render_excel, needs_places=False, library="xlsxwriter", extra="excel"),
    ExportFormat(".parquet", "Parquet", _render_parquet, needs_places=False),
    ExportFormat(
        ".dcm", "DICOM SR", _render_report, is_numbered=True, library="highdicom", extra="seg", is_own=_is_report
    ),
)
"""All formats; of two endings that fit a name the first counts."""


def find_format(option: str, path: Path) -> ExportFormat:
    """Return the format of a file by its ending, in any case.

    Args:
        option: The option or argument that names the file.
        path: The file.

    Raises:
        UsageError: No format has the ending, the name is nothing else or no text, or the library that the format needs
            is not installed.
    """
    name = path.name.lower()
    found = next((one for one in FORMATS if name.endswith(one.suffix)), None)
    if found is None or len(name) == len(found.suffix):
        known = ", ".join(f"{one.suffix} ({one.name})" for one in FORMATS)
        csv = "; --out writes topk.csv or estimates.csv" if name.endswith(".csv") else ""
        raise UsageError(f"{option} {path}: must be a name with one of the endings {known}{csv}")
    if not is_encodable(path.name):  # the file names its pictures, or itself
        raise UsageError(
            f"{option} {path}: has characters that this locale cannot read; set LC_ALL=C.UTF-8, or rename it"
        )
    if found.library and importlib.util.find_spec(found.library) is None:
        raise UsageError(f"{option} {path}: {found.name} needs {found.library}: {install_command(found.extra)}")
    return found
