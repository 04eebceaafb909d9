"""From a ROI table to cut crops: what `train` and `embed` do first, with its messages and its policy on bad rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError, UsageError
from noduleclip.io.artefacts import replacing
from noduleclip.io.crop_cache import CropCache, CutSettings, Reject, default_cache_folder
from noduleclip.io.patients import read_patient_list
from noduleclip.io.roi_table import RoiTable, guard_cells, read_roi_table, select_patients
from noduleclip.machine import count_cores
from noduleclip.report.console import counting, say, warn


@dataclass(frozen=True)
class TableOptions:
    """How a ROI table is read and what becomes of its bad rows.

    Attributes:
        roi_csv: The table.
        dicom_root: Folder that relative paths start from.
        max_rejects: Share of unusable rows over which the run ends.
        assume_hu: Take stored values as HU where a slice has no rescale.
        cache_dir: Where crops are kept.
        workers: Processes that decode, or "auto".
        limit: Use the first rows only.
        keep: Further columns to carry along.
    """

    roi_csv: Path
    dicom_root: Path | None = None
    max_rejects: float = 0.01
    assume_hu: bool = False
    cache_dir: Path | None = None
    workers: str = "auto"
    limit: int | None = None
    keep: tuple[str, ...] = ()


def read_table(options: TableOptions) -> RoiTable:
    """Read the table, and say what was dropped.

    Raises:
        InputError: It is no ROI table.
    """
    table = read_roi_table(options.roi_csv, options.dicom_root, options.keep)
    if table.duplicates:
        warn(f"{options.roi_csv}: dropped {table.duplicates} exact duplicate row(s)")
    nameless = table.frame.filter(pl.col(schema.PATIENT_ID) == "")
    if nameless.height:
        warn(
            f"{options.roi_csv}: {nameless.height} row(s) belong to no known patient, so to no patient list: no "
            f"{schema.PATIENT_ID}, and no header to take it from; first: {nameless[0, schema.DICOM_PATH]}"
        )
    median = table.frame[schema.DIAMETER_MM].median()
    if isinstance(median, float) and not 1 <= median <= 60:
        warn(f"{options.roi_csv}: the median of {schema.DIAMETER_MM} is {median:g}; is it in millimetres?")
    return table


def pick_patients(table: RoiTable, patients_file: Path, limit: int | None) -> pl.DataFrame:
    """Keep the rows of the patients in a list, in table order.

    Raises:
        InputError: The list is unreadable, or nothing is left.
    """
    chosen, unknown = select_patients(table.frame, read_patient_list(patients_file))
    if unknown:
        named = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        warn(f"{patients_file}: {len(unknown)} patient(s) are not in {table.path}: {named}")
    if chosen.height == 0:
        raise InputError(f"{patients_file}: none of its patients is in {table.path}")
    return chosen.head(limit) if limit else chosen


def cut_crops(frame: pl.DataFrame, settings: CutSettings, options: TableOptions) -> CropCache:
    """Cut the crops of a frame's rows, or find them in the cache."""
    cache = CropCache(options.cache_dir or default_cache_folder(), frame, settings)
    with counting("cutting crops", cache.slices, "slices") as advance:
        decoded = cache.fill(count_workers(options.workers), lambda: advance(1))
    say(
        f"{frame.height:,} ROIs on {cache.slices:,} slices: "
        f"{decoded:,} decoded, {cache.slices - decoded:,} from the cache"
    )
    return cache


def count_workers(wanted: str) -> int:
    """Give the number of decoding processes: one per core for "auto".

    Raises:
        UsageError: The text is neither a number nor "auto".
    """
    if wanted == "auto":
        return count_cores()
    if not wanted.isdecimal() or int(wanted) < 1:
        raise UsageError(f"--workers must be a number from 1, or auto, got {wanted!r}")
    return int(wanted)


def judge_rejects(frame: pl.DataFrame, rejects: Sequence[Reject], max_rejects: float, out: Path) -> None:
    """Go on without the unusable rows, keeping their reasons in `rejects.csv`, or end the run.

    Raises:
        InputError: They are more than `max_rejects` of the rows, or nothing is left.
    """
    if not rejects:
        (out / schema.REJECTS_CSV).unlink(missing_ok=True)
        return
    counts = ", ".join(f"{count} {code}" for code, count in Counter(r.code for r in rejects).most_common())
    summary = f"{len(rejects)} of {frame.height} rows cannot be used ({counts}); first: {rejects[0].reason}"
    if len(rejects) > max_rejects * frame.height or len(rejects) == frame.height:
        raise InputError(f"{summary}; allowed is a share of {max_rejects:g} (--max-rejects)")
    reasons = pl.DataFrame(
        {
            schema.CSV_ROW: [frame[reject.row, schema.CSV_ROW] for reject in rejects],
            schema.DICOM_PATH: [frame[reject.row, schema.DICOM_PATH] for reject in rejects],
            schema.REJECT_CODE: [reject.code for reject in rejects],
            schema.REJECT_REASON: [reject.reason for reject in rejects],
        }
    )
    with replacing(out / schema.REJECTS_CSV) as temporary:
        guard_cells(reasons).write_csv(temporary)
    warn(f"{summary}; all are in {out / schema.REJECTS_CSV}")
