"""From marks to the folder that the other commands start from: what every `prepare` command does, whatever it read."""

import contextlib
import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError, UsageError, is_encodable, make_encodable
from noduleclip.importers.annotations import Outline, Sphere
from noduleclip.importers.catalogue import PATH, Catalogue, read_catalogue
from noduleclip.importers.diameters import DiameterKind
from noduleclip.importers.meta_catalogue import recognise_derived
from noduleclip.importers.nodule_table import place_nodules, summarise_nodules
from noduleclip.importers.rejected import RejectedAnnotation
from noduleclip.importers.roi_rows import RoiRows, make_rows, make_sphere_rows
from noduleclip.io.artefacts import format_json, locking, refuse_link, remove_parts, write_together
from noduleclip.io.patients import format_patient_list, split_patients
from noduleclip.io.size_bins import count_bins, count_sizes
from noduleclip.io.text_table import format_csv
from noduleclip.report.console import CONSOLE, log_info, log_warning, progress
from noduleclip.report.tables import choose_format, print_records
from noduleclip.workflows.output_lock import OVERWRITE, output_lock
from noduleclip.workflows.roi_crops import count_workers

_SPLITS = (schema.TRAIN_PATIENTS, schema.VAL_PATIENTS, schema.TEST_PATIENTS)
PREPARED_FILES = (
    schema.ROI_CSV,
    schema.NODULES_CSV,
    schema.REJECTS_CSV,
    schema.PREPARE_JSON,
    schema.PREPARE_PAGE,
    *(f"{schema.SPLITS_FOLDER}/{name}" for name in _SPLITS),
)
CATALOGUE_FOLDER = ".catalogue"
_SHARES = (0.7, 0.1, 0.2)
_WIDE_GAP = 1.5


@dataclass(frozen=True)
class PrepareOptions:
    """What every `prepare` command is told.

    Attributes:
        data_root: Folder of the DICOM files.
        out: Folder to write.
        kind: What the diameters are to be.
        relative: Write paths relative to the data root.
        max_rejects: Share of curves without a row over which the run ends.
        limit: Take the marks of the first series only.
        workers: Processes, or "auto".
        seed: Seed of the splits.
        output_format: What stdout gets.
        overwrite: Results may be replaced.
    """

    data_root: Path
    out: Path
    kind: str = DiameterKind.IN_SLICE
    relative: bool = False
    max_rejects: float = 0.01
    limit: int | None = None
    workers: str = "auto"
    seed: int = 0
    output_format: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse folders that no table can name.

        Raises:
            UsageError: A path is not UTF-8.
        """
        for path in (self.data_root.absolute(), self.out.absolute()):
            if not is_encodable(str(path)):
                raise UsageError(f"{path}: its name is not UTF-8, and it would stand in the table; rename the folder")


@dataclass(frozen=True)
class Annotations:
    """What a source holds.

    Attributes:
        source: What it was read from, for messages.
        outlines: Readers' outlines.
        spheres: Places and diameters without outlines.
        rejected: What of the source cannot be used.
        counts: How much of each kind there is, for the report.
        remarks: What is odd about the source, a sentence each.
        elsewhere: What is told and no failure: marks of series that are not here, as one may have a part of a
            collection, and folders that cannot be opened.
        splits: Patients of the source's own splits by file name, instead of dealt ones.
        left_out: Marks of series that are here and beyond the limit.
    """

    source: Path
    outlines: Sequence[Outline] = ()
    spheres: Sequence[Sphere] = ()
    rejected: Sequence[RejectedAnnotation] = ()
    counts: Counter[str] = field(default_factory=Counter)
    remarks: Sequence[str] = ()
    elsewhere: Sequence[RejectedAnnotation] = ()
    splits: dict[str, list[str]] | None = None
    left_out: int = 0


def run_preparation(
    options: PrepareOptions, find_annotations: Callable[[], Callable[[Catalogue], Annotations]]
) -> None:
    """Find the marks, read the headers, then the marks, and write the folder.

    Args:
        options: The command's options.
        find_annotations: Checks that there are annotations, before the headers are read, which takes long; returns a
            function that reads them.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    with output_lock(options.out, PREPARED_FILES, OVERWRITE, replace=options.overwrite, reporter=CONSOLE):
        read_annotations = find_annotations()
        catalogue = open_catalogue(options)
        deliver(options, catalogue, read_annotations(catalogue))


