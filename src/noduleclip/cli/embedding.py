"""What `embed` does once its options are settled."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from noduleclip.cli.slice_folders import record_index
from noduleclip.engine.chunks import CHUNK_ROWS, CHUNKS_FOLDER, open_chunks
from noduleclip.engine.embed import measure_index, write_index, write_store
from noduleclip.engine.encoders import Encoder, Encoders, open_encoders
from noduleclip.engine.ray_engine import ChunkWork, embed_with_ray, write_fragments_with_ray
from noduleclip.engine.shards import ShardNumber, identify_whole, write_shard
from noduleclip.errors import UsageError
from noduleclip.io.bundled_model import find_checkpoint, recall_diameter_kind
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.disk import require_room
from noduleclip.io.roi_table import find_diameter_kind
from noduleclip.io.size_bins import count_sizes
from noduleclip.report.check import report_check
from noduleclip.report.console import CONSOLE, log_info, log_warning, message_console, progress
from noduleclip.report.sparkline import choose_bars, describe_counts
from noduleclip.workflows.check import Estimate, check_rows
from noduleclip.workflows.index_target import IndexTarget
from noduleclip.workflows.roi_crops import (
    TableRequest,
    count_workers,
    cut_crops,
    enforce_reject_limit,
    list_rejects,
    load_table,
    pick_patients,
)


def run_embedding(
    table_options: TableRequest,
    patients_file: Path | None,
    model_name: Path,
    target: IndexTarget,
    *,
    img_size: int | None,
    emb: int | None,
    bs: int,
    device_name: str,
    shard: ShardNumber | None,
    dry_run: bool,
    ray_address: str | None,
) -> None:
    """Cut the crops, embed them, and write the index, or one shard of it; or only say how it would go.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    checkpoint = find_checkpoint(model_name)
    encoders = open_encoders(
        checkpoint,
        table_options.make_cache_folder(),
        device_name,
        lambda: log_info(f"{model_name}: preparing the model, which takes some seconds the first time"),
    )
    config = encoders.image.config
    for option, given, known in (("--img-size", img_size, config.crop.size_px), ("--emb", emb, config.emb)):
        if given is not None and given != known:
            raise UsageError(f"{option} {given}: {model_name} was trained with {known}; leave the option out")
    log_info(f"device: {encoders.device}")
    table = load_table(table_options, reporter=CONSOLE)
    _compare_diameters(find_diameter_kind(table.frame), recall_diameter_kind(checkpoint), model_name)
    frame = table.frame.head(table_options.limit) if table_options.limit else table.frame
    if patients_file is not None:
        frame = pick_patients(table, patients_file, table_options.limit, reporter=CONSOLE)
    settings = table_options.cut_settings(config.crop)
    everything, rows = frame, range(frame.height)
    if shard is not None:
        rows = shard.choose_rows(frame.height)
        frame = frame[rows.start : rows.stop]
        log_info(
            f"shard {shard}: rows {rows.start + 1:,} to {rows.stop:,} of {everything.height:,}"
            if rows
            else f"shard {shard}: no rows, the table has fewer chunks of {CHUNK_ROWS:,}"
        )
    if dry_run:
        if rows:
            estimate = _estimate(encoders.image, frame.height, bs)
            found = check_rows(frame, {}, settings, table_options, [estimate], reporter=CONSOLE)
            report_check(found, enforce_limit=shard is None)  # for shards merge enforces the limit: it sees all of them
        return
    log_info(f"sizes in mm: {describe_counts(count_sizes(frame), choose_bars(message_console()))}")
    further = measure_index(frame, encoders, target.out_dir, table_options.keep, target.store)
    work: ChunkWork | None = None
    if ray_address is not None:
        cache_folder = table_options.cache_folder.absolute()
        chunks = target.out_dir.absolute() / CHUNKS_FOLDER
        work = ChunkWork(chunks, cache_folder, checkpoint.absolute(), device_name, settings, bs)
        require_room(further)
        cache = _embed_with_ray(frame, work, encoders, table_options, ray_address)
    else:
        cache = cut_crops(frame, settings, table_options, further, reporter=CONSOLE)
    if shard is not None:
        _embed_shard(everything, shard, cache, encoders, table_options, table.dicom_roots, target.out_dir, bs)
        return
    enforce_reject_limit(frame, cache.rejects, table_options, target.out_dir, reporter=CONSOLE)
    fragments: list[str] | None = None
    if work is not None and ray_address is not None and target.store is not None:
        with progress("writing", frame.height, "rows") as advance:
            fragments = write_fragments_with_ray(
                frame.height, work, target.store.absolute_text, table_options.keep,
                address=ray_address, workers=count_workers(table_options.workers), on_rows=advance,
            )  # fmt: skip
    with progress("embedding", frame.height - len(cache.rejects), "crops") as advance:
        parts = frame, cache, encoders
        kept = table_options.keep, table.dicom_roots
        if target.store is None:
            manifest = write_index(*parts, target.out_dir, bs=bs, keep=kept[0], dicom_roots=kept[1], on_rows=advance)
        else:
            manifest = write_store(
                *parts, target.store, target.out_dir, bs=bs, indexed_rows=target.indexed_rows,
                keep=kept[0], dicom_roots=kept[1], fragments=fragments, on_rows=advance,
            )  # fmt: skip
    record_index(target.location)
    log_info(f"{manifest.rows:,} rows of width {manifest.emb} in {target}")


