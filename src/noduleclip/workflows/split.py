"""Split of the patients of a ROI table into training, validation and test (`split`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.io.artefacts import write_together
from noduleclip.io.consensus import collapse_nodules, expand_readers
from noduleclip.io.patients import format_patient_list, split_patients
from noduleclip.io.size_bins import count_bins
from noduleclip.workflows.output_lock import OVERWRITE, output_lock
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.roi_crops import TableRequest, load_table


@dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """Which table to split and in which shares.

    Attributes:
        table: The table.
        out: Folder for the three patient lists.
        shares: Shares of training, validation and test patients; positive, summing to 1.
        seed: Seed of the shuffle.
        overwrite: Replace lists that are already there.
    """

    table: TableRequest
    out: Path
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class SplitResult:
    """The three lists.

    Attributes:
        patients: Sorted patient ids by file name, one of `schema.SPLIT_FILES`.
        bins: Nodules in each size bin, by patient.
    """

    patients: Mapping[str, Sequence[str]]
    bins: Mapping[str, Sequence[int]]


def split(request: SplitRequest, reporter: Reporter = SILENT) -> SplitResult:
    """Deal the patients to three lists, each with its share of patients and of every size bin, and write them.

    A nodule counts once for each of its readers, in the bin of that reader's diameter.

    Raises:
        UsageError: The shares do not sum to 1, there are too few patients, or lists are already there.
        InputError: The table cannot be read.
    """
    out = request.out
    with output_lock(out, schema.SPLIT_FILES, OVERWRITE, replace=request.overwrite, reporter=reporter):
        table = load_table(request.table, reporter)
        nodules = collapse_named(table.frame)
        lists = split_patients(count_bins(expand_readers(nodules), unknown=True), request.shares, request.seed)
        patients = dict(zip(schema.SPLIT_FILES, lists, strict=True))
        write_together({out / name: format_patient_list(ids) for name, ids in patients.items()})
    return SplitResult(patients, count_bins(nodules))


def collapse_named(rois: pl.DataFrame) -> pl.DataFrame:
    """Return the nodules of the patients that have an id, each with the diameters of its readers."""
    named = rois.filter(pl.col(schema.PATIENT_ID) != "")
    return collapse_nodules(named.drop(schema.POINTS_JSON, strict=False))
