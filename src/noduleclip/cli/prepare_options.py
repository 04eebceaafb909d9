"""Options of the `prepare` commands; those that all of them share are the fields of one dataclass."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import typer

from noduleclip.cli import options, table_options
from noduleclip.cli.positions import Position

ImageRoot = Annotated[
    Path,
    typer.Option(
        "--data-root",
        help="Folder of the DICOM files or volumes (NIfTI, NRRD, MetaImage), at any depth.",
        rich_help_panel=options.INPUTS,
    ),
    Position("DATA"),
]
DataRoot = Annotated[
    Path,
    typer.Option("--data-root", help="Folder of the DICOM files, at any depth.", rich_help_panel=options.INPUTS),
    Position("DATA"),
]
Diameter = Annotated[
    Literal["in-slice", "axes-mean", "equivalent", "3d"],
    typer.Option(
        "--diameter",
        help="Measure of diameter_mm: see What a diameter is, in the documentation.",
        rich_help_panel=options.MODEL,
    ),
]
GivenDiameter = Annotated[
    Literal["in-slice", "axes-mean", "equivalent", "3d", "volume", "unknown"],
    typer.Option(
        "--diameter-kind",
        help="Measure of the given diameters, which are used as they are.",
        rich_help_panel=options.INPUTS,
    ),
]
ReportDiameter = Annotated[
    Literal["in-slice", "axes-mean", "equivalent", "3d", "volume", "unknown"] | None,
    typer.Option(
        "--diameter-kind",
        help="Measure of the given diameters, which are used as they are. (default: as the reports say, else 3d)",
        rich_help_panel=options.INPUTS,
    ),
]
BoxCoordinates = Annotated[
    Literal["lps", "ras", "voxel"],
    typer.Option(
        "--coordinates",
        help="What the boxes are in, mm (lps, ras) or voxels: lps as in DICOM and ITK, ras as in NIfTI; voxel, "
        "indices in the file of the volume.",
        rich_help_panel=options.INPUTS,
    ),
]
BoxLabels = Annotated[
    str,
    typer.Option(
        "--labels",
        help="Labels of the boxes to use, separated by commas, as in 0,2. (default: all)",
        rich_help_panel=options.INPUTS,
        show_default=False,
    ),
]
BoxDiameter = Annotated[
    Literal["in-slice", "axes-mean", "equivalent", "3d", "volume", "unknown"] | None,
    typer.Option(
        "--diameter-kind",
        help="Measure of the given diameters, which are used as they are. (default: volume, as in LUNA16; of "
        "results unknown)",
        rich_help_panel=options.INPUTS,
    ),
]
PointCoordinates = Annotated[
    Literal["lps", "ras", "voxel", "instance"] | None,
    typer.Option(
        "--coordinates",
        help="What the places are in, mm (lps, ras) or pixels: lps as in DICOM and ITK, ras as in NIfTI; voxel, "
        "indices in the file of the volume; instance, column, row and InstanceNumber of a DICOM slice. "
        "(default: as the preset says, else lps)",
        rich_help_panel=options.INPUTS,
    ),
]
PointDiameter = Annotated[
    Literal["in-slice", "axes-mean", "equivalent", "3d", "volume", "unknown"] | None,
    typer.Option(
        "--diameter-kind",
        help="Measure of the given diameters, which are used as they are. (default: as the preset says, else unknown)",
        rich_help_panel=options.INPUTS,
    ),
]
MinScore = Annotated[
    float | None,
    typer.Option(
        "--min-score", help="Leave out places that a detector gave a lower score.", rich_help_panel=options.INPUTS
    ),
]
PatientPattern = Annotated[
    str,
    typer.Option(
        "--patient-pattern",
        help="Regular expression whose first group is the patient, searched in the path of a volume below the data "
        "root, such as '(s[0-9]+)/'.",
        rich_help_panel=options.INPUTS,
        show_default=False,
    ),
]
RescaleValues = Annotated[
    str,
    typer.Option(
        "--rescale",
        help="SLOPE,INTERCEPT that make HU of the values of volumes (NIfTI, NRRD, MetaImage): value * SLOPE + "
        "INTERCEPT; 1,0 says that they are HU, whatever their range.",
        rich_help_panel=options.INPUTS,
        show_default=False,
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


class SharedSettings(TypedDict):
    """The fields of `PrepareRequest` that all commands set alike."""

    out: Path
    relative_paths: bool
    max_rejects: float
    limit: int | None
    workers: str
    seed: int
    overwrite: bool
    series: str | None


@dataclass(frozen=True, kw_only=True)
class SharedOptions:
    """Options of every `prepare` command, each with its help and default."""

    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for the table and the files beside it.", rich_help_panel=options.OUTPUT),
        Position("OUT"),
    ]
    relative_paths: Annotated[
        bool,
        typer.Option(
            "--relative-paths",
            help="Write DICOM paths relative to the data root (those made of volumes: to --out), for use with "
            "--dicom-root.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False
    max_rejects: Annotated[
        float,
        typer.Option(
            "--max-rejects",
            min=0,
            max=1,
            help="Share of annotations without a row above which the run ends with exit code 3.",
            rich_help_panel=options.INPUTS,
        ),
    ] = 0.01
    strict: table_options.Strict = False
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, help="Use the annotations of the first series only.", rich_help_panel=options.INPUTS
        ),
    ] = None
    series: Annotated[
        str | None,
        typer.Option(
            "--series",
            help="Where there are several series or reconstructions, prefer those whose Series Instance UID, series "
            "description or kernel is TEXT; * and ? stand for any text and any character. (default: thinnest slices)",
            rich_help_panel=options.INPUTS,
        ),
    ] = None
    workers: options.Workers = "auto"
    seed: options.Seed = 0
    output_format: options.OutputFormat = "auto"
    overwrite: options.Overwrite = False

    @property
    def settings(self) -> SharedSettings:
        """The arguments of a `PrepareRequest`."""
        return SharedSettings(
            out=self.out,
            relative_paths=self.relative_paths,
            max_rejects=0 if self.strict else self.max_rejects,
            limit=self.limit,
            workers=self.workers,
            seed=self.seed,
            overwrite=self.overwrite,
            series=self.series,
        )
