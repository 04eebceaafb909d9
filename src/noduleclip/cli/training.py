"""What `train` does once its options are settled: data, device, loop, record."""

import time
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import torch

from noduleclip import schema
from noduleclip.cli.collect import TableOptions, cut_crops, judge_rejects, pick_patients, read_table
from noduleclip.cli.settings import OPTION_OF_RUN_RECORD, plain_arguments
from noduleclip.config import CropConfig, ModelConfig, TrainConfig, to_mapping
from noduleclip.engine.batches import margin_px
from noduleclip.engine.runtime import choose_amp, choose_device, record_git_state, record_versions
from noduleclip.engine.train import Progress, Samples, Training
from noduleclip.errors import InputError, RejectCode
from noduleclip.io.artefacts import hash_file, write_json
from noduleclip.io.crop_cache import CropCache, CutSettings, Reject
from noduleclip.io.nodules import group_nodules
from noduleclip.report.console import say, warn
from noduleclip.report.training import TrainingDisplay


def run_training(
    table: TableOptions,
    patient_files: tuple[Path, Path],
    model: ModelConfig,
    config: TrainConfig,
    out: Path,
    arguments: dict[str, Any],
    device_name: str,
    resume: bool,
    pretrained: bool,
) -> Progress:
    """Cut the crops, train, and leave a record of the run.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    device = choose_device(device_name)
    say(f"device: {device.why}")
    train_set, val_set, fingerprint = _load_samples(table, patient_files, model.crop, out)
    cut_seconds = time.perf_counter() - clock
    training = Training(
        train_set, val_set, model, config, out,
        device=device.device, amp=choose_amp(config.amp, device.device), fingerprint=fingerprint, pretrained=pretrained,
    )  # fmt: skip
    if resume:
        training.resume()
        say(f"resuming after epoch {training.progress.epoch} of {config.epochs}")
    with TrainingDisplay(config.epochs) as display:
        progress = training.run(display)
    record = {
        "command": "train",
        OPTION_OF_RUN_RECORD: plain_arguments(arguments),
        "settings": {"model": to_mapping(model), "train": to_mapping(config)},
        "versions": record_versions(),
        "git": record_git_state(),
        "device": device.why,
        "data": {"fingerprint": fingerprint, "roi_csv_sha256": hash_file(table.roi_csv),
                 "train_nodules": len(train_set.crops_hu), "val_nodules": len(val_set.crops_hu)},
        "started": started.isoformat(timespec="seconds"),
        "seconds": {"crops": round(cut_seconds, 2), "total": round(time.perf_counter() - clock, 2)},
        "best": {"epoch": progress.best_epoch + 1, "val_map": round(progress.best, 6)},
    }  # fmt: skip
    write_json(out / schema.RUN_RECORD, record)
    say(
        f"best validation mean AP {progress.best:.3f} at epoch {progress.best_epoch + 1}: "
        f"{out / schema.BEST_CHECKPOINT}"
    )
    return progress


def _load_samples(
    table_options: TableOptions, patient_files: tuple[Path, Path], crop: CropConfig, out: Path
) -> tuple[Samples, Samples, str]:
    table = read_table(table_options)
    parts = [pick_patients(table, file, table_options.limit) for file in patient_files]
    frame = pl.concat(parts)
    settings = CutSettings.for_crop(crop, margin_px(crop.size_px), table_options.assume_hu)
    cache = cut_crops(frame, settings, table_options)
    rejects = [*cache.rejects, *_find_unmeasured(frame, {reject.row for reject in cache.rejects})]
    judge_rejects(frame, rejects, table_options.max_rejects, out)
    usable = pl.Series([True] * frame.height).scatter([r.row for r in rejects], False) if rejects else None
    train_set = _gather(frame, usable, slice(0, parts[0].height), cache, patient_files[0])
    val_set = _gather(frame, usable, slice(parts[0].height, frame.height), cache, patient_files[1])
    diameters = [samples.diameters_mm.numpy().tobytes() for samples in (train_set, val_set)]
    fingerprint = sha256(b"".join([cache.fingerprint().encode(), *diameters])).hexdigest()[:16]
    return train_set, val_set, fingerprint


def _find_unmeasured(frame: pl.DataFrame, known: set[int]) -> list[Reject]:
    nulls = frame.with_row_index(schema.ROW).filter(pl.col(schema.DIAMETER_MM).is_null())
    return [
        Reject(row, RejectCode.NO_DIAMETER, f"row {csv_row}: {schema.DIAMETER_MM} is not a number in (0, 100] mm")
        for row, csv_row in nulls.select(schema.ROW, schema.CSV_ROW).iter_rows()
        if row not in known
    ]


def _gather(frame: pl.DataFrame, usable: pl.Series | None, part: slice, cache: CropCache, file: Path) -> Samples:
    """Load the crops of one split's nodules; diameters of rejected rows count for nothing."""
    chosen = frame
    if usable is not None:
        chosen = frame.with_columns(pl.when(usable).then(pl.col(schema.DIAMETER_MM)).alias(schema.DIAMETER_MM))
    inside = pl.int_range(pl.len()).is_between(part.start, part.stop - 1)
    nodules = group_nodules(
        chosen.with_columns(pl.when(inside).then(pl.col(schema.DIAMETER_MM)).alias(schema.DIAMETER_MM))
    )
    if len(nodules) < 2:
        raise InputError(f"{file}: {len(nodules)} usable nodule(s), at least 2 are needed")
    say(f"{file.name}: {len(nodules):,} nodules, up to {nodules.diameters_mm.shape[1]} readers each")
    crops = cache.read([int(row) for row in nodules.rows])
    diameters = torch.from_numpy(nodules.diameters_mm).float()
    known = diameters[diameters.isfinite()]
    if float(known.min()) > 6 or float(known.max()) <= 6:
        warn(f"{file.name}: all diameters lie on one side of 6 mm; little can be learnt or judged")
    return Samples(torch.from_numpy(crops), diameters)
