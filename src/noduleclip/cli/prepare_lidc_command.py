"""`noduleclip prepare lidc`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from noduleclip.cli import options
from noduleclip.cli.prepare_options import DataRoot, Diameter, Limit, MaxRejects, PrepareOut, RelativePaths


def prepare_lidc(
    data_root: DataRoot,
    out: PrepareOut,
    xml_root: Annotated[
        Path | None,
        typer.Option(
            "--xml-root",
            help="Folder of the annotation files, where they lie apart. (default: the data root)",
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
    """Make the ROI table of LIDC-IDRI from its DICOM and XML as downloaded, with nodules, splits and a page.

    Reads headers only. A killed run goes on when the command is given again.

    Example: noduleclip prepare lidc --data-root LIDC-IDRI --out lidc
    """
    from noduleclip import schema
    from noduleclip.cli.preparing import Annotations, PrepareOptions, run_preparation
    from noduleclip.errors import InputError
    from noduleclip.importers.catalogue import Catalogue
    from noduleclip.importers.files import Walk, find_files
    from noduleclip.importers.lidc_xml import read_lidc_xml
    from noduleclip.report.console import progress
    from noduleclip.workflows.roi_crops import count_workers

    root = xml_root or data_root

    def find_annotations() -> Callable[[Catalogue], Annotations]:
        for folder, what in ((data_root, "DICOM files"), (root, "annotations (--xml-root)")):
            if not folder.is_dir():
                raise InputError(f"{folder}: no such folder of {what}")
        met = Walk()
        paths = find_files(root, ".xml", met=met)
        if not paths:
            closed = f"; first of {len(met.rejected)} places not seen: {met.rejected[0].reason}" if met.rejected else ""
            raise InputError(
                f"{root}: holds no XML file; name the folder of the annotations with --xml-root{met.hint}{closed}"
            )
        return lambda catalogue: read_annotations(paths, met, catalogue)

    def read_annotations(paths: Sequence[Path], met: Walk, catalogue: Catalogue) -> Annotations:
        def find_series(sop_uid: str) -> str | None:
            found = catalogue.find_sop(sop_uid)
            return None if found is None else str(found[schema.SERIES_UID])

        with progress("reading annotations", len(paths), "files") as advance:
            reads = read_lidc_xml(paths, count_workers(workers), advance, find_series)
        outlines = [outline for file in reads.files for outline in file.outlines]
        elsewhere = [*reads.list_absent(set(catalogue.series_uids())), *met.rejected]
        return Annotations(
            root, outlines, rejected=reads.rejected, counts=reads.counts, remarks=reads.remarks, elsewhere=elsewhere
        )

    run_preparation(
        PrepareOptions(
            data_root, out, diameter, relative_paths, 0 if strict else max_rejects, limit, workers, seed,
            output_format, overwrite,
        ),
        find_annotations,
    )  # fmt: skip
