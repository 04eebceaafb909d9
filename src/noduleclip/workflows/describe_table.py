"""Description of the nodules of a ROI table, which are embedded without keeping an index (`describe --roi-csv`)."""

from dataclasses import dataclass
from pathlib import Path

from noduleclip import schema
from noduleclip.config import INDEXED_ROWS
from noduleclip.workflows.describe import DescribeResult, choose_columns
from noduleclip.workflows.embed import EmbedRequest, estimate_table
from noduleclip.workflows.index_target import IndexTarget
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.roi_crops import TableRequest


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
    meta, rejects = estimate_table(
        EmbedRequest(
            table=request.table, target=nowhere, model=request.model, unit=request.unit,
            patients_file=request.patients_file, bs=request.bs, device=request.device, views=request.views,
            precision=request.precision,
        ),
        reporter,
    )  # fmt: skip
    return DescribeResult(meta.select(choose_columns(meta.columns)), rejects)
