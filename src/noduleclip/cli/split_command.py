"""`noduleclip split`."""

from pathlib import Path
from typing import Annotated

import typer

from noduleclip.cli import options, table_options
from noduleclip.cli.positions import Position


def split(
    roi_csv: table_options.RoiCsv,
    out: Annotated[
        Path, typer.Option(help="Folder for the three patient lists.", rich_help_panel=options.OUTPUT), Position("OUT")
    ],
    train: Annotated[float, typer.Option(help="Share of training patients.", rich_help_panel="Shares")] = 0.7,
    val: Annotated[float, typer.Option(help="Share of validation patients.", rich_help_panel="Shares")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of test patients.", rich_help_panel="Shares")] = 0.2,
    dicom_root: table_options.DicomRoot = None,
    seed: options.Seed = 0,
    output_format: options.OutputFormat = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Split the patients into training, validation and test lists: each with its share of every size bin.

    Example: noduleclip split rois.csv splits --seed 1
    """
    from noduleclip.report.console import CONSOLE
    from noduleclip.report.tables import choose_format, print_split
    from noduleclip.workflows.roi_crops import TableRequest
    from noduleclip.workflows.split import SplitRequest
    from noduleclip.workflows.split import split as split_table

    request = SplitRequest(
        table=TableRequest(roi_csv, dicom_root), out=out, shares=(train, val, test), seed=seed, overwrite=overwrite
    )
    result = split_table(request, CONSOLE)
    print_split(result.patients, result.bins, choose_format(output_format))
