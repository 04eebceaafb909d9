"""Options that commands of several kinds share, each defined once with its name, help and panel."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from noduleclip.cli.positions import Position
from noduleclip.config import MODEL_PANEL, OPTIMISATION_PANEL, RUNTIME_PANEL

INPUTS, OUTPUT, RANKING = "Inputs", "Output", "Ranking"
MODEL, OPTIMISATION, RUNTIME = MODEL_PANEL, OPTIMISATION_PANEL, RUNTIME_PANEL

CacheDir = Annotated[
    Path | None,
    typer.Option(
        "--cache-dir",
        help="Folder where cut crops are kept. (default: the user's cache folder)",
        rich_help_panel=RUNTIME,
    ),
]
Workers = Annotated[
    str,
    typer.Option("--workers", help="Processes that decode slices: a number, or auto.", rich_help_panel=RUNTIME),
]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=RUNTIME)]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of all random numbers.", rich_help_panel=RUNTIME)]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace results that are already there, but no other files.", rich_help_panel=OUTPUT
    ),
]
EmbDir = Annotated[
    str,
    typer.Option(
        "--emb-dir", help="Index that embed wrote: a folder, or the place given to --store.", rich_help_panel=INPUTS
    ),
    Position("INDEX"),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="NAME,NAME|list",
        help="Columns to print, by their names in the file of --out, which has all of them; list prints the names.",
        rich_help_panel=OUTPUT,
    ),
]
Export = Annotated[
    list[Path] | None,
    typer.Option(
        "--export",
        metavar="FILE",
        help="Write the nodules for another tool, by the ending of the file: .mrk.json (3D Slicer), .json (COCO, with "
        "pictures), .dcm (structured report), .xlsx, .parquet; repeatable.",
        rich_help_panel=OUTPUT,
    ),
]
OutputFormat = Annotated[
    Literal["auto", "table", "csv", "json"],
    typer.Option("--format", help="Format on stdout; auto is a table on a terminal, else CSV.", rich_help_panel=OUTPUT),
]
