"""Options of `query` and `fuse`, and their group."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from noduleclip.cli.options import INPUTS, OUTPUT, RANKING, Columns, EmbDir, Export, OutputFormat, Overwrite
from noduleclip.cli.positions import SENTENCE, Position
from noduleclip.cli.search_record import load_settings_of

PictureRoot = Annotated[
    Path | None,
    typer.Option(
        "--dicom-root",
        help="Folder that relative DICOM paths start from, for pictures and exports. "
        "(default: where embed found the slices, if the index was made here)",
        rich_help_panel=INPUTS,
    ),
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        help="Write the hits to a file .html: one page with their pictures in two windows, outlines and sizes.",
        rich_help_panel=OUTPUT,
    ),
]
ContactSheet = Annotated[
    Path | None,
    typer.Option("--contact-sheet", help="Write the hits' pictures to a file .png.", rich_help_panel=OUTPUT),
]
ViewerUrl = Annotated[
    str | None,
    typer.Option(
        "--viewer-url",
        help="Link each slice of the page to a viewer: 'https://…/viewer?StudyInstanceUIDs={study_uid}'.",
        rich_help_panel=OUTPUT,
    ),
]
IndexModel = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="Checkpoint that must have made the embeddings. Only for a check: the index needs no checkpoint.",
        rich_help_panel=INPUTS,
    ),
]
Query = Annotated[
    str | None,
    typer.Option(
        "--query",
        "-q",
        help='A sentence such as "a lung nodule with diameter > 6 mm".',
        rich_help_panel=INPUTS,
    ),
    Position(SENTENCE),
]
QueriesFile = Annotated[
    Path | None,
    typer.Option("--queries-file", help="Many sentences, one a line, instead of --query.", rich_help_panel=INPUTS),
]
TopK = Annotated[
    str,
    typer.Option(
        "--topk",
        "-k",
        metavar="N|all|auto",
        help="Hits for each sentence; auto = 10, or all that pass a cut-off.",
        rich_help_panel=RANKING,
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        help="Rank only rows that satisfy a condition on the index's columns: 'diameter_mm > 4 AND NOT texture = 5'.",
        rich_help_panel=RANKING,
    ),
]
Unique = Annotated[
    Literal["nodule", "slice", "series", "patient"] | None,
    typer.Option("--unique", help="Keep only the best row of each.", rich_help_panel=RANKING),
]
PatientsFilter = Annotated[
    Path | None,
    typer.Option("--patients-file", help="Rank only these patients, one id a line.", rich_help_panel=RANKING),
]
Exact = Annotated[
    bool,
    typer.Option("--exact", help="Rank all rows even if a Lance store has a vector index.", rich_help_panel=RANKING),
]
FreeText = Annotated[
    bool,
    typer.Option(
        "--free-text",
        help="Rank by the words of a sentence even if neither a size nor a rating was understood. The text encoder "
        "has learned few other words.",
        rich_help_panel=RANKING,
    ),
]
QueryOut = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for topk.csv, and query.json: how it was found.", rich_help_panel=OUTPUT),
]
Rerun = Annotated[
    Path | None,
    typer.Option(
        "--rerun",
        metavar="DIR",
        help="Repeat the search of a folder that --out wrote, with its settings; other options given override them.",
        callback=load_settings_of,
        is_eager=True,
        rich_help_panel=INPUTS,
    ),
]
PathsOnly = Annotated[
    bool,
    typer.Option(
        "--paths-only",
        help="Print only the DICOM paths, one a line, for other tools.",
        rich_help_panel=OUTPUT,
    ),
]
Preview = Annotated[
    bool,
    typer.Option("--preview", help="Show a picture of each hit in the table on a terminal.", rich_help_panel=OUTPUT),
]


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options of the commands that search an index: what to search for, among which rows, and where the hits go."""

    emb_dir: EmbDir
    query: Query = None
    queries_file: QueriesFile = None
    model: IndexModel = None
    topk: TopK = "auto"
    where: Where = None
    unique: Unique = None
    patients_file: PatientsFilter = None
    free_text: FreeText = False
    dicom_root: PictureRoot = None
    html: Html = None
    contact_sheet: ContactSheet = None
    viewer_url: ViewerUrl = None
    export: Export = None
    out: QueryOut = None
    rerun: Rerun = None
    output_format: OutputFormat = "auto"
    columns: Columns = None
    paths_only: PathsOnly = False
    preview: Preview = False
    overwrite: Overwrite = False
