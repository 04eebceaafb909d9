"""`noduleclip prepare luna16`, `csv`, `monai` and `nndetection`: places and boxes without outlines."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from noduleclip.cli import options
from noduleclip.cli.option_groups import with_option_groups
from noduleclip.cli.prepare_options import (
    BoxCoordinates,
    BoxDiameter,
    BoxLabels,
    GivenDiameter,
    ImageRoot,
    MinScore,
    PatientPattern,
    PatientsCsv,
    PointCoordinates,
    PointDiameter,
    RescaleValues,
    SharedOptions,
)
from noduleclip.cli.prepare_run import run_prepare


@with_option_groups
def prepare_luna16(
    *,
    annotations: Annotated[
        Path, typer.Option(help="LUNA16's annotations.csv.", rich_help_panel=options.INPUTS, show_default=False)
    ],
    data_root: ImageRoot,
    diameter_kind: GivenDiameter = "volume",
    patients: PatientsCsv = None,
    patient_pattern: PatientPattern = "",
    rescale: RescaleValues = "",
    shared: SharedOptions,
) -> None:
    """Make the ROI table of LUNA16: with its subsets of .mhd, NIfTI of them, or with the DICOM of LIDC-IDRI.

    Of volumes the slices that nodules lie on are written as derived DICOM to DIR/dicom, and no others.

    Example: noduleclip prepare luna16 --annotations annotations.csv --data-root LUNA16 --out prepared
    """
    from noduleclip.importers.point_presets import NONE
    from noduleclip.importers.point_table import PointOptions
    from noduleclip.io.volumes.hu_slices import parse_rescale
    from noduleclip.workflows.prepare_spheres import SphereCsvRequest

    run_prepare(
        SphereCsvRequest(
            table=annotations, points=PointOptions(preset=NONE), data_root=data_root, patients=patients,
            patient_pattern=patient_pattern, rescale=parse_rescale(rescale), diameter_kind=diameter_kind,
            **shared.settings,
        ),
        shared,
    )  # fmt: skip


@with_option_groups
def prepare_csv(
    *,
    table: Annotated[
        Path,
        typer.Option(
            help="CSV of x, y, z and seriesuid or patient_id; diameter_mm and others are optional.",
            rich_help_panel=options.INPUTS,
        ),
    ],
    data_root: ImageRoot,
    preset: Annotated[
        Literal["auto", "none", "luna25", "lndb", "lungx", "boxes"],
        typer.Option(
            help="Columns as a collection publishes them; auto recognises them, none takes known names only.",
            rich_help_panel=options.INPUTS,
        ),
    ] = "auto",
    column_map: Annotated[
        str,
        typer.Option(
            "--map",
            help="Columns of other names, KNOWN=COLUMN,…, as in diameter_mm=Size,patient_id=Case.",
            rich_help_panel=options.INPUTS,
            show_default=False,
        ),
    ] = "",
    keep: Annotated[
        str,
        typer.Option(
            help="Further columns to keep as text, separated by commas; embed --keep carries them on.",
            rich_help_panel=options.INPUTS,
            show_default=False,
        ),
    ] = "",
    coordinates: PointCoordinates = None,
    index_base: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1,
            help="Number of the first voxel, column and row, where places are in pixels. (default: 0)",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    min_score: MinScore = None,
    diameter_kind: PointDiameter = None,
    patients: PatientsCsv = None,
    patient_pattern: PatientPattern = "",
    rescale: RescaleValues = "",
    shared: SharedOptions,
) -> None:
    """Make the ROI table of a CSV of places, with or without sizes: with the DICOM or volumes of its series.

    A place becomes one row, on the slice nearest to it; patient_id, nodule_id, reader, score and ratings are kept.
    Tables of LUNA25, LNDb, LUNGx and DLCS are recognised.

    Example: noduleclip prepare csv --table nodules.csv --data-root scans --out prepared
    """
    from noduleclip.importers.coordinates import Coordinates
    from noduleclip.importers.point_columns import parse_column_map, parse_names
    from noduleclip.importers.point_table import PointOptions
    from noduleclip.io.volumes.hu_slices import parse_rescale
    from noduleclip.workflows.prepare_spheres import SphereCsvRequest

    points = PointOptions(
        preset=preset,
        columns=parse_column_map(column_map),
        keep=parse_names(keep),
        coordinates=None if coordinates is None else Coordinates(coordinates),
        index_base=index_base,
    )
    run_prepare(
        SphereCsvRequest(
            table=table, points=points, data_root=data_root, min_score=min_score, patients=patients,
            patient_pattern=patient_pattern, rescale=parse_rescale(rescale), diameter_kind=diameter_kind or "",
            **shared.settings,
        ),
        shared,
    )  # fmt: skip


@with_option_groups
def prepare_monai(
    *,
    datalist: Annotated[
        Path,
        typer.Option(
            "--datalist",
            help="JSON with lists training and validation, or the results of a detector.",
            rich_help_panel=options.INPUTS,
        ),
    ],
    data_root: ImageRoot,
    box_mode: Annotated[
        Literal["cccwhd", "xyzwhd", "xyzxyz", "xxyyzz", "xyxyzz"],
        typer.Option(help="Order of the six numbers of a box, by MONAI's names.", rich_help_panel=options.INPUTS),
    ] = "cccwhd",
    coordinates: BoxCoordinates = "lps",
    min_score: MinScore = None,
    labels: BoxLabels = "",
    diameter_kind: BoxDiameter = None,
    patients: PatientsCsv = None,
    patient_pattern: PatientPattern = "",
    rescale: RescaleValues = "",
    shared: SharedOptions,
) -> None:
    """Make the ROI table of a data list or of results of MONAI: with the DICOM or volumes of its images.

    Boxes are in world coordinates, as in MONAI's LUNA16 tutorial and its bundle. The lists of a data list become the
    splits; the scores of results become the column detection_score.

    Example: noduleclip prepare monai --datalist result_luna16_fold0.json --data-root LUNA16 --min-score 0.5 --out found
    """
    from noduleclip.importers.boxes import BoxMode
    from noduleclip.importers.coordinates import Coordinates
    from noduleclip.importers.point_columns import parse_names
    from noduleclip.io.volumes.hu_slices import parse_rescale
    from noduleclip.workflows.prepare_spheres import MonaiRequest

    run_prepare(
        MonaiRequest(
            datalist=datalist, data_root=data_root, box_mode=BoxMode(box_mode), coordinates=Coordinates(coordinates),
            min_score=min_score, labels=parse_names(labels), patients=patients, patient_pattern=patient_pattern,
            rescale=parse_rescale(rescale), diameter_kind=diameter_kind or "", **shared.settings,
        ),
        shared,
    )  # fmt: skip


@with_option_groups
def prepare_nndetection(
    *,
    results: Annotated[
        Path,
        typer.Option(
            help="Folder of the CASE_boxes.json of nndet_boxes2nii, one of them, or the CSV of its script for LUNA16.",
            rich_help_panel=options.INPUTS,
        ),
    ],
    data_root: ImageRoot,
    min_score: MinScore = None,
    labels: BoxLabels = "",
    diameter_kind: GivenDiameter = "unknown",
    patients: PatientsCsv = None,
    patient_pattern: PatientPattern = "",
    rescale: RescaleValues = "",
    shared: SharedOptions,
) -> None:
    """Make the ROI table of results of nnDetection: with the volumes that it read.

    Boxes are in voxels of these volumes, CASE_0000.nii.gz, and their scores become the column detection_score. Pickles
    are not loaded.

    Example: noduleclip prepare nndetection --results test_predictions_nii --data-root imagesTs --out found
    """
    from noduleclip.importers.point_columns import parse_names
    from noduleclip.io.volumes.hu_slices import parse_rescale
    from noduleclip.workflows.prepare_spheres import NnDetectionRequest

    run_prepare(
        NnDetectionRequest(
            results=results, data_root=data_root, min_score=min_score, labels=parse_names(labels), patients=patients,
            patient_pattern=patient_pattern, rescale=parse_rescale(rescale), diameter_kind=diameter_kind,
            **shared.settings,
        ),
        shared,
    )  # fmt: skip
