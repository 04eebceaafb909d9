"""ROI tables from published collections: annotations in; table, nodules, splits and summary out.

What differs between collections is in `workflows.prepare_sources` and `workflows.prepare_spheres`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError, UsageError, is_encodable, make_printable
from noduleclip.importers.annotations import Annotations, count_rejected
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.diameters import DiameterKind
from noduleclip.importers.nodule_table import place_nodules, summarise_nodules
from noduleclip.importers.roi_rows import RoiRows, make_rows, make_sphere_rows
from noduleclip.importers.summary import list_rejects, summarise_collection
from noduleclip.io.artefacts import format_json, write_together
from noduleclip.io.consensus import expand_readers
from noduleclip.io.output_folders import remove_parts
from noduleclip.io.patients import format_patient_list, split_patients
from noduleclip.io.size_bins import count_bins
from noduleclip.io.text_table import format_csv
from noduleclip.workflows.output_lock import OVERWRITE, output_lock
from noduleclip.workflows.prepare_request import PrepareRequest
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.split import collapse_named

_SHARES: Final = (0.7, 0.1, 0.2)
_PREPARED_FILES: Final = (
    schema.ROI_CSV,
    schema.NODULES_CSV,
    schema.REJECTS_CSV,
    schema.PREPARE_JSON,
    schema.PREPARE_PAGE,
    *(f"{schema.SPLITS_FOLDER}/{name}" for name in schema.SPLIT_FILES),
)

RenderPage = Callable[[Mapping[str, Any], pl.DataFrame, Path], str]
"""Returns the HTML page of a summary, the rows of the ROI table, and the folder that relative paths start from."""


@dataclass(frozen=True)
class PrepareResult:
    """A prepared collection.

    Attributes:
        out: The folder that was written.
        summary: The content of `prepare.json`.
        rois: Rows of the ROI table.
        nodules: Rows of `nodules.csv`.
        rejects: Rows of `rejects.csv`.
        splits: Patients by the file name of their list.
        dicom_root: Folder that the DICOM paths of the table start from; None where they are absolute, or where the
            slices were not read.
        has_slices: Whether the slices were read; otherwise the paths are relative to a folder that is not known.
    """

    out: Path
    summary: dict[str, Any]
    rois: pl.DataFrame
    nodules: pl.DataFrame
    rejects: pl.DataFrame
    splits: dict[str, list[str]]
    dicom_root: Path | None
    has_slices: bool

    @property
    def roi_csv(self) -> Path:
        """The ROI table."""
        return self.out / schema.ROI_CSV


def prepare(
    request: PrepareRequest, reporter: Reporter = SILENT, render_page: RenderPage | None = None
) -> PrepareResult:
    """Make the ROI table of a collection and the files beside it.

    Args:
        request: Source and settings.
        reporter: Receives messages and progress.
        render_page: Makes the page of the results; None writes none.

    Raises:
        UsageError: The folder has results already, or is in use.
        InputError: A source is missing or broken, or more annotations than allowed give no row.
        OutputError: The folder cannot be written.
    """
    for folder in (request.data_root, request.out):
        if folder is not None:
            _check_encodable(folder.absolute())
    with output_lock(request.out, _PREPARED_FILES, OVERWRITE, replace=request.overwrite, reporter=reporter):
        catalogue, annotations = request.load(reporter)
        result = _make_tables(request, catalogue, annotations, reporter)
        page = None
        if render_page is not None:
            with reporter.progress("drawing examples", 1, "pages"):
                page = render_page(result.summary, result.rois, catalogue.start)
        _write(result, page)
    return result


def _check_encodable(path: Path) -> None:
    if not is_encodable(str(path)):
        raise UsageError(f"{path}: its name is not UTF-8, and it would stand in the table; rename the folder")


def _make_tables(
    request: PrepareRequest, catalogue: Catalogue, annotations: Annotations, reporter: Reporter
) -> PrepareResult:
    """Make the tables of a collection.

    Raises:
        InputError: No annotation gives a row, or more than allowed give none.
    """
    annotations = _limit(annotations, catalogue, request.limit)
    kind = _choose_kind(request, annotations)
    made = _place(request, kind, catalogue, annotations, reporter)
    rejected = [*annotations.rejected, *made.rejected]
    lost = count_rejected(rejected)
    total = made.frame.height + lost + annotations.left_out
    if absent := annotations.absent + made.absent:
        first = f"; first: {make_printable(made.first_absent)[:80]}" if made.first_absent else ""
        reporter.warning(
            f"{absent:,} annotations are of series that are not below {catalogue.root}; they are left out{first}"
        )
    if not total:
        raise InputError(f"{annotations.source}: {_explain_empty(annotations, made, catalogue.root)}")
    if made.frame.height == 0 or lost > request.max_rejects * total:
        raise InputError(
            f"{lost} of {total} annotations give no row; first: {rejected[0].reason}; "
            f"allowed is a share of {request.max_rejects:g} (--max-rejects)"
        )
    splits = _split(request, annotations, made.frame, reporter)
    nodules = place_nodules(summarise_nodules(made.frame), catalogue)
    rejects = list_rejects([*rejected, *annotations.reported], catalogue)
    return PrepareResult(
        out=request.out,
        summary=summarise_collection(catalogue, annotations, made, nodules, splits, rejects, kind),
        rois=made.frame,
        nodules=nodules,
        rejects=rejects,
        splits=splits,
        dicom_root=catalogue.start if request.relative_paths and catalogue.was_read else None,
        has_slices=catalogue.was_read,
    )


def _explain_empty(annotations: Annotations, made: RoiRows, root: Path) -> str:
    """Return why there are no rows where no annotation was rejected: what was found in their place."""
    found = [f"{count:,} {name}" for name, count in sorted(annotations.unusable.items()) if count]
    if made.points:
        found.append(f"{made.points:,} curves of a single point")
    if annotations.absent + made.absent:
        found.append(f"{annotations.absent + made.absent:,} annotations of series that are not below {root}")
    elif reported := annotations.reported:
        found.append(f"{len(reported):,} file(s) that cannot be used, first: {reported[0].reason}")
    return f"no nodule has an outline or a diameter on a series below {root}; found: {'; '.join(found) or 'nothing'}"


def _limit(annotations: Annotations, catalogue: Catalogue, series: int | None) -> Annotations:
    """Keep the annotations of the first series that are here; the others are counted.

    Rejected annotations are those of the whole source, and so is the number that their share is taken of.
    """
    if series is None:
        return annotations
    here = set(catalogue.series_uids())
    annotated = {outline.series_uid for outline in annotations.outlines}
    annotated |= {sphere.series_uid for sphere in annotations.spheres}
    first = set(sorted(annotated & here)[:series])
    left_out = [outline.count_curves() for outline in annotations.outlines if outline.series_uid in here - first]
    left_out += [1 for sphere in annotations.spheres if sphere.series_uid in here - first]
    return replace(
        annotations,
        outlines=[outline for outline in annotations.outlines if outline.series_uid in first],
        spheres=[sphere for sphere in annotations.spheres if sphere.series_uid in first],
        left_out=annotations.left_out + sum(left_out),
    )


def _choose_kind(request: PrepareRequest, annotations: Annotations) -> str:
    """Return the measure of the diameters; empty where there are none."""
    if annotations.spheres and all(sphere.diameter_mm is None for sphere in annotations.spheres):
        return ""
    return request.diameter_kind or annotations.diameter_kind or schema.UNKNOWN_KIND


def _place(
    request: PrepareRequest, kind: str, catalogue: Catalogue, annotations: Annotations, reporter: Reporter
) -> RoiRows:
    source, outlines, spheres = annotations.source, annotations.outlines, annotations.spheres
    relative = request.relative_paths
    with reporter.progress("placing annotations", len(outlines) + len(spheres), "annotations") as advance:
        if outlines:
            return make_rows(outlines, catalogue, DiameterKind(kind), source=source, relative=relative, on_done=advance)
        return make_sphere_rows(spheres, catalogue, kind, source=source, relative=relative, on_done=advance)


def _split(
    request: PrepareRequest, annotations: Annotations, rois: pl.DataFrame, reporter: Reporter
) -> dict[str, list[str]]:
    """Split the patients into three lists, unless the source has its own; none where they are too few or unnamed."""
    if annotations.splits is not None:
        return annotations.splits
    bins = count_bins(expand_readers(collapse_named(rois)), unknown=True)
    if len(bins) < len(schema.SPLIT_FILES):
        reporter.warning(
            f"{len(bins)} patient(s) are too few for three splits; noduleclip split makes them of a larger table"
        )
        return {}
    return dict(zip(schema.SPLIT_FILES, split_patients(bins, _SHARES, request.seed), strict=True))


def _write(result: PrepareResult, page: str | None) -> None:
    """Write the files of one run together, the ROI table last; those of an earlier run that have no successor go."""
    out, folder = result.out, result.out / schema.SPLITS_FOLDER
    texts = {
        out / schema.ROI_CSV: format_csv(result.rois),
        out / schema.NODULES_CSV: format_csv(result.nodules),
        out / schema.PREPARE_JSON: format_json(result.summary),
        **({} if page is None else {out / schema.PREPARE_PAGE: page}),
        **{folder / name: format_patient_list(patients) for name, patients in result.splits.items()},
    }
    if result.rejects.height:
        texts[out / schema.REJECTS_CSV] = format_csv(result.rejects)
    if folder.is_dir():
        remove_parts(folder)
    replaced = {out / schema.REJECTS_CSV, out / schema.PREPARE_PAGE, *(folder / name for name in schema.SPLIT_FILES)}
    write_together(texts, replaced - set(texts))
