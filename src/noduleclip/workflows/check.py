"""Check of a ROI table before the long work: every header is read, and the work is estimated (`check`, `--dry-run`)."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from noduleclip import schema
from noduleclip.config import CropConfig
from noduleclip.errors import SliceError
from noduleclip.io.artefacts import write_json
from noduleclip.io.consensus import collapse_nodules
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.dicom.header_check import HeaderCheck, check_headers
from noduleclip.io.patients import read_patient_list, refuse_overlap
from noduleclip.io.size_bins import count_sizes
from noduleclip.io.slice_crops import CutSettings, Reject, SliceJob, cut_slice
from noduleclip.io.suspicions import describe_odd_sizes
from noduleclip.workflows.output_lock import OVERWRITE, output_lock
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.roi_crops import (
    TableRequest,
    check_reject_limit,
    count_workers,
    describe_rejects,
    find_unmeasured,
    list_rejects,
    load_table,
    pick_parts,
    pick_rows,
    write_rejects,
)

CHECK_FILES = (schema.CHECK_REPORT, schema.REJECTS_CSV)
_SLICES_TIMED = 16


@dataclass(frozen=True, kw_only=True)
class CheckRequest:
    """What to check and where the report goes.

    Attributes:
        table: The table, and the policy on unusable rows.
        unit: What is checked: "nodule" on its key slice, every "outline", or "auto", as `embed` chooses.
        patient_files: Patient lists whose rows are also counted apart; they may not share patients.
        crop: Crops to estimate the work for.
        out: Folder for `check.json` and `rejects.csv`; None = nothing is written.
        overwrite: Replace a report that is already there.
    """

    table: TableRequest
    unit: str = schema.AUTO_UNIT
    patient_files: Sequence[Path] = ()
    crop: CropConfig = field(default_factory=CropConfig)
    out: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of one step of the work.

    Attributes:
        step: Name of the step.
        work: Amount of work, such as "83 crops".
        seconds: Time, extrapolated from a measured sample.
        bytes: Disk space.
    """

    step: str
    work: str
    seconds: float
    bytes: int


@dataclass(frozen=True)
class CheckResult:
    """Result of a check.

    Attributes:
        frame: The rows that were checked.
        rejects: The unusable ones, as far as headers show.
        report: The content of `check.json`.
        table: The request that the table was loaded with.
    """

    frame: pl.DataFrame
    rejects: Sequence[Reject]
    report: dict[str, Any]
    table: TableRequest

    @property
    def rejects_table(self) -> pl.DataFrame:
        """The unusable rows as `rejects.csv` lists them."""
        return list_rejects(self.frame, self.rejects)

    @property
    def summary(self) -> str:
        """One line: how many rows cannot be used, and why."""
        return describe_rejects(self.frame, self.rejects)

    def enforce_reject_limit(self) -> None:
        """Check that no more rows are unusable than the request allows.

        Raises:
            InputError: More are, or no row is left.
        """
        check_reject_limit(self.frame, self.rejects, self.table)


def check_table(request: CheckRequest, reporter: Reporter = SILENT) -> CheckResult:
    """Check a ROI table and the headers of its slices.

    Raises:
        InputError: The table or a patient list cannot be read, or lists share patients.
        UsageError: `out` holds a report already.
    """
    with output_lock(request.out, CHECK_FILES, OVERWRITE, replace=request.overwrite, reporter=reporter):
        refuse_overlap({str(file): read_patient_list(file) for file in request.patient_files})
        table = load_table(request.table, reporter)
        limit = request.table.limit
        frame = pick_rows(table, request.unit, None, limit, reporter)
        parts = pick_parts(table, request.patient_files, limit, request.unit, reporter)
        settings = request.table.cut_settings(request.crop)
        result = check_rows(frame, parts, settings, request.table, outlines=table.frame, reporter=reporter)
        if request.out is not None:
            write_rejects(frame, result.rejects, request.out)
            write_json(request.out / schema.CHECK_REPORT, result.report)
    return result


