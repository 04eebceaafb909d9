"""`noduleclip split`."""

from pathlib import Path
from typing import Annotated

import typer

from noduleclip import schema
from noduleclip.cli import options

SPLIT_FILES = (schema.TRAIN_PATIENTS, schema.VAL_PATIENTS, schema.TEST_PATIENTS)


def split(
    roi_csv: options.RoiCsv,
    out: Annotated[Path, typer.Option(help="Folder for the three patient lists.", rich_help_panel=options.OUTPUT)],
    train: Annotated[float, typer.Option(help="Share of training patients.", rich_help_panel="Shares")] = 0.7,
    val: Annotated[float, typer.Option(help="Share of validation patients.", rich_help_panel="Shares")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of test patients.", rich_help_panel="Shares")] = 0.2,
    dicom_root: options.DicomRoot = None,
    seed: options.Seed = 0,
    output_format: options.OutputFormat = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Deal the patients of a ROI table to train, validation and test, each with its share of every size bin.

    Example: noduleclip split --roi-csv rois.csv --out splits --seed 1
    """
    import polars as pl

    from noduleclip.io.artefacts import write_together
    from noduleclip.io.patients import format_patient_list, split_patients
    from noduleclip.io.size_bins import count_bins
    from noduleclip.report.console import CONSOLE
    from noduleclip.report.tables import choose_format, print_split
    from noduleclip.workflows.output_lock import OVERWRITE, output_lock
    from noduleclip.workflows.roi_crops import TableRequest, load_table

    with output_lock(out, SPLIT_FILES, OVERWRITE, replace=overwrite, reporter=CONSOLE):
        table = load_table(TableRequest(roi_csv, dicom_root), reporter=CONSOLE)
        bins = count_bins(table.frame.filter(pl.col(schema.PATIENT_ID) != ""))
        patients = split_patients(bins, (train, val, test), seed)
        write_together({out / name: format_patient_list(ids) for name, ids in zip(SPLIT_FILES, patients, strict=True)})
    print_split(dict(zip(SPLIT_FILES, patients, strict=True)), bins, choose_format(output_format))