def open_catalogue(options: PrepareOptions) -> Catalogue:
    """Read the headers below the data root, or find what an earlier run read of them."""
    keep, workers = options.out / CATALOGUE_FOLDER, count_workers(options.workers)
    refuse_link(keep)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locking(keep, log_warning))  # what a killed run left half written goes

        def start(files: int, known: int) -> Callable[[int], None]:
            log_info(f"{options.data_root}: {files:,} files to read, {known:,} known from an earlier run")
            return stack.enter_context(progress("reading headers", files, "files"))

        catalogue = read_catalogue(
            options.data_root, keep, workers=workers, is_left_out=recognise_derived(options.out), on_start=start
        )
    if catalogue.copies:
        log_warning(f"{catalogue.copies:,} files have the SOP Instance UID of another one and are left out")
    return catalogue


def deliver(options: PrepareOptions, catalogue: Catalogue, annotations: Annotations) -> None:
    """Make the rows and write the folder.

    Raises:
        InputError: Nothing is left, or more cannot be used than the options allow.
    """
    if bool(annotations.outlines) and bool(annotations.spheres):
        raise UsageError("outlines and spheres have diameters of different kinds; prepare them apart")
    annotations = _limit(annotations, catalogue, options.limit)
    found = _make(options, catalogue, annotations)
    rejected = [*annotations.rejected, *found.rejected]
    total = found.frame.height + len(rejected) + annotations.left_out
    if found.absent:
        log_warning(f"{found.absent:,} marks are of series that are not below {catalogue.root}; they are left out")
    if not total:
        raise InputError(
            f"{annotations.source}: no mark is of a series below {catalogue.root}; are they of one collection?"
        )
    if found.frame.height == 0 or len(rejected) > options.max_rejects * total:
        raise InputError(
            f"{len(rejected)} of {total} marks give no row; first: {rejected[0].reason}; "
            f"allowed is a share of {options.max_rejects:g} (--max-rejects)"
        )
    splits = _deal(options, annotations, found.frame)
    nodules = place_nodules(summarise_nodules(found.frame), catalogue)
    rejects = _list_rejects([*rejected, *annotations.elsewhere], catalogue)
    report = _report(options, catalogue, annotations, found, nodules, splits, rejects)
    _write(options, catalogue, found.frame, nodules, rejects, splits, report)
    form = choose_format(options.output_format)
    print_records([{"what": name, "count": count} for name, count in report["counts"].items()], form, "")
    for remark in report["remarks"]:
        log_warning(remark)
    if rejects.height:
        codes = ", ".join(f"{count:,} {code}" for code, count in report["rejected"].items())
        where = options.out / schema.REJECTS_CSV
        log_warning(f"{codes}; first: {rejects[0, schema.REJECT_REASON]}; all are in {where}")
    _say_what_next(options, catalogue, schema.TEST_PATIENTS in splits)


def _make(options: PrepareOptions, catalogue: Catalogue, annotations: Annotations) -> RoiRows:
    source, outlines, spheres = annotations.source, annotations.outlines, annotations.spheres
    with progress("placing marks", len(outlines) + len(spheres), "marks") as advance:
        if spheres:
            return make_sphere_rows(
                spheres, catalogue, options.kind, source=source, relative=options.relative, on_marks=advance
            )
        kind = DiameterKind(options.kind)
        return make_rows(outlines, catalogue, kind, source=source, relative=options.relative, on_marks=advance)


