"""Training and validation samples from a ROI table: crops, outlines, diameters and ratings of each nodule."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.config import CropConfig
from noduleclip.engine.batches import margin_px
from noduleclip.engine.distributed import DistributedContext
from noduleclip.engine.samples import Samples
from noduleclip.errors import InputError
from noduleclip.io.consensus import select_key_slices
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.nodules import group_nodules, parse_ratings
from noduleclip.io.outlines import draw_nodules
from noduleclip.io.patient_hashes import PatientHashes
from noduleclip.io.roi_table import find_diameter_kind
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.roi_crops import (
    TableRequest,
    check_reject_limit,
    cut_crops,
    enforce_reject_limit,
    find_unmeasured,
    load_table,
    pick_patients,
)

_BIN_EDGE_MM = 6


@dataclass(frozen=True)
class TrainingSamples:
    """Samples of each patient list.

    Attributes:
        sets: One for each list.
        fingerprint: Hash of all samples.
        diameter_kind: How the table's diameters were measured, if it says so.
        patients: Ids of the patients of each set.
    """

    sets: tuple[Samples, ...]
    fingerprint: str
    diameter_kind: str | None
    patients: tuple[tuple[str, ...], ...]

    def hash_patients(self) -> PatientHashes:
        """Return the hashes of training and validation patients, salted by the fingerprint."""
        return PatientHashes.from_ids(self.fingerprint, *self.patients)


def load_training_samples(
    table: TableRequest,
    patient_files: Sequence[Path],
    crop: CropConfig,
    out: Path | None,
    *,
    further_bytes: Mapping[Path, int] | None = None,
    reporter: Reporter = SILENT,
) -> TrainingSamples:
    """Cut the crops of each patient list, or find them in the cache, and draw the outlines.

    Args:
        table: The table, and the policy on unusable rows.
        patient_files: The lists.
        crop: How crops are cut.
        out: Folder that receives `rejects.csv`; None if another process writes it.
        further_bytes: Bytes that training will write, by place.
        reporter: Receives messages and progress.

    Raises:
        InputError: Too many rows are unusable, or a list has fewer than two usable nodules.
        OutputError: There is too little disk space.
    """
    loaded = load_table(table, reporter)
    parts = [select_key_slices(pick_patients(loaded, file, table.limit, reporter)) for file in patient_files]
    frame = pl.concat(parts)
    _check_diameters(frame, table)
    settings = table.cut_settings(crop, margin_px(crop.size_px))
    cache = cut_crops(frame, settings, table, further_bytes, reporter)
    rejects = [*cache.rejects, *find_unmeasured(frame, cache.rejects)]
    if out is None:
        check_reject_limit(frame, rejects, table)
    else:
        enforce_reject_limit(frame, rejects, table, out, reporter)
    frame = _keep_diameters(frame, ~pl.int_range(pl.len()).is_in([reject.row for reject in rejects]))
    ends = list(itertools.accumulate((part.height for part in parts), initial=0))
    sets = tuple(
        _collect_samples(frame, range(start, end), cache, file.name, reporter)
        for (start, end), file in zip(itertools.pairwise(ends), patient_files, strict=True)
    )
    labels = b"".join(samples.label_bytes for samples in sets)
    fingerprint = sha256(cache.fingerprint().encode() + labels).hexdigest()[:16]
    patients = tuple(_list_patients(frame[start:end]) for start, end in itertools.pairwise(ends))
    return TrainingSamples(sets, fingerprint, find_diameter_kind(frame), patients)


def _check_diameters(frame: pl.DataFrame, table: TableRequest) -> None:
    """Check, before crops are cut, that enough rows have a diameter to learn from.

    Raises:
        InputError: None has, or more lack one than the options allow.
    """
    if frame[schema.DIAMETER_MM].null_count() == frame.height:
        raise InputError(
            f"{table.roi_csv}: no row has a diameter, and training learns sizes from {schema.DIAMETER_MM}; embed and "
            "describe take points without one"
        )
    check_reject_limit(frame, find_unmeasured(frame, ()), table)


def check_same_samples(samples: TrainingSamples, context: DistributedContext, roi_csv: Path) -> str:
    """Return the fingerprint in the main process: it covers modification times, which differ between disks.

    Raises:
        InputError: The processes loaded different samples.
    """
    images = sha256(b"".join(some.image_bytes for some in samples.sets)).hexdigest()
    if not context.all_equal(images):
        raise InputError(
            f"{roi_csv}: the processes do not see the same nodules; "
            "give every machine the same table, patient lists and slices"
        )
    return context.broadcast(lambda: samples.fingerprint)


def _keep_diameters(frame: pl.DataFrame, kept: pl.Expr) -> pl.DataFrame:
    """Remove the diameters of all other rows; a row without diameter belongs to no nodule."""
    return frame.with_columns(pl.when(kept).then(pl.col(schema.DIAMETER_MM)).alias(schema.DIAMETER_MM))


def _list_patients(part: pl.DataFrame) -> tuple[str, ...]:
    """Return the patients of the nodules of one list; a listed patient without a usable one trains nothing."""
    measured = part.filter(pl.col(schema.DIAMETER_MM).is_not_null())
    return tuple(measured[schema.PATIENT_ID].unique().sort())


def _collect_samples(frame: pl.DataFrame, part: range, cache: CropCache, name: str, reporter: Reporter) -> Samples:
    """Collect the nodules of the rows of one patient list, called `name` in messages."""
    in_part = pl.int_range(pl.len()).is_between(part.start, part.stop - 1)
    nodules = group_nodules(_keep_diameters(frame, in_part))
    if len(nodules) < 2:
        raise InputError(f"{name}: {len(nodules)} usable nodule(s), at least 2 are needed")
    reporter.info(f"{name}: {len(nodules):,} nodules, up to {nodules.diameters_mm.shape[1]} readers each")
    crops_hu = cache.read([int(row) for row in nodules.rows])
    with reporter.progress("drawing outlines", len(nodules), "nodules") as advance:
        outlines = draw_nodules(
            frame, nodules,
            fov_mm=cache.settings.fov_mm, size_px=cache.settings.size_px, on_nodule=lambda: advance(1),
        )  # fmt: skip
    if missing := len(nodules) - int(outlines.known.sum()):
        reporter.warning(
            f"{name}: {missing:,} nodule(s) without outline or pixel spacing in the table; only their diameters count"
        )
    known_mm = nodules.diameters_mm[nodules.diameters_mm > 0]
    if known_mm.min() > _BIN_EDGE_MM or known_mm.max() <= _BIN_EDGE_MM:
        reporter.warning(
            f"{name}: all diameters lie on one side of {_BIN_EDGE_MM} mm; little can be learnt or evaluated"
        )
    return Samples.from_arrays(crops_hu, nodules, outlines, *parse_ratings(frame, nodules))
