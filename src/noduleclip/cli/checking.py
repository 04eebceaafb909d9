"""What `check` and `--dry-run` do: every header before the long work, and what the long work would take."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from noduleclip import schema
from noduleclip.config import CropConfig
from noduleclip.errors import SliceError
from noduleclip.io.artefacts import write_json
from noduleclip.io.crop_cache import CropCache, CutSettings, Reject, SliceJob, cut_slice
from noduleclip.io.dicom.header_check import HeaderCheck, check_headers
from noduleclip.io.patients import read_patient_list, refuse_overlap
from noduleclip.io.size_bins import count_sizes
from noduleclip.io.suspicions import describe_odd_sizes
from noduleclip.report.check import print_check
from noduleclip.report.console import CONSOLE, log_info, log_warning, progress
from noduleclip.report.tables import choose_format
from noduleclip.workflows.roi_crops import (
    TableRequest,
    check_reject_limit,
    count_workers,
    describe_rejects,
    find_unmeasured,
    list_rejects,
    load_table,
    pick_parts,
    write_rejects,
)

_SLICES_TIMED = 16


@dataclass(frozen=True)
class Estimate:
    """What a step of the work would take.

    Attributes:
        step: Its name.
        work: How much of it there is.
        seconds: Time, from a measured sample.
        bytes: Disk.
    """

    step: str
    work: str
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Examination:
    """What was found before the work.

    Attributes:
        frame: The rows.
        rejects: Those of them that cannot be used, as far as headers tell.
        report: All that was found, as `check.json` has it.
    """

    frame: pl.DataFrame
    rejects: list[Reject]
    report: dict[str, Any]


def run_check(
    options: TableRequest, patient_files: Sequence[Path], crop: CropConfig, out: Path | None, output_format: str
) -> None:
    """Check a table and its slices; report, and end as `embed` would on what was found.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    refuse_overlap({str(file): read_patient_list(file) for file in patient_files})
    table = load_table(options, reporter=CONSOLE)
    frame = table.frame.head(options.limit) if options.limit else table.frame
    parts = pick_parts(table, patient_files, options.limit, reporter=CONSOLE)
    found = examine(frame, parts, options.cut_settings(crop), options)
    if out is not None:
        write_rejects(frame, found.rejects, out)
        write_json(out / schema.CHECK_REPORT, found.report)
    summarize(found, options, output_format)


def summarize(
    found: Examination, options: TableRequest, output_format: str = "table", *, enforce_limit: bool = True
) -> None:
    """Print what was found, and, if it `enforce_limit`, end the run where too many rows are unusable.

    Raises:
        InputError: They are more than the options allow.
    """
    print_check(found.report, list_rejects(found.frame, found.rejects), choose_format(output_format))
    if enforce_limit:
        check_reject_limit(found.frame, found.rejects, options)
    log_info(describe_rejects(found.frame, found.rejects))


def examine(
    frame: pl.DataFrame,
    parts: Mapping[str, pl.DataFrame],
    settings: CutSettings,
    options: TableRequest,
    estimates: Sequence[Estimate] = (),
    *,
    needs_diameters: bool = False,
) -> Examination:
    """Read every header of a frame's slices and estimate what cutting them would take.

    Args:
        frame: The rows to check.
        parts: The rows of each patient list, by its name.
        settings: How crops would be cut.
        options: How the table was read.
        estimates: What the work after the cutting would take.
        needs_diameters: Count rows without a diameter as unusable, as training does.
    """
    cache = options.open_cache(frame, settings)
    with progress("reading headers", cache.slices, "slices") as advance:
        found = check_headers(cache, count_workers(options.workers), lambda: advance(1))
    _warn_of_odd_sizes(frame, found, options)
    rejects = [*found.rejects, *(find_unmeasured(frame, found.rejects) if needs_diameters else ())]
    report = {
        "roi_csv": str(options.roi_csv),
        "slices": found.slices,
        "rejected": _count_rejects(rejects),
        "syntaxes": [
            {"syntax": name, "slices": slices, "decoder": decoder or "none needed"}
            for (name, decoder), slices in found.syntaxes.most_common()
        ],
        "parts": [
            {"part": name, **_count(part), "sizes": count_sizes(part)} for name, part in {"all": frame, **parts}.items()
        ],
        "estimates": [asdict(estimate) for estimate in (_estimate_cutting(cache, options), *estimates)],
    }
    return Examination(frame, rejects, report)


def _warn_of_odd_sizes(frame: pl.DataFrame, found: HeaderCheck, options: TableRequest) -> None:
    """Compare diameters and boxes where the table had no spacing to do so when it was read."""
    if schema.SPACING_ROW not in frame.columns:
        odd = describe_odd_sizes(options.roi_csv, found.add_spacings(frame))
        if odd:
            log_warning(odd)


def _count(rows: pl.DataFrame) -> dict[str, int]:
    named = rows.filter(pl.col(schema.PATIENT_ID) != "")
    return {"patients": named[schema.PATIENT_ID].n_unique(), "rows": rows.height}


def _count_rejects(rejects: Sequence[Reject]) -> list[dict[str, Any]]:
    by_code: dict[str, list[Reject]] = {}
    for reject in rejects:
        by_code.setdefault(str(reject.code), []).append(reject)
    groups = sorted(by_code.items(), key=lambda group: -len(group[1]))
    return [{"code": code, "rows": len(some), "first": some[0].reason} for code, some in groups]


def _estimate_cutting(cache: CropCache, options: TableRequest) -> Estimate:
    """Cut some slices, spread over those that the cache does not hold; nothing of them is kept."""
    missing = cache.find_missing()
    step = max(1, math.ceil(len(missing) / _SLICES_TIMED))
    seconds = [took for job in missing[::step] if (took := _time_cut(job, cache.settings)) is not None]
    each = statistics.median(seconds) if seconds else 0.0
    return Estimate(
        step="cutting crops",
        work=f"{len(missing):,} of {cache.slices:,} slices, {cache.slices - len(missing):,} in the cache",
        seconds=len(missing) * each / count_workers(options.workers),
        bytes=cache.measure(missing),
    )


def _time_cut(job: SliceJob, settings: CutSettings) -> float | None:
    started = time.perf_counter()
    try:
        cut_slice(job, settings)
    except SliceError:
        return None
    return time.perf_counter() - started
