"""Options that several commands share, each defined once with its name, help and panel."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from noduleclip.cli.positions import Position
from noduleclip.cli.search_record import load_settings_of
from noduleclip.config import INDEXED_ROWS, MAX_PIXELS, MODEL_PANEL, OPTIMISATION_PANEL, RUNTIME_PANEL

if TYPE_CHECKING:
    from noduleclip.workflows.roi_crops import TableRequest

INPUTS, OUTPUT, RANKING = "Inputs", "Output", "Ranking"
MODEL, OPTIMISATION, RUNTIME = MODEL_PANEL, OPTIMISATION_PANEL, RUNTIME_PANEL

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
Model = Annotated[
    Path,
    typer.Option(
        "--model", help="Checkpoint that train wrote, or lidc: the bundled model.", rich_help_panel=MODEL_PANEL
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep",
        help="Carry a further column of the table into the index or the output; repeatable.",
        rich_help_panel=INPUTS,
    ),
]
BatchSize = Annotated[int, typer.Option("--bs", min=1, help="Crops in a forward pass.", rich_help_panel=RUNTIME_PANEL)]
Views = Annotated[
    int | None,
    typer.Option(
        "--views",
        help="Views of a crop whose embeddings are averaged: 1, 2 (a half-turn apart), 4 (quarter turns) or 8 (and "
        "mirrored); the time grows with them. (default: the model's own)",
        rich_help_panel=RUNTIME_PANEL,
    ),
]
Precision = Annotated[
    Literal["auto", "float32", "int8"],
    typer.Option(
        "--precision",
        help="Arithmetic of the image encoder on a CPU; auto takes the faster one on this machine. The parts of "
        "one index need the same.",
        rich_help_panel=RUNTIME_PANEL,
    ),
]
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
EmbDir = Annotated[
    str,
    typer.Option(
        "--emb-dir", help="Index that embed wrote: a folder, or the place given to --store.", rich_help_panel=INPUTS
    ),
    Position("INDEX"),
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
    Position("SENTENCE"),
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
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="NAME,NAME",
        help="Columns to print, by their names in the file of --out, which has all of them.",
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
OutputFormat = Annotated[
    Literal["auto", "table", "csv", "json"],
    typer.Option("--format", help="Format on stdout; auto is a table on a terminal, else CSV.", rich_help_panel=OUTPUT),
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
