"""What `embed` does once its options are settled."""

import time
from pathlib import Path

import numpy as np

from noduleclip.cli.checking import Estimate, conclude, examine
from noduleclip.cli.collect import TableOptions, cut_crops, judge_rejects, pick_patients, read_table
from noduleclip.engine.embed import write_index
from noduleclip.engine.towers import Encoder, open_towers
from noduleclip.errors import UsageError
from noduleclip.io.roi_table import find_diameter_kind
from noduleclip.io.shipped import find_checkpoint, recall_diameter_kind
from noduleclip.io.size_bins import count_sizes
from noduleclip.report.console import counting, message_console, say, warn
from noduleclip.report.sparkline import choose_bars, describe_counts


def run_embedding(
    table_options: TableOptions,
    patients_file: Path | None,
    model_name: Path,
    out_dir: Path,
    *,
    img_size: int | None,
    emb: int | None,
    bs: int,
    device_name: str,
    dry_run: bool,
) -> None:
    """Cut the crops, embed them, and write the index; or only say how it would go.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    checkpoint = find_checkpoint(model_name)
    towers = open_towers(
        checkpoint,
        table_options.make_cache_folder(),
        device_name,
        lambda: say(f"{model_name}: preparing the model, which takes some seconds the first time"),
    )
    config = towers.image.config
    for option, given, known in (("--img-size", img_size, config.crop.size_px), ("--emb", emb, config.emb)):
        if given is not None and given != known:
            raise UsageError(f"{option} {given}: {model_name} was trained with {known}; leave the option out")
    say(f"device: {towers.device}")
    table = read_table(table_options)
    _compare_diameters(find_diameter_kind(table.frame), recall_diameter_kind(checkpoint), model_name)
    frame = table.frame.head(table_options.limit) if table_options.limit else table.frame
    if patients_file is not None:
        frame = pick_patients(table, patients_file, table_options.limit)
    settings = table_options.cut_settings(config.crop)
    if dry_run:
        conclude(
            examine(frame, {}, settings, table_options, [_estimate(towers.image, frame.height, bs)]), table_options
        )
        return
    say(f"sizes in mm: {describe_counts(count_sizes(frame), choose_bars(message_console()))}")
    cache = cut_crops(frame, settings, table_options)
    judge_rejects(frame, cache.rejects, table_options, out_dir)
    with counting("embedding", frame.height - len(cache.rejects), "crops") as advance:
        manifest = write_index(
            frame,
            cache,
            towers,
            out_dir,
            bs=bs,
            keep=table_options.keep,
            dicom_roots=table.dicom_roots,
            on_rows=advance,
        )
    say(f"{manifest.rows:,} rows of width {manifest.emb} in {out_dir}")


def _compare_diameters(kind: str | None, trained_kind: str | None, model_name: Path) -> None:
    if kind and trained_kind and kind != trained_kind:
        warn(f"diameters of the table are {kind}, {model_name} learned its sizes from {trained_kind} ones")


def _estimate(encoder: Encoder, rows: int, bs: int) -> Estimate:
    """Time a batch of noise, after one that warms up."""
    size_px, count = encoder.config.crop.size_px, min(bs, rows)
    crops = np.random.default_rng(0).integers(-1000, 400, (count, size_px, size_px)).astype(np.int16)
    encoder.encode(crops)
    started = time.perf_counter()
    encoder.encode(crops)
    seconds = rows / count * (time.perf_counter() - started)
    return Estimate("embedding", f"{rows:,} crops", seconds, 4 * rows * encoder.config.emb)
