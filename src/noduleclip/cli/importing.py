"""What the `prepare` commands of other collections than LIDC's XML do before their rows are made."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from noduleclip import schema
from noduleclip.cli.preparing import PREPARED_FILES, Annotations, PrepareOptions, deliver, open_catalogue
from noduleclip.config import MAX_PIXELS
from noduleclip.errors import InputError
from noduleclip.importers.annotations import Sphere
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.imports import (
    REPORT,
    SEGMENTATION,
    Imported,
    import_reports,
    import_segments,
    import_spheres,
    name_parts,
    read_patients,
)
from noduleclip.importers.meta_catalogue import find_meta_series
from noduleclip.importers.monai import TEST, TRAINING, VALIDATION
from noduleclip.importers.rejected import RejectedAnnotation
from noduleclip.report.console import CONSOLE, log_warning, progress
from noduleclip.workflows.output_lock import OVERWRITE, output_lock

_LIST_OF = {TRAINING: schema.TRAIN_PATIENTS, VALIDATION: schema.VAL_PATIENTS, TEST: schema.TEST_PATIENTS}


@dataclass(frozen=True)
class SphereTable:
    """What a table of places and diameters says.

    Attributes:
        source: The table.
        spheres: Its spheres.
        rejected: What of it gives none.
        parts: Its series by the name of the list that they are in, where it has lists.
    """

    source: Path
    spheres: Sequence[Sphere]
    rejected: Sequence[RejectedAnnotation]
    parts: dict[str, list[str]] | None = None


def run_sphere_import(options: PrepareOptions, table: SphereTable, patients_csv: Path | None) -> None:
    """Put the spheres of a table on their slices, and write the folder.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    patients = read_patients(patients_csv) if patients_csv else None
    series = {sphere.series_uid for sphere in table.spheres}
    with output_lock(options.out, PREPARED_FILES, OVERWRITE, replace=options.overwrite, reporter=CONSOLE):
        images = find_meta_series(options.data_root, series, MAX_PIXELS)
        dicom: Catalogue | None = None
        try:
            dicom = open_catalogue(options)
        except InputError:
            if not images.images:
                raise
        imported = import_spheres(
            table.spheres, dicom, images, source=table.source, data_root=options.data_root, out=options.out,
            patients=patients, limit=options.limit,
        )  # fmt: skip
        splits, remarks = _name_splits(table, imported)
        annotations = Annotations(
            source=table.source,
            spheres=imported.spheres,
            rejected=[*table.rejected, *imported.rejected],
            counts=Counter(
                {"places in the table": len(table.spheres), "series that are MetaImages": len(images.images)}
            ),
            remarks=[*imported.remarks, *remarks],
            elsewhere=images.closed,
            splits=splits,
            left_out=imported.left_out,
        )
        deliver(options, imported.catalogue, annotations)


def _name_splits(table: SphereTable, imported: Imported) -> tuple[dict[str, list[str]] | None, list[str]]:
    """Return the patients of a table's own lists; where a patient is in two of them, none, and a remark."""
    if table.parts is None:
        return None, []
    named = name_parts(table.parts, imported, table.source)
    counts = Counter(patient for patients in named.values() for patient in patients if patient)
    shared = sorted(patient for patient, count in counts.items() if count > 1)
    if shared:
        remark = f"{len(shared)} patient(s) stand in two of its lists, first {shared[0]}; the splits are dealt anew"
        return None, [remark]
    if len(named) < 2:
        return None, [f"only its list {', '.join(named)} has nodules here; the splits are dealt anew"]
    return {_LIST_OF[part]: [patient for patient in patients if patient] for part, patients in named.items()}, []


def run_segment_import(options: PrepareOptions, *, reports: bool) -> None:
    """Take the segmentations below the data root, or the reports on them, and write the folder.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    with output_lock(options.out, PREPARED_FILES, OVERWRITE, replace=options.overwrite, reporter=CONSOLE):
        catalogue = open_catalogue(options)
        modalities = catalogue.count_modalities()
        files = modalities[SEGMENTATION] + modalities[REPORT]
        with progress("reading segmentations and reports", files, "files") as advance:
            read = import_reports if reports else import_segments
            imported = read(catalogue, MAX_PIXELS, lambda: advance(1))
        if imported.absent:
            log_warning(
                f"{imported.absent:,} segments are of series that are not below {options.data_root}; they are left out"
            )
        annotations = Annotations(
            source=options.data_root,
            outlines=imported.outlines,
            spheres=imported.spheres,
            rejected=imported.rejected,
            counts=Counter({"segmentations": modalities[SEGMENTATION], "reports": modalities[REPORT]}),
            remarks=imported.remarks,
        )
        deliver(options, catalogue, annotations)
