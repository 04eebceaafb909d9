"""`noduleclip prepare csv`, `luna16`, `monai`, `seg` and `sr`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from noduleclip.cli import options
from noduleclip.cli.prepare_options import DataRoot, Diameter, Limit, MaxRejects, PrepareOut, RelativePaths

GivenKind = Literal["in-slice", "axes-mean", "equivalent", "3d", "volume", "unknown"]
DiameterKind = Annotated[
    GivenKind,
    typer.Option(
        "--diameter-kind",
        help="What the diameters given are; they are taken as they stand: docs/how-to/import.md.",
        rich_help_panel=options.INPUTS,
    ),
]
CoordinateAxes = Annotated[
    Literal["lps", "ras"],
    typer.Option(
        "--coordinates",
        help="Which way the axes run: lps as in DICOM and ITK, ras as in NIfTI.",
        rich_help_panel=options.INPUTS,
    ),
]
PatientsCsv = Annotated[
    Path | None,
    typer.Option(
        "--patients",
        help="CSV of seriesuid and patient_id, for images that name no patient.",
        rich_help_panel=options.INPUTS,
    ),
]


def prepare_csv(
    table: Annotated[
        Path,
        typer.Option(help="CSV of x, y, z and diameter_mm in mm, and seriesuid.", rich_help_panel=options.INPUTS),
    ],
    data_root: DataRoot,
    out: PrepareOut,
    coordinates: CoordinateAxes = "lps",
    diameter_kind: DiameterKind = "unknown",
    patients: PatientsCsv = None,
    relative_paths: RelativePaths = False,
    max_rejects: MaxRejects = 0.01,
    strict: options.Strict = False,
    limit: Limit = None,
    workers: options.Workers = "auto",
    seed: options.Seed = 0,
    output_format: options.OutputFormat = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Make the ROI table of a CSV of world coordinates and diameters, with the DICOM or .mhd of its series.

    A nodule becomes one row, on the slice nearest its middle; patient_id, nodule_id, reader and ratings are taken over.

    Example: noduleclip prepare csv --table nodules.csv --data-root scans --out prepared
    """
    from noduleclip.cli.importing import SphereTable, run_sphere_import
    from noduleclip.cli.preparing import PrepareOptions
    from noduleclip.importers.world_csv import Coordinates, read_world_csv

    spheres, rejected = read_world_csv(table, Coordinates(coordinates))
    prepare_options = PrepareOptions(
        data_root, out, diameter_kind, relative_paths, 0 if strict else max_rejects, limit, workers, seed,
        output_format, overwrite,
    )  # fmt: skip
    run_sphere_import(prepare_options, SphereTable(table, spheres, rejected), patients)


