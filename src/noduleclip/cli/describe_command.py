"""`noduleclip describe`."""

from pathlib import Path
from typing import Annotated

import typer

from noduleclip import schema
from noduleclip.cli import embedding_options, options, table_options
from noduleclip.cli.option_groups import with_option_groups
from noduleclip.cli.positions import Position
from noduleclip.errors import UsageError


@with_option_groups
def describe(
    *,
    emb_dir: Annotated[
        str | None,
        typer.Option(
            "--emb-dir",
            help="Index that embed wrote: a folder, or the place given to --store.",
            rich_help_panel=options.INPUTS,
        ),
        Position("INDEX"),
    ] = None,
    roi_csv: Annotated[
        Path | None,
        typer.Option(
            "--roi-csv",
            help="ROI table, or a table of points, instead of an index; no index is kept.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            help="Describe only rows of the index that satisfy a condition on its columns: 'malignancy >= 4'.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    patients_file: Annotated[
        Path | None,
        typer.Option(
            "--patients-file", help="Describe only these patients, one id a line.", rich_help_panel=options.INPUTS
        ),
    ] = None,
    crops: table_options.CropOptions,
    unit: table_options.Unit = "auto",
    keep: table_options.Keep = None,
    model: embedding_options.Model = Path("lidc"),
    bs: embedding_options.BatchSize = 64,
    device: options.DeviceName = "auto",
    views: embedding_options.Views = None,
    precision: embedding_options.Precision = "auto",
    export: options.Export = None,
    output_format: options.OutputFormat = "auto",
    columns: options.Columns = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for estimates.csv, which has all columns.", rich_help_panel=options.OUTPUT),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Describe nodules by what their images show: diameter with its 80 % interval, ratings, and words.

    Estimates are of what readers would measure and rate, and a probability is the share of them who would agree. How
    well they agree is in the model card of the documentation. Options of crops, model and device need --roi-csv.

    Example: noduleclip describe index --where "estimated_malignancy >= 4" --out descriptions
    """
    from noduleclip.cli.retries import retry_replaced
    from noduleclip.cli.slice_folders import settle_slice_folders
    from noduleclip.io.own_indexes import SliceFolders, find_embedded_folders
    from noduleclip.report.columns import parse_columns
    from noduleclip.report.console import CONSOLE, log_info
    from noduleclip.report.descriptions import print_descriptions, write_descriptions
    from noduleclip.report.tables import choose_format
    from noduleclip.workflows.describe import DESCRIPTION_FILES, DescribeRequest, describe_index
    from noduleclip.workflows.export import export_descriptions
    from noduleclip.workflows.export_files import check_exports, need_places
    from noduleclip.workflows.output_lock import OVERWRITE, output_lock
    from noduleclip.workflows.search_request import RowFilter
    from noduleclip.workflows.stored_index import open_stored_index

    if (emb_dir is None) == (roi_csv is None):
        raise UsageError("give an index with --emb-dir, or a table with --roi-csv, not both")
    if roi_csv is not None and where is not None:
        raise UsageError("--where is for an index; embed the table first, or filter the CSV that describe prints")
    of_tables = {
        "--limit": crops.limit is not None,
        "--keep": bool(keep),
        "--unit": unit != "auto",
        "--model": model != Path("lidc"),
        "--views": views is not None,
        "--precision": precision != "auto",
    }
    given = [option for option, is_given in of_tables.items() if is_given]
    if emb_dir is not None and given:
        raise UsageError(f"{given[0]} needs --roi-csv: the rows of an index are embedded already")

    chosen = parse_columns(columns)
    targets = check_exports("--export", export or (), replace=overwrite)

    def run() -> None:
        index, folders = None, None
        if emb_dir is not None:
            filters = RowFilter(where=where or "", patients=patients_file)
            index = open_stored_index(emb_dir, reporter=CONSOLE)
            if need_places(targets):
                folders = settle_slice_folders(index, () if crops.dicom_root is None else (crops.dicom_root,))
            result = describe_index(index, DescribeRequest(filters=filters), CONSOLE)
        else:
            from noduleclip.workflows.describe_table import DescribeTableRequest, describe_table

            assert roi_csv is not None
            table = crops.request(roi_csv, keep or ())
            request = DescribeTableRequest(
                table=table, model=model, unit=unit, patients_file=patients_file, bs=bs, device=device,
                views=views, precision=precision,
            )  # fmt: skip
            result = describe_table(request, CONSOLE)
            roots = tuple(map(Path, result.dicom_roots))
            embedded = find_embedded_folders(result.nodules[schema.DICOM_PATH], roots)
            folders = SliceFolders(roots, embedded=embedded, follows_links=True)
        if targets:
            for file in export_descriptions(targets, result, folders, CONSOLE, index=index, condition=where or ""):
                log_info(file.describe("nodule"))
        if out is not None:
            log_info(f"{result.table.height:,} nodules in {write_descriptions(result, out)}")
        print_descriptions(result, choose_format(output_format), chosen)

    with output_lock(out, DESCRIPTION_FILES, OVERWRITE, replace=overwrite, reporter=CONSOLE):
        retry_replaced(run)