def _limit(annotations: Annotations, catalogue: Catalogue, series: int | None) -> Annotations:
    """Take the marks of the first series that are here.

    Those of the others are counted: what cannot be used is that of the whole source, and its share of the whole, too.
    """
    if series is None:
        return annotations
    here = set(catalogue.series_uids())
    named = {outline.series_uid for outline in annotations.outlines} | {
        sphere.series_uid for sphere in annotations.spheres
    }
    first = set(sorted(named & here)[:series])
    beyond = [outline.count_curves() for outline in annotations.outlines if outline.series_uid in here - first]
    beyond += [1 for sphere in annotations.spheres if sphere.series_uid in here - first]
    return replace(
        annotations,
        outlines=[outline for outline in annotations.outlines if outline.series_uid in first],
        spheres=[sphere for sphere in annotations.spheres if sphere.series_uid in first],
        left_out=annotations.left_out + sum(beyond),
    )


def _deal(options: PrepareOptions, annotations: Annotations, frame: pl.DataFrame) -> dict[str, list[str]]:
    """Deal the patients to three lists; none where they are too few or have no names."""
    if annotations.splits is not None:
        return annotations.splits
    bins = count_bins(frame.filter(pl.col(schema.PATIENT_ID) != ""))
    if len(bins) < len(_SPLITS):
        log_warning(
            f"{len(bins)} patient(s) are too few for three splits; noduleclip split makes them of a larger table"
        )
        return {}
    return dict(zip(_SPLITS, split_patients(bins, _SHARES, options.seed), strict=True))


def _report(
    options: PrepareOptions,
    catalogue: Catalogue,
    annotations: Annotations,
    found: RoiRows,
    nodules: pl.DataFrame,
    splits: dict[str, list[str]],
    rejects: pl.DataFrame,
) -> dict[str, Any]:
    """Return what `prepare.json` says and the page shows."""
    frame = found.frame
    counts = {
        "CT slices": catalogue.slices.height,
        "CT series": len(catalogue.series_uids()),
        "DICOM files of other kinds": catalogue.others.height,
        "DICOM files that cannot be used": catalogue.rejects.height,
        "files left out as copies": catalogue.copies,
        **{name: count for name, count in annotations.counts.items() if count},
        "marks of series that are not here": found.absent,
        "curves of a single point, left out": found.points,
        "marks that give no row": len(annotations.rejected) + len(found.rejected),
        "rows": frame.height,
        "nodules": nodules.height,
        "series with nodules": frame[schema.SERIES_UID].n_unique(),
        "patients with nodules": frame[schema.PATIENT_ID].n_unique(),
        **{f"nodules of {readers} reader(s)": count for readers, count in _count(nodules[schema.READERS])},
    }
    return {
        "data_root": make_encodable(str(catalogue.root)),
        "source": make_encodable(str(annotations.source)),
        schema.DIAMETER_KIND: str(options.kind),
        "counts": counts,
        "sizes": count_sizes(nodules),
        "series": _describe_series(catalogue, frame),
        "splits": {name: len(patients) for name, patients in splits.items()},
        "remarks": [make_encodable(remark) for remark in (*annotations.remarks, *_find_oddities(catalogue, frame))],
        "rejected": dict(Counter(rejects[schema.REJECT_CODE].to_list()).most_common()),
    }


def _find_oddities(catalogue: Catalogue, frame: pl.DataFrame) -> list[str]:
    """Return a sentence for each thing that a reader of the table should know of the series in it."""
    told = []
    series = frame.select(schema.PATIENT_ID, schema.SERIES_UID).unique(maintain_order=True)
    several = [patient for patient, count in _count(series[schema.PATIENT_ID]) if count > 1]
    if several:
        named = ", ".join(several[:8]) + (", …" if len(several) > 8 else "")
        told.append(f"{len(several)} patient(s) have nodules in several series, and stay in one list: {named}")
    nodules = frame.group_by(schema.PATIENT_ID, schema.NODULE_ID, maintain_order=True)
    shared = nodules.agg(pl.col(schema.SERIES_UID).n_unique()).filter(pl.col(schema.SERIES_UID) > 1)
    if shared.height:
        patient, nodule = shared.row(0)[:2]
        first = f"{patient} nodule {nodule}"
        told.append(f"{shared.height} nodule(s) have rows in several series and count as one each; first: {first}")
    broken = [uid for uid in series[schema.SERIES_UID] if _lacks_slices(catalogue, uid)]
    if catalogue.was_seen and broken:
        told.append(f"{len(broken)} series lack slices between others; first: {broken[0]}")
    return told


