"""`noduleclip phantom`."""

from pathlib import Path
from typing import Annotated

import typer

from noduleclip.cli import options
from noduleclip.cli.positions import Position

Patients = Annotated[int, typer.Option(min=3, help="Phantom patients to make.", rich_help_panel=options.INPUTS)]


def phantom(
    out: Annotated[
        Path,
        typer.Option(help="Folder for the DICOM series and their ROI table.", rich_help_panel=options.OUTPUT),
        Position("OUT"),
    ],
    patients: Patients = 60,
    seed: options.Seed = 0,
    workers: options.Workers = "auto",
) -> None:
    """Make phantom patients: CT series in DICOM with nodules of known size, and the table of their readers.

    Example: noduleclip phantom phantoms --patients 20
    """
    from noduleclip.report.console import CONSOLE, log_info
    from noduleclip.workflows.phantoms import write_phantoms

    summary = write_phantoms(out, patients=patients, seed=seed, workers=workers, reporter=CONSOLE)
    log_info(
        f"{summary.patients} patients, {summary.slices} slices, {summary.nodules} nodules, "
        f"{summary.rois} readers' rows in {summary.roi_csv}"
    )