def _embed_with_ray(
    frame: pl.DataFrame, work: ChunkWork, encoders: Encoders, table_options: TableRequest, address: str
) -> CropCache:
    """Have all chunks made, so that writing the index finds them; gives the cache with the rows that have no crop."""
    cache = table_options.open_cache(frame, work.settings)
    open_chunks(work.chunks, encoders.image.model_id, cache, work.bs)
    workers = count_workers(table_options.workers)
    with progress("cutting and embedding", frame.height, "rows") as advance:
        cache.rejects = embed_with_ray(frame, work, address=address, workers=workers, on_rows=advance)
    return cache


def _embed_shard(
    frame: pl.DataFrame,
    shard: ShardNumber,
    cache: CropCache,
    encoders: Encoders,
    table_options: TableRequest,
    dicom_roots: Sequence[str],
    folder: Path,
    bs: int,
) -> None:
    """Embed a shard; whether too many rows were rejected is for merge to say, which sees all of them."""
    rows = shard.choose_rows(frame.height)
    rejects = list_rejects(frame[rows.start : rows.stop], cache.rejects)
    whole = identify_whole(frame, table_options.roi_csv, encoders, cache.settings, dicom_roots, bs)
    with progress("embedding", len(rows) - rejects.height, "crops") as advance:
        embedded = write_shard(
            frame, shard, cache, encoders, folder,
            whole=whole, rejects=rejects, bs=bs, keep=table_options.keep, dicom_roots=dicom_roots, on_rows=advance,
        )  # fmt: skip
    if embedded:
        record_index(folder)
    if rejects.height:
        log_warning(f"{rejects.height:,} of {len(rows):,} rows cannot be used; merge lists them all")
    log_info(f"shard {shard}: {embedded:,} rows in {folder}")
    log_info(f"when all {shard.of} are there: noduleclip merge --out-dir {folder.parents[1]}")


def _compare_diameters(kind: str | None, trained_kind: str | None, model_name: Path) -> None:
    if kind and trained_kind and kind != trained_kind:
        log_warning(f"diameters of the table are {kind}, {model_name} learned its sizes from {trained_kind} ones")


def _estimate(encoder: Encoder, rows: int, bs: int) -> Estimate:
    """Time a batch of noise, after one that warms up."""
    size_px, count = encoder.config.crop.size_px, min(bs, rows)
    crops = np.random.default_rng(0).integers(-1000, 400, (count, size_px, size_px)).astype(np.int16)
    encoder.encode(crops)
    started = time.perf_counter()
    encoder.encode(crops)
    seconds = rows / count * (time.perf_counter() - started)
    return Estimate("embedding", f"{rows:,} crops", seconds, 4 * rows * encoder.config.emb)