def check_rows(
    frame: pl.DataFrame,
    parts: Mapping[str, pl.DataFrame],
    settings: CutSettings,
    table: TableRequest,
    estimates: Sequence[Estimate] = (),
    *,
    needs_diameters: bool = False,
    outlines: pl.DataFrame | None = None,
    reporter: Reporter = SILENT,
) -> CheckResult:
    """Read the header of every slice of a frame and estimate the time to cut the crops.

    Args:
        frame: The rows to check.
        parts: Rows that are also counted apart, by the name of their patient list.
        settings: How crops would be cut.
        table: The request that the table was loaded with.
        estimates: Estimates of the work after cutting.
        needs_diameters: Count rows without a diameter as unusable, as training does.
        outlines: Rows of the table whose diameters and boxes are compared; None = the frame.
        reporter: Receives progress and warnings.
    """
    cache = table.open_cache(frame, settings)
    with reporter.progress("reading headers", cache.slices, "slices") as advance:
        headers = check_headers(cache, count_workers(table.workers), lambda: advance(1))
    _warn_of_odd_sizes(frame, frame if outlines is None else outlines, headers, table, reporter)
    rejects = [*headers.rejects, *(find_unmeasured(frame, headers.rejects) if needs_diameters else ())]
    report = {
        "roi_csv": str(table.roi_csv),
        "slices": headers.slices,
        "rejected": _count_rejects(rejects),
        "syntaxes": [
            {"syntax": name, "slices": slices, "decoder": decoder or "none needed"}
            for (name, decoder), slices in headers.syntaxes.most_common()
        ],
        "parts": [{"part": name, **_count(part)} for name, part in {"all": frame, **parts}.items()],
        "estimates": [asdict(estimate) for estimate in (_estimate_cutting(cache, table), *estimates)],
    }
    return CheckResult(frame, rejects, report, table)


def _warn_of_odd_sizes(
    frame: pl.DataFrame, outlines: pl.DataFrame, headers: HeaderCheck, table: TableRequest, reporter: Reporter
) -> None:
    """Compare diameters with boxes by the headers' pixel spacing, where the table has none of its own."""
    if schema.SPACING_ROW not in frame.columns:
        spacings = headers.add_spacings(frame).select(schema.ABSOLUTE_PATH, schema.SPACING_ROW, schema.SPACING_COL)
        spaced = outlines.join(spacings.unique(schema.ABSOLUTE_PATH), on=schema.ABSOLUTE_PATH, maintain_order="left")
        odd = describe_odd_sizes(table.roi_csv, spaced)
        if odd:
            reporter.warning(odd)


def _count(rows: pl.DataFrame) -> dict[str, Any]:
    """Count the patients, nodules and rows of a table or of a part of it, and the nodules by their size."""
    named = rows.filter(pl.col(schema.PATIENT_ID) != "")
    nodules = collapse_nodules(rows.drop(schema.POINTS_JSON, strict=False))
    return {
        "patients": named[schema.PATIENT_ID].n_unique(),
        "nodules": nodules.height,
        "rows": rows.height,
        "sizes": count_sizes(nodules),
    }


def _count_rejects(rejects: Sequence[Reject]) -> list[dict[str, Any]]:
    by_code: dict[str, list[Reject]] = {}
    for reject in rejects:
        by_code.setdefault(str(reject.code), []).append(reject)
    groups = sorted(by_code.items(), key=lambda group: -len(group[1]))
    return [{"code": code, "rows": len(some), "first": some[0].reason} for code, some in groups]


def _estimate_cutting(cache: CropCache, table: TableRequest) -> Estimate:
    """Time the cutting of a few slices that the cache lacks, spread over all of them; the crops are dropped."""
    missing = cache.find_missing()
    step = max(1, math.ceil(len(missing) / _SLICES_TIMED))
    seconds = [took for job in missing[::step] if (took := _time_cut(job, cache.settings)) is not None]
    each = statistics.median(seconds) if seconds else 0.0
    return Estimate(
        step="cutting crops",
        work=f"{len(missing):,} of {cache.slices:,} slices, {cache.slices - len(missing):,} in the cache",
        seconds=len(missing) * each / count_workers(table.workers),
        bytes=cache.measure(missing),
    )


def _time_cut(job: SliceJob, settings: CutSettings) -> float | None:
    started = time.perf_counter()
    try:
        cut_slice(job, settings)
    except SliceError:
        return None
    return time.perf_counter() - started
