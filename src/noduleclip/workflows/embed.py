"""Embedding of a ROI table: crops are cut, encoded, and written as an index, a Lance store or one shard (`embed`)."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from noduleclip import schema
from noduleclip.engine.chunks import CHUNKS_FOLDER, open_chunks
from noduleclip.engine.embed import measure_index, write_index, write_store
from noduleclip.engine.encoders import Encoder
from noduleclip.engine.ray_engine import ChunkWork, embed_with_ray, write_fragments_with_ray
from noduleclip.engine.shards import ShardNumber, fingerprint_table, write_shard
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.disk import require_room
from noduleclip.io.index.lance_tables import Place
from noduleclip.io.size_bins import count_sizes
from noduleclip.workflows.check import CheckResult, Estimate, check_rows
from noduleclip.workflows.command_lines import format_command
from noduleclip.workflows.embed_job import EmbedJob, EmbedRequest, load_job
from noduleclip.workflows.index_target import record_index, target_lock
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.roi_crops import (
    count_workers,
    cut_crops,
    enforce_reject_limit,
    list_rejects,
)


@dataclass(frozen=True)
class EmbedResult:
    """An index, or a shard of one, that was written.

    Attributes:
        location: Its folder, or the address of its store.
        rows: Rows embedded; 0 for a shard without usable rows, which has no index.
        emb: Width of the embeddings.
        rejects: Rows that cannot be used, as `rejects.csv` lists them.
    """

    location: Path | str
    rows: int
    emb: int
    rejects: pl.DataFrame


def embed_table(request: EmbedRequest, reporter: Reporter = SILENT) -> EmbedResult:
    """Cut the crops of a table, embed them, and write the index, or one shard of it.

    After an interruption the same request continues from the finished chunks.

    Raises:
        UsageError: An index is already there, or the model does not have the size asked for.
        InputError: The table or the patient list cannot be read, or too many rows are unusable.
        ArtefactError: The checkpoint is broken.
        OutputError: There is no room, or the destination cannot be written.
    """
    target = request.target
    results = (schema.INDEX_MANIFEST,) if target.shard is None else (schema.SHARD_MANIFEST,)
    beside = (schema.INDEX_MANIFEST,)
    with target_lock(target, results, replace=request.overwrite, beside=beside, reporter=reporter):
        job = load_job(request, reporter)
        reporter.histogram("sizes in mm", count_sizes(job.frame))
        index_bytes = measure_index(job.frame, job.encoders, target.out_dir, request.table.keep, target.store)
        work = _describe_ray_work(job)
        if work is None:
            cache = cut_crops(job.frame, job.settings, request.table, index_bytes, reporter)
        else:
            require_room(index_bytes)
            cache = _embed_with_ray(job, work, reporter)
        if target.shard is not None:
            return _write_shard(job, target.shard, cache, reporter)
        enforce_reject_limit(job.frame, cache.rejects, request.table, target.out_dir, reporter)
        if target.store is None:
            return _write_folder(job, cache, reporter)
        return _write_store(job, cache, target.store, work, reporter)


def estimate_embedding(request: EmbedRequest, reporter: Reporter = SILENT) -> CheckResult | None:
    """Check the rows and estimate the work without cutting a crop or writing an index.

    Returns:
        The check; None for a shard that has no rows.

    Raises:
        UsageError: The model does not have the size asked for.
        InputError: The table or the patient list cannot be read.
        ArtefactError: The checkpoint is broken.
    """
    job = load_job(request, reporter)
    if not job.rows:
        return None
    estimate = _estimate(job.encoders.image, job.frame.height, request.bs)
    return check_rows(job.frame, {}, job.settings, request.table, [estimate], reporter=reporter)


def _describe_ray_work(job: EmbedJob) -> ChunkWork | None:
    request = job.request
    if request.ray_address is None:
        return None
    chunks, cache = request.target.out_dir.absolute() / CHUNKS_FOLDER, request.table.cache_folder.absolute()
    image = job.encoders.image
    return ChunkWork(
        chunks, cache, job.checkpoint.absolute(), request.device, job.settings, request.bs, image.views, image.precision
    )


def _embed_with_ray(job: EmbedJob, work: ChunkWork, reporter: Reporter) -> CropCache:
    """Embed all chunks with Ray, and return the cache with its rejected rows."""
    address, table = job.request.ray_address, job.request.table
    assert address is not None
    cache = table.open_cache(job.frame, job.settings)
    open_chunks(work.chunks, job.encoders.image, cache, work.bs)
    with reporter.progress("cutting and embedding", job.frame.height, "rows") as advance:
        cache.rejects = embed_with_ray(
            job.frame, work, address=address, workers=count_workers(table.workers), on_rows=advance
        )
    return cache


def _write_folder(job: EmbedJob, cache: CropCache, reporter: Reporter) -> EmbedResult:
    with reporter.progress("embedding", job.frame.height - len(cache.rejects), "crops") as advance:
        manifest = write_index(
            job.frame, cache, job.encoders, job.request.target.out_dir,
            bs=job.request.bs, keep=job.request.table.keep, dicom_roots=job.table.dicom_roots, on_rows=advance,
        )  # fmt: skip
    return _finish(job, cache, manifest.rows, reporter)


def _write_store(
    job: EmbedJob, cache: CropCache, store: Place, work: ChunkWork | None, reporter: Reporter
) -> EmbedResult:
    request, keep = job.request, job.request.table.keep
    fragments: list[str] | None = None
    if work is not None and request.ray_address is not None:
        with reporter.progress("writing", job.frame.height, "rows") as advance:
            fragments = write_fragments_with_ray(
                job.frame.height, work, store.absolute_text, keep,
                address=request.ray_address, workers=count_workers(request.table.workers), on_rows=advance,
            )  # fmt: skip
    with reporter.progress("embedding", job.frame.height - len(cache.rejects), "crops") as advance:
        manifest = write_store(
            job.frame, cache, job.encoders, store, request.target.out_dir,
            bs=request.bs, indexed_rows=request.target.indexed_rows, keep=keep, dicom_roots=job.table.dicom_roots,
            fragments=fragments, on_rows=advance,
        )  # fmt: skip
    return _finish(job, cache, manifest.rows, reporter)


def _finish(job: EmbedJob, cache: CropCache, rows: int, reporter: Reporter) -> EmbedResult:
    target = job.request.target
    record_index(target.location, reporter)
    emb = job.encoders.image.config.emb
    reporter.info(f"{rows:,} rows of width {emb} in {target}")
    return EmbedResult(target.location, rows, emb, list_rejects(job.frame, cache.rejects))


def _write_shard(job: EmbedJob, shard: ShardNumber, cache: CropCache, reporter: Reporter) -> EmbedResult:
    """Write one shard; the limit of unusable rows is enforced by `merge`, which sees all shards."""
    table, bs, folder = job.request.table, job.request.bs, job.request.target.out_dir
    rejects = list_rejects(job.frame, cache.rejects)
    fingerprint = fingerprint_table(
        job.everything, table.roi_csv, job.encoders, cache.settings, job.table.dicom_roots, bs
    )
    with reporter.progress("embedding", len(job.rows) - rejects.height, "crops") as advance:
        embedded = write_shard(
            job.everything, shard, cache, job.encoders, folder,
            fingerprint=fingerprint, rejects=rejects, bs=bs, keep=table.keep, dicom_roots=job.table.dicom_roots,
            on_rows=advance,
        )  # fmt: skip
    if embedded:
        record_index(folder, reporter)
    if rejects.height:
        reporter.warning(f"{rejects.height:,} of {len(job.rows):,} rows cannot be used; merge lists them all")
    reporter.info(f"shard {shard}: {embedded:,} rows in {folder}")
    reporter.info(f"when all {shard.of} are there: {format_command('merge', [folder.parents[1]])}")
    return EmbedResult(folder, embedded, job.encoders.image.config.emb, rejects)


def _estimate(encoder: Encoder, rows: int, bs: int) -> Estimate:
    """Time one batch of noise after a warm-up."""
    size_px, count = encoder.config.crop.size_px, min(bs, rows)
    crops = np.random.default_rng(0).integers(-1000, 400, (count, size_px, size_px)).astype(np.int16)
    encoder.encode(crops)
    started = time.perf_counter()
    encoder.encode(crops)
    seconds = rows / count * (time.perf_counter() - started)
    return Estimate("embedding", f"{rows:,} crops", seconds, 4 * rows * encoder.config.emb)
