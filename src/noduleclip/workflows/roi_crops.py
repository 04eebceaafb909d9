"""Load a ROI table and cut its crops; the policy on unusable rows. Shared by `train`, `embed` and `check`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.config import MAX_PIXELS, CropConfig
from noduleclip.errors import InputError, OutputError, RejectCode, UsageError
from noduleclip.io.artefacts import write_text
from noduleclip.io.consensus import collapse_nodules, describe_shared_ids, names_nodules
from noduleclip.io.crop_cache import CropCache, default_cache_folder
from noduleclip.io.disk import require_room
from noduleclip.io.patients import read_patient_list
from noduleclip.io.roi_table import RoiTable, read_roi_table, select_patients
from noduleclip.io.slice_crops import CutSettings, Reject
from noduleclip.io.suspicions import find_suspicions
from noduleclip.io.text_table import format_csv
from noduleclip.machine import count_cores
from noduleclip.workflows.reporter import SILENT, Reporter

REJECT_SCHEMA = {
    schema.CSV_ROW: pl.UInt32,
    schema.DICOM_PATH: pl.String,
    schema.REJECT_CODE: pl.String,
    schema.REJECT_REASON: pl.String,
}


@dataclass(frozen=True)
class TableRequest:
    """How a ROI table is read and what becomes of its bad rows.

    Attributes:
        roi_csv: The table.
        dicom_root: Folder that relative paths start from.
        max_rejects: Share of unusable rows over which the run ends.
        strict: End at any unusable row.
        assume_hu: Take stored values as HU where a slice has no rescale.
        cache_dir: Where crops are kept.
        workers: Processes that decode, or "auto".
        limit: Use the first rows only.
        keep: Further columns to carry along.
        restrict_to_root: Refuse files outside the DICOM root.
        max_pixels: Largest slice, in pixels, that is decoded.
    """

    roi_csv: Path
    dicom_root: Path | None = None
    max_rejects: float = 0.01
    strict: bool = False
    assume_hu: bool = False
    cache_dir: Path | None = None
    workers: str = "auto"
    limit: int | None = None
    keep: tuple[str, ...] = ()
    restrict_to_root: bool = False
    max_pixels: int = MAX_PIXELS

    def cut_settings(self, crop: CropConfig, margin_px: int = 0) -> CutSettings:
        """Describe how crops are cut from the slices, with `margin_px` more on each side."""
        return CutSettings.for_crop(crop, margin_px, self.assume_hu, self.max_pixels)

    @property
    def cache_folder(self) -> Path:
        """Where crops are kept."""
        return self.cache_dir or default_cache_folder()

    def open_cache(self, frame: pl.DataFrame, settings: CutSettings) -> CropCache:
        """Open the cache of a frame's crops without creating it."""
        return CropCache(self.cache_folder, frame, settings)

    def make_cache_folder(self) -> Path:
        """Make the folder where crops are kept.

        Raises:
            OutputError: It cannot be made.
        """
        try:
            self.cache_folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"crops cannot be kept there ({error.strerror}); name another folder with --cache-dir"
            raise OutputError(f"{self.cache_folder}: {reason}") from error
        return self.cache_folder


def load_table(options: TableRequest, reporter: Reporter = SILENT) -> RoiTable:
    """Load the table, and warn of suspicious values.

    Raises:
        InputError: It is no ROI table.
    """
    table = read_roi_table(options.roi_csv, options.dicom_root, options.keep, restrict_to_root=options.restrict_to_root)
    for suspicion in find_suspicions(table):
        reporter.warning(suspicion)
    return table


def pick_patients(table: RoiTable, patients_file: Path, limit: int | None, reporter: Reporter = SILENT) -> pl.DataFrame:
    """Keep the rows of the patients in a list, in table order.

    Raises:
        InputError: The list is unreadable, or nothing is left.
    """
    chosen, unknown = select_patients(table.frame, read_patient_list(patients_file))
    if unknown:
        named = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        reporter.warning(f"{patients_file}: {len(unknown)} patient(s) are not in {table.path}: {named}")
    if chosen.height == 0:
        raise InputError(f"{patients_file}: none of its patients is in {table.path}")
    return chosen.head(limit) if limit else chosen


