"""Options of the `prepare` commands; those that all of them share are the fields of one dataclass."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, TypedDict

import typer

from noduleclip.cli import options

Arguments = ParamSpec("Arguments")

DataRoot = Annotated[
    Path, typer.Option("--data-root", help="Folder of the DICOM files, at any depth.", rich_help_panel=options.INPUTS)
]
Diameter = Annotated[
    Literal["in-slice", "axes-mean", "equivalent", "3d"],
    typer.Option(
        "--diameter", help="Measure of diameter_mm: docs/explanation/diameters.md.", rich_help_panel=options.MODEL
    ),
]
GivenDiameter = Annotated[
    Literal["in-slice", "axes-mean", "equivalent", "3d", "volume", "unknown"],
    typer.Option(
        "--diameter-kind",
        help="Measure of the given diameters, which are used as they are: docs/how-to/import.md.",
        rich_help_panel=options.INPUTS,
    ),
]
CoordinateAxes = Annotated[
    Literal["lps", "ras"],
    typer.Option(
        "--coordinates",
        help="Direction of the axes: lps as in DICOM and ITK, ras as in NIfTI.",
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


class SharedSettings(TypedDict):
    """The fields of `PrepareRequest` that all commands set alike."""

    out: Path
    relative_paths: bool
    max_rejects: float
    limit: int | None
    workers: str
    seed: int
    overwrite: bool


@dataclass(frozen=True, kw_only=True)
class SharedOptions:
    """Options of every `prepare` command, each with its help and default."""

    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for the table and the files beside it.", rich_help_panel=options.OUTPUT),
    ]
    relative_paths: Annotated[
        bool,
        typer.Option(
            "--relative-paths",
            help="Write DICOM paths relative to the data root (those made of .mhd: to --out), for use with "
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
    strict: options.Strict = False
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, help="Use the annotations of the first series only.", rich_help_panel=options.INPUTS
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
        )


def with_shared_options(command: Callable[Concatenate[SharedOptions, Arguments], None]) -> Callable[..., None]:
    """Return a command with the shared options in place of its first parameter."""
    own = list(inspect.signature(command).parameters.values())[1:]
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in fields(SharedOptions)
    ]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        options = SharedOptions(**{parameter.name: values.pop(parameter.name) for parameter in shared})
        command(options, **values)  # type: ignore[call-arg]

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + shared
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
