"""Options of the commands that embed nodules or write an index."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from noduleclip.cli.options import MODEL, OUTPUT, RUNTIME
from noduleclip.config import INDEXED_ROWS

Model = Annotated[
    Path,
    typer.Option("--model", help="Checkpoint that train wrote, or lidc: the bundled model.", rich_help_panel=MODEL),
]
BatchSize = Annotated[int, typer.Option("--bs", min=1, help="Crops in a forward pass.", rich_help_panel=RUNTIME)]
Views = Annotated[
    int | None,
    typer.Option(
        "--views",
        help="Views of a crop whose embeddings are averaged: 1, 2 (a half-turn apart), 4 (quarter turns) or 8 (and "
        "mirrored); the time grows with them. (default: the model's own)",
        rich_help_panel=RUNTIME,
    ),
]
Precision = Annotated[
    Literal["auto", "float32", "int8"],
    typer.Option(
        "--precision",
        help="Arithmetic of the image encoder on a CPU; auto takes the faster one on this machine. The parts of "
        "one index need the same.",
        rich_help_panel=RUNTIME,
    ),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="lance://DIR|s3://…|gs://…|az://…",
        help="Write the index to a Lance store instead of a folder; needs the extra lance.",
        rich_help_panel=OUTPUT,
    ),
]
VectorIndexFrom = Annotated[
    int | None,
    typer.Option(
        "--vector-index-from",
        min=1,
        help=f"Rows from which a store gets a vector index; query --exact does not use it. (default: {INDEXED_ROWS})",
        rich_help_panel=OUTPUT,
    ),
]
