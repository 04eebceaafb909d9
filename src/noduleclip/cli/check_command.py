"""`noduleclip check`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from noduleclip.cli import options, table_options
from noduleclip.cli.option_groups import with_option_groups
from noduleclip.config import CropConfig


@with_option_groups
def check(
    *,
    table: table_options.TableOptions,
    unit: table_options.Unit = "auto",
    patients_file: Annotated[
        list[Path] | None,
        typer.Option(help="Count the patients of a list apart; repeatable.", rich_help_panel=options.INPUTS),
    ] = None,
    img_size: Annotated[
        int, typer.Option(help="Side of a crop in pixels, for the estimates.", rich_help_panel=options.MODEL)
    ] = CropConfig().size_px,
    out: Annotated[
        Path | None, typer.Option(help="Folder for check.json and rejects.csv.", rich_help_panel=options.OUTPUT)
    ] = None,
    output_format: Annotated[
        Literal["auto", "table", "csv", "json"],
        typer.Option(
            "--format",
            help="What stdout gets: tables, the unusable rows as csv, or all as json; auto is a table on a terminal, "
            "else csv.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Check a ROI table and the headers of its slices before the long work.

    Pixels of a sample of slices only are decoded, to estimate the time. Ends with 3 where embed would.

    Example: noduleclip check rois.csv --patients-file splits/train_patients.txt
    """
    from noduleclip.report.check import report_check
    from noduleclip.report.console import CONSOLE
    from noduleclip.workflows.check import CheckRequest, check_table

    request = CheckRequest(
        table=table.request(),
        unit=unit,
        patient_files=patients_file or (),
        crop=CropConfig(size_px=img_size),
        out=out,
        overwrite=overwrite,
    )
    report_check(check_table(request, CONSOLE), output_format)