def _lacks_slices(catalogue: Catalogue, series_uid: str) -> bool:
    series = catalogue.find_series(series_uid)
    return series is not None and series.largest_gap_mm > _WIDE_GAP * series.gap_mm


def _count(column: pl.Series) -> list[tuple[Any, int]]:
    return sorted((value, count) for value, count in Counter(column.to_list()).items())


def _describe_series(catalogue: Catalogue, frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Describe each series that has rows: its slices, distances, and maker."""
    told = []
    for series_uid, rows in sorted(Counter(frame[schema.SERIES_UID].to_list()).items()):
        series = catalogue.find_series(series_uid)
        assert series is not None
        first = series.frame.row(0, named=True)
        gap_mm = series.gap_mm
        told.append(
            {
                schema.SERIES_UID: series_uid,
                schema.PATIENT_ID: first[schema.PATIENT_ID],
                "slices": series.frame.height,
                "rows": rows,
                "gap_mm": None if math.isnan(gap_mm) else round(gap_mm, 3),
                schema.SLICE_THICKNESS: first[schema.SLICE_THICKNESS],
                schema.SPACING_COL: first[schema.SPACING_COL],
                schema.MANUFACTURER: first[schema.MANUFACTURER],
            }
        )
    return told


def _list_rejects(rejected: Sequence[RejectedAnnotation], catalogue: Catalogue) -> pl.DataFrame:
    """Return `rejects.csv`: annotations without a row, their files, and DICOM files that cannot be used."""
    columns = (schema.DICOM_PATH, schema.REJECT_CODE, schema.REJECT_REASON)
    of_marks = [(make_encodable(str(one.path)), str(one.code), make_encodable(one.reason)) for one in rejected]
    told = set(of_marks)  # a folder of both that cannot be opened
    files = [row for row in catalogue.rejects.select(PATH, *columns[1:]).iter_rows() if row not in told]
    return pl.DataFrame([*of_marks, *files], schema=dict.fromkeys(columns, pl.String), orient="row")


def _write(
    options: PrepareOptions,
    catalogue: Catalogue,
    frame: pl.DataFrame,
    nodules: pl.DataFrame,
    rejects: pl.DataFrame,
    splits: dict[str, list[str]],
    report: dict[str, Any],
) -> None:
    """Write all files, those of one run together."""
    from noduleclip.report.preparation_page import pick_examples, render_preparation

    with progress("drawing examples", 1, "pages"):
        page = render_preparation(report, pick_examples(frame, catalogue.start))
    folder = options.out / schema.SPLITS_FOLDER
    texts = {
        options.out / schema.ROI_CSV: format_csv(frame),
        options.out / schema.NODULES_CSV: format_csv(nodules),
        options.out / schema.PREPARE_JSON: format_json(report),
        options.out / schema.PREPARE_PAGE: page,
        **{folder / name: format_patient_list(patients) for name, patients in splits.items()},
    }
    if rejects.height:
        texts[options.out / schema.REJECTS_CSV] = format_csv(rejects)
    if folder.is_dir():
        remove_parts(folder)  # of a killed run
    write_together(texts, {options.out / schema.REJECTS_CSV, *(folder / name for name in _SPLITS)} - set(texts))


def _say_what_next(options: PrepareOptions, catalogue: Catalogue, has_test: bool) -> None:
    table = options.out / schema.ROI_CSV
    words = ["noduleclip", "check", "--roi-csv", str(table)]
    if options.relative or not catalogue.was_seen:
        words += ["--dicom-root", str(catalogue.start) if catalogue.was_seen else "FOLDER"]
    log_info(f"the table: {table}; what it holds: {options.out / schema.PREPARE_PAGE}")
    log_info(f"next: {shlex.join(words)}")
    index = ["noduleclip", "embed", *words[2:], "--out-dir", str(options.out / "index")]
    if has_test:
        index += ["--patients-file", str(options.out / schema.SPLITS_FOLDER / schema.TEST_PATIENTS)]
    log_info(f"then: {shlex.join(index)}")
