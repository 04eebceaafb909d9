"""`noduleclip prepare luna16`, `csv` and `monai`: places and boxes without outlines."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from noduleclip.cli import options
from noduleclip.cli.option_groups import with_option_groups
from noduleclip.cli.prepare_options import CoordinateAxes, DataRoot, GivenDiameter, PatientsCsv, SharedOptions
from noduleclip.cli.prepare_run import run_prepare


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
    from noduleclip.workflows.prepare_spheres import SphereCsvRequest

    run_prepare(
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
    from noduleclip.workflows.prepare_spheres import SphereCsvRequest

    run_prepare(
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
    from noduleclip.workflows.prepare_spheres import MonaiRequest

    run_prepare(
        MonaiRequest(
            datalist=datalist, data_root=data_root, box_mode=BoxMode(box_mode), coordinates=Coordinates(coordinates),
            patients=patients, diameter_kind=diameter_kind, **shared.settings,
        ),
        shared,
    )  # fmt: skip
