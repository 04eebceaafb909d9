"""What `train` does once its options are settled: data, device, loop, record."""

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import torch

from noduleclip import schema
from noduleclip.cli.settings import OPTION_OF_RUN_RECORD, plain_arguments
from noduleclip.config import CropConfig, ModelConfig, TrainConfig, to_mapping
from noduleclip.engine.batches import center_crop, margin_px
from noduleclip.engine.distributed import Team
from noduleclip.engine.runtime import choose_amp, choose_device, keep_freed_memory, record_git_state, record_versions
from noduleclip.engine.train import Progress, Samples, Training, make_noise, measure_run, score_samples
from noduleclip.errors import InputError
from noduleclip.io.artefacts import hash_file, write_json, write_text
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.disk import measure_bytes
from noduleclip.io.nodules import group_nodules, parse_ratings
from noduleclip.io.outlines import draw_nodules
from noduleclip.io.roi_table import find_diameter_kind
from noduleclip.language import EVALUATION_QUERIES
from noduleclip.models.checkpoint import load_model
from noduleclip.models.image_encoder import check_backbone
from noduleclip.report.check import report_check
from noduleclip.report.console import CONSOLE, log_info, log_warning, progress
from noduleclip.report.training import TrainingDisplay
from noduleclip.workflows.check import Estimate, check_rows
from noduleclip.workflows.roi_crops import (
    TableRequest,
    check_reject_limit,
    cut_crops,
    enforce_reject_limit,
    find_unmeasured,
    load_table,
    pick_parts,
    pick_patients,
)

# In the order of removal: --resume must not find a whole run whose best is gone.
_RUN_FILES = (
    schema.LAST_CHECKPOINT,
    schema.BEST_CHECKPOINT,
    schema.METRICS_LOG,
    schema.RUN_RECORD,
    schema.TRAINING_PAGE,
)
_PAGE_BYTES = 1 << 17  # of the page and the records
_OF_THIS_CALL = ("resume", "overwrite", "dry_run")