def prepare_luna16(
    annotations: Annotated[
        Path, typer.Option(help="LUNA16's annotations.csv.", rich_help_panel=options.INPUTS, show_default=False)
    ],
    data_root: DataRoot,
    out: PrepareOut,
    diameter_kind: DiameterKind = "volume",
    patients: PatientsCsv = None,
    relative_paths: RelativePaths = False,
    max_rejects: MaxRejects = 0.01,
    strict: options.Strict = False,
    limit: Limit = None,
    workers: options.Workers = "auto",
    seed: options.Seed = 0,
    output_format: options.OutputFormat = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Make the ROI table of LUNA16, with its subsets of .mhd or with the DICOM of LIDC-IDRI.

    Of .mhd the slices that nodules lie on are written as derived DICOM to DIR/dicom, and no others.

    Example: noduleclip prepare luna16 --annotations annotations.csv --data-root LUNA16 --out prepared
    """
    prepare_csv(
        annotations, data_root, out, "lps", diameter_kind, patients, relative_paths, max_rejects, strict, limit,
        workers, seed, output_format, overwrite,
    )  # fmt: skip


def prepare_monai(
    datalist: Annotated[
        Path, typer.Option(help="JSON with lists training and validation.", rich_help_panel=options.INPUTS)
    ],
    data_root: DataRoot,
    out: PrepareOut,
    box_mode: Annotated[
        Literal["cccwhd", "xyzwhd", "xyzxyz", "xxyyzz", "xyxyzz"],
        typer.Option(help="What the six numbers of a box are, by MONAI's names.", rich_help_panel=options.INPUTS),
    ] = "cccwhd",
    coordinates: CoordinateAxes = "lps",
    diameter_kind: DiameterKind = "volume",
    patients: PatientsCsv = None,
    relative_paths: RelativePaths = False,
    max_rejects: MaxRejects = 0.01,
    strict: options.Strict = False,
    limit: Limit = None,
    workers: options.Workers = "auto",
    seed: options.Seed = 0,
    output_format: options.OutputFormat = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Make the ROI table of a detection data list of MONAI, with the DICOM or .mhd of its images.

    Boxes are in world coordinates, as in MONAI's LUNA16 tutorial. The lists become the splits.

    Example: noduleclip prepare monai --datalist dataset_fold0.json --data-root LUNA16 --out prepared
    """
    from noduleclip.cli.importing import SphereTable, run_sphere_import
    from noduleclip.cli.preparing import PrepareOptions
    from noduleclip.importers.monai import BoxMode, read_data_list
    from noduleclip.importers.world_csv import Coordinates

    found = read_data_list(datalist, BoxMode(box_mode), Coordinates(coordinates))
    prepare_options = PrepareOptions(
        data_root, out, diameter_kind, relative_paths, 0 if strict else max_rejects, limit, workers, seed,
        output_format, overwrite,
    )  # fmt: skip
    run_sphere_import(prepare_options, SphereTable(datalist, found.spheres, found.rejected, found.parts), patients)


def prepare_seg(
    data_root: DataRoot,
    out: PrepareOut,
    diameter: Diameter = "in-slice",
    relative_paths: RelativePaths = False,
    max_rejects: MaxRejects = 0.01,
    strict: options.Strict = False,
    limit: Limit = None,
    workers: options.Workers = "auto",
    seed: options.Seed = 0,
    output_format: options.OutputFormat = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Make the ROI table of DICOM Segmentations, with the ratings of the Structured Reports that lie beside them.

    As in the standardised LIDC annotations (DICOM-LIDC-IDRI-Nodules): put them below one folder with the CT.

    Example: noduleclip prepare seg --data-root LIDC-IDRI --out prepared
    """
    from noduleclip.cli.importing import run_segment_import
    from noduleclip.cli.preparing import PrepareOptions

    prepare_options = PrepareOptions(
        data_root, out, diameter, relative_paths, 0 if strict else max_rejects, limit, workers, seed,
        output_format, overwrite,
    )  # fmt: skip
    run_segment_import(prepare_options, reports=False)


def prepare_sr(
    data_root: DataRoot,
    out: PrepareOut,
    diameter_kind: DiameterKind = "3d",
    relative_paths: RelativePaths = False,
    max_rejects: MaxRejects = 0.01,
    strict: options.Strict = False,
    limit: Limit = None,
    workers: options.Workers = "auto",
    seed: options.Seed = 0,
    output_format: options.OutputFormat = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Make the ROI table of DICOM Structured Reports: their diameters and ratings, in the middle of their segments.

    The segmentations that they are on have to lie below the data root, too; `prepare seg` measures these instead.

    Example: noduleclip prepare sr --data-root LIDC-IDRI --out prepared
    """
    from noduleclip.cli.importing import run_segment_import
    from noduleclip.cli.preparing import PrepareOptions

    prepare_options = PrepareOptions(
        data_root, out, diameter_kind, relative_paths, 0 if strict else max_rejects, limit, workers, seed,
        output_format, overwrite,
    )  # fmt: skip
    run_segment_import(prepare_options, reports=True)