def _choose_unit(frame: pl.DataFrame, unit: str, reporter: Reporter) -> pl.DataFrame:
    """Return the rows of a table, or a row per nodule.

    Args:
        frame: Rows of a table.
        unit: "nodule", "outline", or "auto": nodules where the table names them.
        reporter: Receives the counts where several rows are a nodule.
    """
    if unit == schema.OUTLINE_UNIT or (unit == schema.AUTO_UNIT and not names_nodules(frame)):
        return frame
    if shared := describe_shared_ids(frame):
        reporter.warning(shared)
    nodules = collapse_nodules(frame)
    if nodules.height < frame.height:
        reporter.info(
            f"{frame.height:,} rows of the table are of {nodules.height:,} nodules: one row per nodule "
            "(--unit outline keeps every row)"
        )
    return nodules


def pick_rows(
    table: RoiTable, unit: str, patients_file: Path | None, limit: int | None, reporter: Reporter = SILENT
) -> pl.DataFrame:
    """Return the rows that are embedded: the first ones of a patient list, or of the table.

    Args:
        table: The table.
        unit: "nodule", "outline", or "auto": a row per nodule where the table names them.
        patients_file: The list; None = all patients.
        limit: Number of rows; None = all.
        reporter: Receives warnings, and the counts where several rows are a nodule, or some are left out.

    Raises:
        InputError: The list is unreadable, nothing is left, or a nodule has more readers than an index holds.
    """
    frame = table.frame if patients_file is None else pick_patients(table, patients_file, None, reporter)
    rows = _choose_unit(frame, unit, reporter)
    if limit is None or limit >= rows.height:
        return rows
    name = "rows" if rows is frame else "nodules"
    reporter.info(f"the first {limit:,} of {rows.height:,} {name} are used (--limit)")
    return rows.head(limit)


def pick_parts(
    table: RoiTable,
    patient_files: Sequence[Path],
    limit: int | None,
    unit: str = schema.OUTLINE_UNIT,
    reporter: Reporter = SILENT,
) -> dict[str, pl.DataFrame]:
    """Return the rows of each patient list as `pick_rows` does, by the list's name.

    Raises:
        InputError: A list is unreadable, or nothing is left of it.
    """
    are_distinct = len({file.stem for file in patient_files}) == len(patient_files)
    parts = {}
    for file in patient_files:
        part = _choose_unit(pick_patients(table, file, None, reporter), unit, SILENT)
        parts[file.stem if are_distinct else str(file)] = part.head(limit) if limit else part
    return parts


def cut_crops(
    frame: pl.DataFrame,
    settings: CutSettings,
    options: TableRequest,
    further: Mapping[Path, int] | None = None,
    reporter: Reporter = SILENT,
) -> CropCache:
    """Cut the crops of a frame's rows, or find them in the cache.

    Args:
        frame: The rows.
        settings: How crops are cut.
        options: Where they are kept, and by how many processes they are cut.
        further: Bytes that the command will write elsewhere, by place: what does not fit is refused now.
        reporter: Receives progress and the counts.

    Raises:
        OutputError: The crops, or what comes after them, do not fit on their disks.
    """
    options.make_cache_folder()
    cache = options.open_cache(frame, settings)
    require_room({cache.folder: cache.measure(cache.find_missing()), **(further or {})})
    with reporter.progress("cutting crops", cache.slices, "slices") as advance:
        decoded = cache.fill(count_workers(options.workers), lambda: advance(1))
    reporter.info(
        f"{frame.height:,} ROIs on {cache.slices:,} slices: "
        f"{decoded:,} decoded, {cache.slices - decoded - cache.unreadable:,} from the cache"
        + (f", {cache.unreadable:,} unreadable" if cache.unreadable else "")
    )
    return cache