def run_training(
    table: TableRequest,
    patient_files: Sequence[Path],
    model: ModelConfig,
    config: TrainConfig,
    out: Path,
    arguments: dict[str, Any],
    device_name: str,
    resume: bool,
    pretrained: bool,
    team: Team | None = None,
) -> Progress:
    """Cut the crops, train, and leave a record of the run; of a team all train, and the leader writes.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    team = team or Team()
    device = choose_device(team.choose_device_name(device_name))
    log_info(f"device: {device.why}{team.describe()}")
    team.settle(device.device)
    keep_freed_memory()
    last, record_file = out / schema.LAST_CHECKPOINT, out / schema.RUN_RECORD
    if resume and not team.share(last.exists):
        log_info(f"{last}: not there, no epoch was finished; starting at the first one")
        resume = False
    check_backbone(model.backbone, pretrained)
    further: dict[Path, int] = {}
    if team.leads:
        old_bytes = sum(measure_bytes(out / name) for name in _RUN_FILES)
        further[last] = measure_run(model, config) + _PAGE_BYTES - old_bytes
    (train_set, *val_sets), fingerprint, kind = _load_together(table, patient_files, model.crop, out, team, further)
    val_set = val_sets[0] if val_sets else None
    cut_seconds = time.perf_counter() - clock
    training = Training(
        train_set, val_set, model, config, out,
        device=device.device, amp=choose_amp(config.amp, device.device), fingerprint=fingerprint,
        pretrained=pretrained and not resume, team=team,
    )  # fmt: skip
    record = {
        "command": "train",
        OPTION_OF_RUN_RECORD: {n: v for n, v in plain_arguments(arguments).items() if n not in _OF_THIS_CALL},
        "settings": {"model": to_mapping(model), "train": to_mapping(config)},
        "versions": record_versions(),
        "git": record_git_state(),
        "device": device.why,
        "processes": team.size,
        "data": {"fingerprint": fingerprint, schema.DIAMETER_KIND: kind, "roi_csv_sha256": hash_file(table.roi_csv),
                 "train_nodules": len(train_set.crops_hu), "val_nodules": len(val_set.crops_hu) if val_set else 0},
        "started": started.isoformat(timespec="seconds"),
    }  # fmt: skip
    seconds_before = 0.0
    if resume:
        training.resume()
        seconds_before = sum(line["train_seconds"] + line["val_seconds"] for line in training.progress.history)
        log_info(f"resuming after epoch {training.progress.epoch} of {config.epochs}")
    elif team.leads:
        for name in _RUN_FILES:
            (out / name).unlink(missing_ok=True)
    if team.leads:
        write_json(record_file, record)
    with TrainingDisplay(config.epochs, training.progress.best, training.progress.history) as display:
        progress = training.run(display)
    if not team.leads:
        return progress
    seconds = {"crops": round(cut_seconds, 2), "total": round(seconds_before + time.perf_counter() - clock, 2)}
    judged = val_set is not None
    best = {"epoch": progress.best_epoch + 1, "val_map": round(progress.best, 6) if judged else None}
    write_json(record_file, {**record, "seconds": seconds, "best": best})
    what = f"best validation mean AP {progress.best:.3f}" if judged else "no validation patients: the weights"
    log_info(f"{what} at epoch {progress.best_epoch + 1}: {out / schema.BEST_CHECKPOINT}")
    _write_page(progress, val_set, out)
    return progress


def _write_page(progress: Progress, val_set: Samples | None, out: Path) -> None:
    """Write the page of the run: its curves, and what the best model finds and misses among the validation nodules."""
    from noduleclip.report.training_page import find_examples, render_training

    examples = []
    if val_set is not None:
        model = load_model(out / schema.BEST_CHECKPOINT)
        crops_hu = center_crop(val_set.crops_hu, model.config.crop.size_px).float().numpy()
        examples = find_examples(
            score_samples(model, val_set), EVALUATION_QUERIES, val_set.diameters_mm.double().numpy(), crops_hu
        )
    write_text(out / schema.TRAINING_PAGE, render_training(progress.history, progress.best_epoch, examples, str(out)))
    log_info(f"curves and examples: {out / schema.TRAINING_PAGE}")


def rehearse_training(
    table_options: TableRequest,
    patient_files: Sequence[Path],
    model: ModelConfig,
    config: TrainConfig,
    device_name: str,
    pretrained: bool,
) -> None:
    """Check all that can be checked before the crops are cut, and say what the run would take.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    device = choose_device(device_name)
    log_info(f"device: {device.why}")
    keep_freed_memory()
    check_backbone(model.backbone, pretrained)
    parts = pick_parts(
        load_table(table_options, reporter=CONSOLE), patient_files, table_options.limit, reporter=CONSOLE
    )
    estimate = _estimate_training(next(iter(parts.values())), model, config, device.device)
    settings = table_options.cut_settings(model.crop, margin_px(model.crop.size_px))
    frame = pl.concat(parts.values())
    report_check(check_rows(frame, parts, settings, table_options, [estimate], needs_diameters=True, reporter=CONSOLE))


def _estimate_training(frame: pl.DataFrame, model: ModelConfig, config: TrainConfig, device: torch.device) -> Estimate:
    """Time an optimiser step on noise in place of the nodules of a frame; validation is not in it."""
    grouped = group_nodules(frame)
    nodules, (_, attributes) = len(grouped), parse_ratings(frame, grouped)
    training = Training(
        make_noise(min(config.bs, max(2, nodules)), model.crop, attributes), None, model, config, Path(),
        device=device, amp=choose_amp(config.amp, device), fingerprint="",
    )  # fmt: skip
    steps = config.epochs * math.ceil(nodules / config.bs)
    work = f"{config.epochs:,} epochs of {nodules:,} nodules"
    return Estimate("training", work, steps * training.time_step(), measure_run(model, config))


def _load_together(
    table: TableRequest,
    patient_files: Sequence[Path],
    crop: CropConfig,
    out: Path,
    team: Team,
    further: Mapping[Path, int],
) -> tuple[list[Samples], str, str | None]:
    """Load the nodules in every process of a team; the leader's hash counts: times of change differ between disks.

    Raises:
        InputError: The processes see different nodules.
    """
    sets, fingerprint, kind = team.in_turns(
        lambda: _load_samples(table, patient_files, crop, out if team.leads else None, further)
    )
    seen = sha256(b"".join(part.numpy().tobytes() for some in sets for part in (some.crops_hu, some.diameters_mm)))
    if not team.agree(seen.hexdigest()):
        raise InputError(
            f"{table.roi_csv}: the processes do not see the same nodules; "
            "give every machine the same table, patient lists and slices"
        )
    return sets, team.share(lambda: fingerprint), kind


