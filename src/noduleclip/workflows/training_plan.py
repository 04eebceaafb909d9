"""Checks and estimates before training (`train --dry-run`)."""

import math

import polars as pl

from noduleclip.engine.batches import margin_px
from noduleclip.engine.runtime import Device, choose_amp, choose_device, keep_freed_memory
from noduleclip.engine.samples import make_random_samples
from noduleclip.engine.training_loop import TrainingLoop
from noduleclip.engine.training_state import TrainingState, estimate_checkpoint_bytes
from noduleclip.io.consensus import select_key_slices
from noduleclip.io.nodules import group_nodules, parse_ratings
from noduleclip.workflows.check import CheckResult, Estimate, check_rows
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.roi_crops import load_table, pick_parts
from noduleclip.workflows.train_request import TrainRequest


def plan_training(request: TrainRequest, reporter: Reporter = SILENT) -> CheckResult:
    """Check all that can be checked before crops are cut, and estimate time and disk space; nothing is written.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    request.check()
    device = choose_device(request.device)
    reporter.info(f"device: {device.why}")
    keep_freed_memory()
    table, crop = request.table, request.model.crop
    picked = pick_parts(load_table(table, reporter), request.patient_files, table.limit, reporter=reporter)
    parts = {name: select_key_slices(part) for name, part in picked.items()}
    estimate = _estimate_training(next(iter(parts.values())), request, device)
    settings = table.cut_settings(crop, margin_px(crop.size_px))
    frame = pl.concat(parts.values())
    return check_rows(frame, parts, settings, table, [estimate], needs_diameters=True, reporter=reporter)


def _estimate_training(frame: pl.DataFrame, request: TrainRequest, device: Device) -> Estimate:
    """Estimate the time of training on a frame's nodules from a step on noise, without validation and last stage."""
    model, config = request.model, request.config
    grouped = group_nodules(frame)
    nodules, (_, attributes) = len(grouped), parse_ratings(frame, grouped)
    amp = choose_amp(config.amp, device.device)
    samples = make_random_samples(min(config.bs, max(2, nodules)), model.crop, attributes)
    state = TrainingState(model, config, samples, device=device.device, amp=amp)
    loop = TrainingLoop(state, samples, None, request.out, device=device.device, amp=amp)
    steps = config.epochs * math.ceil(nodules / config.bs)
    work = f"{config.epochs:,} epochs of {nodules:,} nodules"
    return Estimate("training", work, steps * loop.time_step(), estimate_checkpoint_bytes(model, config))
