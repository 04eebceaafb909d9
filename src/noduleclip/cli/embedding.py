"""What `embed` does once its options are settled."""

from pathlib import Path

import torch

from noduleclip.cli.collect import TableOptions, cut_crops, judge_rejects, pick_patients, read_table
from noduleclip.engine.embed import write_index
from noduleclip.engine.runtime import choose_device, keep_freed_memory
from noduleclip.errors import UsageError
from noduleclip.io.crop_cache import CutSettings
from noduleclip.io.shipped import find_checkpoint
from noduleclip.models.checkpoint import load_model
from noduleclip.report.console import counting, say


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
) -> None:
    """Cut the crops, embed them, and write the index.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    checkpoint = find_checkpoint(model_name)
    model = load_model(checkpoint)
    config = model.config
    for option, given, known in (("--img-size", img_size, config.crop.size_px), ("--emb", emb, config.emb)):
        if given is not None and given != known:
            raise UsageError(f"{option} {given}: {model_name} was trained with {known}; leave the option out")
    device = choose_device(device_name)
    say(f"device: {device.why}")
    keep_freed_memory()
    model.to(device.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    table = read_table(table_options)
    frame = table.frame.head(table_options.limit) if table_options.limit else table.frame
    if patients_file is not None:
        frame = pick_patients(table, patients_file, table_options.limit)
    cache = cut_crops(frame, CutSettings.for_crop(config.crop, assume_hu=table_options.assume_hu), table_options)
    judge_rejects(frame, cache.rejects, table_options.max_rejects, out_dir)
    with counting("embedding", frame.height - len(cache.rejects), "crops") as advance:
        manifest = write_index(
            frame, cache, model, checkpoint, out_dir, bs=bs, keep=table_options.keep, on_rows=advance
        )
    say(f"{manifest.rows:,} rows of width {manifest.emb} in {out_dir}")
