"""Description of the nodules of a ROI table, which are embedded without keeping an index (`describe --roi-csv`)."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.config import INDEXED_ROWS
from noduleclip.engine.embed import describe_rows
from noduleclip.workflows.describe import DescribeResult, choose_columns
from noduleclip.workflows.embed_job import EmbedRequest, load_job
from noduleclip.workflows.index_target import IndexTarget
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.roi_crops import TableRequest, check_reject_limit, cut_crops, describe_rejects, list_rejects


@dataclass(frozen=True, kw_only=True)
class DescribeTableRequest:
    """Which nodules of a ROI table to describe, and with which model.

    Attributes:
        table: The ROI table, and the policy on unusable rows.
        model: Checkpoint, or the name of a bundled model.
        unit: As in `EmbedRequest`.
        patients_file: Patients to describe, one id a line; None = all.
        bs: Crops in a forward pass.
        device: "auto", or a device as `torch.device` takes it.
        views: As in `EmbedRequest`.
        precision: As in `EmbedRequest`.
    """

    table: TableRequest
    model: Path = Path("lidc")
    unit: str = schema.AUTO_UNIT
    patients_file: Path | None = None
    bs: int = 64
    device: str = "auto"
    views: int | None = None
    precision: str = "auto"


def describe_table(request: DescribeTableRequest, reporter: Reporter = SILENT) -> DescribeResult:
    """Embed the nodules of a ROI table and describe them, without keeping an index.

    Raises:
        InputError: The table or the patient list cannot be read, or too many rows are unusable.
        ArtefactError: The checkpoint is broken.
    """
    nowhere = IndexTarget(request.table.roi_csv.parent, None, INDEXED_ROWS)
    job = load_job(
        EmbedRequest(
            table=request.table, target=nowhere, model=request.model, unit=request.unit,
            patients_file=request.patients_file, bs=request.bs, device=request.device, views=request.views,
            precision=request.precision,
        ),
        reporter,
    )  # fmt: skip
    cache = cut_crops(job.frame, job.settings, request.table, reporter=reporter)
    check_reject_limit(job.frame, cache.rejects, request.table)
    if cache.rejects:
        reporter.warning(describe_rejects(job.frame, cache.rejects))
    with reporter.progress("embedding", job.frame.height - len(cache.rejects), "crops") as advance:
        meta = describe_rows(job.frame, cache, job.encoders, bs=request.bs, keep=request.table.keep, on_rows=advance)
    return DescribeResult(
        table=meta.select(choose_columns(meta.columns)),
        rejects=list_rejects(job.frame, cache.rejects),
        model_id=job.encoders.image.model_id,
        checkpoint_sha256=job.encoders.checkpoint_sha256,
        nodules=meta,
        outlines=_find_outlines(job.frame, meta),
        dicom_roots=job.table.dicom_roots,
    )


def _find_outlines(frame: pl.DataFrame, meta: pl.DataFrame) -> tuple[str | None, ...]:
    """Return the outlines of the rows that were embedded."""
    if schema.POINTS_JSON not in frame.columns:
        return (None,) * meta.height
    outlines = dict(frame.select(schema.CSV_ROW, schema.POINTS_JSON).iter_rows())
    return tuple(outlines[row] for row in meta[schema.CSV_ROW])
