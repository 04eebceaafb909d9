"""What `embed` does once its options are settled."""

from pathlib import Path

from noduleclip.cli.collect import TableOptions, cut_crops, judge_rejects, pick_patients, read_table
from noduleclip.engine.embed import write_index
from noduleclip.engine.towers import open_towers
from noduleclip.errors import UsageError
from noduleclip.io.crop_cache import CutSettings, default_cache_folder
from noduleclip.io.shipped import find_checkpoint
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
    towers = open_towers(
        find_checkpoint(model_name),
        table_options.cache_dir or default_cache_folder(),
        device_name,
        lambda: say(f"{model_name}: preparing the model, which takes some seconds the first time"),
    )
    config = towers.image.config
    for option, given, known in (("--img-size", img_size, config.crop.size_px), ("--emb", emb, config.emb)):
        if given is not None and given != known:
            raise UsageError(f"{option} {given}: {model_name} was trained with {known}; leave the option out")
    say(f"device: {towers.device}")
    table = read_table(table_options)
    frame = table.frame.head(table_options.limit) if table_options.limit else table.frame
    if patients_file is not None:
        frame = pick_patients(table, patients_file, table_options.limit)
    cache = cut_crops(frame, CutSettings.for_crop(config.crop, assume_hu=table_options.assume_hu), table_options)
    judge_rejects(frame, cache.rejects, table_options.max_rejects, out_dir)
    with counting("embedding", frame.height - len(cache.rejects), "crops") as advance:
        manifest = write_index(frame, cache, towers, out_dir, bs=bs, keep=table_options.keep, on_rows=advance)
    say(f"{manifest.rows:,} rows of width {manifest.emb} in {out_dir}")