def _load_samples(
    table_options: TableRequest,
    patient_files: Sequence[Path],
    crop: CropConfig,
    out: Path | None,
    further: Mapping[Path, int],
) -> tuple[list[Samples], str, str | None]:
    """Load the nodules of each patient list, a hash of all that they are made of, and what their diameters are.

    Args:
        table_options: The table.
        patient_files: The lists.
        crop: How crops are cut.
        out: Folder that takes the rejects; None where another process writes them.
        further: Bytes that training will write, by place.
    """
    table = load_table(table_options, reporter=CONSOLE)
    parts = [pick_patients(table, file, table_options.limit, reporter=CONSOLE) for file in patient_files]
    frame = pl.concat(parts)
    settings = table_options.cut_settings(crop, margin_px(crop.size_px))
    cache = cut_crops(frame, settings, table_options, further, reporter=CONSOLE)
    rejects = [*cache.rejects, *find_unmeasured(frame, cache.rejects)]
    if out is None:
        check_reject_limit(frame, rejects, table_options)
    else:
        enforce_reject_limit(frame, rejects, table_options, out, reporter=CONSOLE)
    usable = pl.Series([True] * frame.height).scatter([r.row for r in rejects], False) if rejects else None
    ends = [0, *itertools.accumulate(part.height for part in parts)]
    sets = [
        _gather(frame, usable, slice(start, end), cache, file)
        for (start, end), file in zip(itertools.pairwise(ends), patient_files, strict=True)
    ]
    told = [
        part.numpy().tobytes()
        for samples in sets
        for part in (samples.diameters_mm, samples.mask_probability, samples.hull_points_mm, samples.ratings)
    ]
    fingerprint = sha256(b"".join([cache.fingerprint().encode(), *told])).hexdigest()[:16]
    return sets, fingerprint, find_diameter_kind(frame)


def _gather(frame: pl.DataFrame, usable: pl.Series | None, part: slice, cache: CropCache, file: Path) -> Samples:
    """Load the crops of one split's nodules; diameters of rejected rows count for nothing."""
    chosen = frame
    if usable is not None:
        chosen = frame.with_columns(pl.when(usable).then(pl.col(schema.DIAMETER_MM)).alias(schema.DIAMETER_MM))
    of_part = pl.int_range(pl.len()).is_between(part.start, part.stop - 1)
    nodules = group_nodules(
        chosen.with_columns(pl.when(of_part).then(pl.col(schema.DIAMETER_MM)).alias(schema.DIAMETER_MM))
    )
    if len(nodules) < 2:
        raise InputError(f"{file}: {len(nodules)} usable nodule(s), at least 2 are needed")
    log_info(f"{file.name}: {len(nodules):,} nodules, up to {nodules.diameters_mm.shape[1]} readers each")
    crops = cache.read([int(row) for row in nodules.rows])
    with progress("drawing outlines", len(nodules), "nodules") as advance:
        outlines = draw_nodules(
            chosen, nodules,
            fov_mm=cache.settings.fov_mm, size_px=cache.settings.size_px, on_nodule=lambda: advance(1),
        )  # fmt: skip
    if bare := len(nodules) - int(outlines.known.sum()):
        log_warning(
            f"{file.name}: {bare:,} nodule(s) without outline or pixel spacing in the table; their diameters count"
        )
    diameters = torch.from_numpy(nodules.diameters_mm).float()
    known = diameters[diameters.isfinite()]
    if float(known.min()) > 6 or float(known.max()) <= 6:
        log_warning(f"{file.name}: all diameters lie on one side of 6 mm; little can be learnt or judged")
    ratings, attributes = parse_ratings(chosen, nodules)
    return Samples(
        torch.from_numpy(crops), diameters, torch.from_numpy(outlines.shares), torch.from_numpy(outlines.known),
        torch.from_numpy(outlines.hull_points_mm), torch.from_numpy(ratings).float(), attributes,
    )  # fmt: skip
