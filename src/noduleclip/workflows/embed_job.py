"""The request of an embedding, and the model and rows that it names."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.config import VIEWS
from noduleclip.engine.chunks import CHUNK_ROWS
from noduleclip.engine.encoders import AUTO, Encoders, open_encoders
from noduleclip.errors import UsageError
from noduleclip.io.bundled_model import find_checkpoint, recall_diameter_kind
from noduleclip.io.roi_table import RoiTable, find_diameter_kind
from noduleclip.io.slice_crops import CutSettings
from noduleclip.workflows.index_target import IndexTarget
from noduleclip.workflows.reporter import Reporter
from noduleclip.workflows.roi_crops import TableRequest, load_table, pick_rows


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """Which nodules to embed, with which model, and where the index goes.

    Attributes:
        table: The ROI table, and the policy on unusable rows.
        target: Destination of the index, or of a shard, as `choose_target` returns it.
        model: Checkpoint, or the name of a bundled model.
        unit: What a row is: "nodule", "outline", or "auto": nodules where the table names them.
        patients_file: Patients to embed, one id a line; None = all.
        img_size: Crop size in pixels that the checkpoint must have; None = not checked.
        emb: Embedding width that the checkpoint must have; None = not checked.
        bs: Crops in a forward pass.
        device: "auto", or a device as `torch.device` takes it.
        views: Views of a crop to average: 1, 2, 4 or 8; None = the model's own number.
        precision: Arithmetic of the image encoder: "float32", "int8", or "auto" for the faster one on this machine.
        ray_address: Ray cluster whose actors cut and embed; None = this process.
        overwrite: Replace an index that is already there.
    """

    table: TableRequest
    target: IndexTarget
    model: Path = Path("lidc")
    unit: str = schema.AUTO_UNIT
    patients_file: Path | None = None
    img_size: int | None = None
    emb: int | None = None
    bs: int = 64
    device: str = "auto"
    views: int | None = None
    precision: str = AUTO
    ray_address: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class EmbedJob:
    """A request with its model and its rows loaded.

    Attributes:
        request: The request.
        checkpoint: File of the model.
        encoders: The encoders.
        table: The table as it was read.
        everything: Rows to embed by all shards together.
        rows: Which of them this run embeds.
        frame: Those rows.
        settings: How their crops are cut.
    """

    request: EmbedRequest
    checkpoint: Path
    encoders: Encoders
    table: RoiTable
    everything: pl.DataFrame
    rows: range
    frame: pl.DataFrame
    settings: CutSettings


def load_job(request: EmbedRequest, reporter: Reporter) -> EmbedJob:
    """Load the model and the rows of a request.

    Raises:
        UsageError: The model does not have the size asked for.
        InputError: The table or the patient list cannot be read.
        ArtefactError: The checkpoint is broken.
    """
    checkpoint = find_checkpoint(request.model)
    preparing = f"{request.model}: preparing the model, which takes some seconds the first time"
    if request.views not in (None, *VIEWS):
        raise UsageError(f"--views must be one of {', '.join(map(str, VIEWS))}, got {request.views}")
    encoders = open_encoders(
        checkpoint, request.table.make_cache_folder(), request.device, lambda: reporter.info(preparing),
        views=request.views, precision=request.precision,
    )  # fmt: skip
    config = encoders.image.config
    for option, given, known in (
        ("--img-size", request.img_size, config.crop.size_px),
        ("--emb", request.emb, config.emb),
    ):
        if given is not None and given != known:
            raise UsageError(f"{option} {given}: {request.model} was trained with {known}; leave the option out")
    reporter.info(f"device: {encoders.device}; {encoders.image.precision}, views of a crop: {encoders.image.views}")
    table = load_table(request.table, reporter)
    kind, trained_kind = find_diameter_kind(table.frame), recall_diameter_kind(checkpoint)
    if kind and trained_kind and kind != trained_kind:
        reporter.warning(
            f"diameters of the table are {kind}, {request.model} learned its sizes from {trained_kind} ones"
        )
    everything = pick_rows(table, request.unit, request.patients_file, request.table.limit, reporter)
    rows, frame = range(everything.height), everything
    shard = request.target.shard
    if shard is not None:
        rows = shard.choose_rows(everything.height)
        frame = everything[rows.start : rows.stop]
        reporter.info(
            f"shard {shard}: rows {rows.start + 1:,} to {rows.stop:,} of {everything.height:,}"
            if rows
            else f"shard {shard}: no rows, the table has fewer chunks of {CHUNK_ROWS:,}"
        )
    settings = request.table.cut_settings(config.crop)
    return EmbedJob(request, checkpoint, encoders, table, everything, rows, frame, settings)