def count_workers(wanted: str) -> int:
    """Return the number of decoding processes: one per core for "auto".

    Raises:
        UsageError: The text is neither a number nor "auto".
    """
    if wanted == "auto":
        return count_cores()
    if not wanted.isdecimal() or int(wanted) < 1:
        raise UsageError(f"--workers must be a number from 1, or auto, got {wanted!r}")
    return int(wanted)


def find_unmeasured(frame: pl.DataFrame, known: Sequence[Reject]) -> list[Reject]:
    """Find the rows that have no diameter to learn from, but those already rejected."""
    rejected = {reject.row for reject in known}
    nulls = frame.with_row_index(schema.ROW).filter(pl.col(schema.DIAMETER_MM).is_null())
    return [
        Reject(row, RejectCode.NO_DIAMETER, f"row {csv_row}: {schema.DIAMETER_MM} is not a number in (0, 100] mm")
        for row, csv_row in nulls.select(schema.ROW, schema.CSV_ROW).iter_rows()
        if row not in rejected
    ]


def enforce_reject_limit(
    frame: pl.DataFrame, rejects: Sequence[Reject], options: TableRequest, out: Path, reporter: Reporter = SILENT
) -> None:
    """Go on without the unusable rows, keeping their reasons in `rejects.csv`, or end the run.

    Raises:
        InputError: They are more than the options allow, or nothing is left.
    """
    check_reject_limit(frame, rejects, options)
    write_rejects(frame, rejects, out)
    if rejects:
        reporter.warning(f"{describe_rejects(frame, rejects)}; all are in {out / schema.REJECTS_CSV}")


def check_reject_limit(frame: pl.DataFrame, rejects: Sequence[Reject], options: TableRequest) -> None:
    """Check that no more rows are unusable than the options allow.

    Raises:
        InputError: They are more, or nothing is left.
    """
    share = 0 if options.strict else options.max_rejects
    if len(rejects) > share * frame.height or len(rejects) == frame.height:
        raise InputError(f"{describe_rejects(frame, rejects)}; allowed is a share of {share:g} (--max-rejects)")


def describe_rejects(frame: pl.DataFrame, rejects: Sequence[Reject]) -> str:
    """Describe how many rows cannot be used and why, in one line."""
    return describe_reject_counts(
        [str(one.code) for one in rejects], rejects[0].reason if rejects else "", frame.height
    )


def describe_reject_counts(codes: Sequence[str], first_reason: str, rows: int) -> str:
    """Describe rows by their known codes."""
    if not codes:
        return f"all {rows} rows can be used"
    counts = ", ".join(f"{count} {code}" for code, count in Counter(codes).most_common())
    return f"{len(codes)} of {rows} rows cannot be used ({counts}); first: {first_reason}"


def list_rejects(frame: pl.DataFrame, rejects: Sequence[Reject]) -> pl.DataFrame:
    """Return the unusable rows as `rejects.csv` has them."""
    rows = [
        (frame[one.row, schema.CSV_ROW], frame[one.row, schema.DICOM_PATH], str(one.code), one.reason)
        for one in rejects
    ]
    return pl.DataFrame(rows, schema=REJECT_SCHEMA, orient="row")


def write_rejects(frame: pl.DataFrame, rejects: Sequence[Reject], out: Path) -> None:
    """Write `rejects.csv`; where every row can be used, remove that of an earlier run."""
    save_rejects(list_rejects(frame, rejects), out)


def save_rejects(listed: pl.DataFrame, out: Path) -> None:
    """Write `rejects.csv`, or remove that of an earlier run where there are none."""
    if listed.height == 0:
        (out / schema.REJECTS_CSV).unlink(missing_ok=True)
        return
    write_text(out / schema.REJECTS_CSV, format_csv(listed))
