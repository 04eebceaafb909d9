"""Options of the commands that read a ROI table, and their groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from noduleclip.cli.options import INPUTS, RUNTIME, CacheDir, Workers
from noduleclip.cli.positions import Position
from noduleclip.config import MAX_PIXELS

if TYPE_CHECKING:
    from noduleclip.workflows.roi_crops import TableRequest

RoiCsv = Annotated[
    Path,
    typer.Option("--roi-csv", help="ROI table: one row per outlined nodule.", rich_help_panel=INPUTS),
    Position("TABLE"),
]
DicomRoot = Annotated[
    Path | None,
    typer.Option(
        "--dicom-root",
        help="Folder that relative DICOM paths start from. (default: the CSV's folder, else the working folder)",
        rich_help_panel=INPUTS,
    ),
]
AssumeHu = Annotated[
    bool,
    typer.Option("--assume-hu", help="Take stored values as HU where a slice has no rescale.", rich_help_panel=INPUTS),
]
Unit = Annotated[
    Literal["auto", "nodule", "outline"],
    typer.Option(
        "--unit",
        help="A row of the index: a nodule, on the slice where it is largest, with the values of all its readers, or "
        "every outline of the table. auto: nodules where the table has nodule_id.",
        rich_help_panel=INPUTS,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Use the first rows only, for a trial; embed uses the first nodules.",
        rich_help_panel=INPUTS,
    ),
]
MaxRejects = Annotated[
    float,
    typer.Option(
        "--max-rejects",
        min=0,
        max=1,
        help="Share of unusable rows over which the run ends with exit code 3.",
        rich_help_panel=INPUTS,
    ),
]
RestrictToRoot = Annotated[
    bool,
    typer.Option(
        "--restrict-to-root",
        help="Refuse a table that names files outside the DICOM root, links followed.",
        rich_help_panel=INPUTS,
    ),
]
MaxPixels = Annotated[
    int,
    typer.Option("--max-pixels", min=1, help="Largest slice, rows x columns, that is decoded.", rich_help_panel=INPUTS),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Read every header, report which rows would be rejected and how long the work would take, and stop.",
        rich_help_panel=RUNTIME,
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="End at any unusable row: --max-rejects 0.", rich_help_panel=INPUTS)
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        help="Carry a further column of the table into the index or the output; repeatable.",
        rich_help_panel=INPUTS,
    ),
]


@dataclass(frozen=True, kw_only=True)
class CropOptions:
    """Options of the commands that cut the crops of a ROI table."""

    dicom_root: DicomRoot = None
    assume_hu: AssumeHu = False
    restrict_to_root: RestrictToRoot = False
    max_pixels: MaxPixels = MAX_PIXELS
    limit: Limit = None
    max_rejects: MaxRejects = 0.01
    strict: Strict = False
    workers: Workers = "auto"
    cache_dir: CacheDir = None

    def request(self, roi_csv: Path, keep: Sequence[str] = ()) -> "TableRequest":
        """Return a table for a workflow, with further columns to keep."""
        from noduleclip.workflows.roi_crops import TableRequest

        return TableRequest(roi_csv, **vars(self), keep=tuple(keep))


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Options of the commands that need a ROI table and cut its crops."""

    roi_csv: RoiCsv
    crops: CropOptions

    def request(self, keep: Sequence[str] = ()) -> "TableRequest":
        """Return the table for a workflow, with further columns to keep."""
        return self.crops.request(self.roi_csv, keep)
