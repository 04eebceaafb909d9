"""Options that the `prepare` commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from noduleclip.cli import options

DataRoot = Annotated[
    Path, typer.Option("--data-root", help="Folder of the DICOM files, at any depth.", rich_help_panel=options.INPUTS)
]
PrepareOut = Annotated[
    Path, typer.Option("--out", help="Folder for the table and what belongs to it.", rich_help_panel=options.OUTPUT)
]
Diameter = Annotated[
    Literal["in-slice", "axes-mean", "equivalent", "3d"],
    typer.Option(
        "--diameter", help="What diameter_mm is: docs/explanation/diameters.md.", rich_help_panel=options.MODEL
    ),
]
RelativePaths = Annotated[
    bool,
    typer.Option(
        "--relative-paths",
        help="Write DICOM paths relative to the data root (those made of .mhd: to --out), for use with --dicom-root.",
        rich_help_panel=options.OUTPUT,
    ),
]
MaxRejects = Annotated[
    float,
    typer.Option(
        "--max-rejects",
        min=0,
        max=1,
        help="Share of marks without a row over which the run ends with exit code 3.",
        rich_help_panel=options.INPUTS,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Take the marks of the first series only.", rich_help_panel=options.INPUTS),
]
