"""Training of a model from a ROI table, by one process or by several (`train`, `nc.train`)."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.engine.batches import center_crop
from noduleclip.engine.distributed import DistributedContext, init_process_group
from noduleclip.engine.runtime import (
    Device,
    choose_amp,
    choose_device,
    count_threads,
    keep_freed_memory,
    record_git_state,
    record_versions,
)
from noduleclip.engine.samples import Samples
from noduleclip.engine.text_tuning import COPIES, embed_copies, tune_text_encoder
from noduleclip.engine.training_loop import TrainingCallback as TrainingCallback
from noduleclip.engine.training_loop import TrainingLoop
from noduleclip.engine.training_state import Progress, TrainingState, estimate_checkpoint_bytes
from noduleclip.engine.validation import score_samples, validate
from noduleclip.errors import UsageError
from noduleclip.io.artefacts import hash_file, write_json
from noduleclip.io.disk import measure_bytes
from noduleclip.machine import find_process_info
from noduleclip.models.checkpoint import load_model, pack_model, save_checkpoint
from noduleclip.setting import to_mapping
from noduleclip.workflows.output_lock import output_lock
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.train_request import TrainRequest
from noduleclip.workflows.training_samples import TrainingSamples, check_same_samples, load_training_samples

_REMEDY = "--resume goes on from it, --overwrite starts again"
_TEXT_STEPS, _LEAST_STEPS = 1500, 500  # a text encoder of fewer steps is worse than the one that it replaces
_PAGE_BYTES = 1 << 17  # of the page and the records


@dataclass(frozen=True)
class ValidationRanking:
    """How the best model ranks the validation nodules.

    Attributes:
        scores: (10, N) cosines of the evaluation queries and the nodules.
        diameters_mm: (N, R) diameters by reader, NaN-padded.
        crops_hu: (N, Y, X) HU.
    """

    scores: NDArray[np.float64]
    diameters_mm: NDArray[np.float64]
    crops_hu: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A finished run.

    Attributes:
        out: Folder of the run.
        best_epoch: The best epoch, from 1.
        val_map: Its validation mean average precision; None without validation patients.
        history: A record of each epoch, as in `metrics.jsonl`.
        ranking: Ranking of the validation nodules by the best model; None without validation patients, and in
            processes other than the main one.
        is_main_process: Whether this process wrote the files.
    """

    out: Path
    best_epoch: int
    val_map: float | None
    history: list[dict[str, Any]]
    ranking: ValidationRanking | None = field(default=None, repr=False)
    is_main_process: bool = True

    @property
    def checkpoint(self) -> Path:
        """The best model."""
        return self.out / schema.BEST_CHECKPOINT


def train(request: TrainRequest, reporter: Reporter = SILENT, callback: TrainingCallback | None = None) -> TrainResult:
    """Train, and write checkpoints, log and record of the run.

    Under torchrun or srun every process calls this; only the main process writes, and calls reporter and callback.

    Args:
        request: What to train.
        reporter: Receives messages and the progress of cutting crops.
        callback: Receives the progress of training.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    process = find_process_info()
    if not process.is_main_process:
        reporter, callback = SILENT, None
    request.check()
    if request.config.bs < 2 * process.world_size:
        raise UsageError(f"--bs must be at least 2 for each of {process.world_size} processes, got {request.config.bs}")
    with (
        init_process_group(process) as context,
        output_lock(
            request.out if context.is_main_process else None, schema.RUN_FILES, _REMEDY,
            replace=request.resume or request.overwrite, partial=(schema.REJECTS_CSV,), reporter=reporter,
        ),
    ):  # fmt: skip
        return _train(request, context, reporter, callback or TrainingCallback())


def _train(
    request: TrainRequest, context: DistributedContext, reporter: Reporter, callback: TrainingCallback
) -> TrainResult:
    started, clock = datetime.now(UTC), time.perf_counter()
    device = context.main_process_first(lambda: choose_device(context.choose_device(request.device)))
    if not context.all_equal(device.device.type):
        raise UsageError(f"this process computes on {device.device.type}, another does not; name --device cpu or cuda")
    count = f"; {context.world_size} processes with {count_threads()} thread(s) each"
    reporter.info(f"device: {device.why}{count if context.world_size > 1 else ''}")
    keep_freed_memory()
    samples = _load_samples(request, context, reporter)
    train_set, val_set = samples.sets[0], samples.sets[1] if len(samples.sets) > 1 else None
    cut_seconds = time.perf_counter() - clock
    last = request.out / schema.LAST_CHECKPOINT
    resumes = request.resume and context.broadcast(last.exists)
    amp = choose_amp(request.config.amp, device.device)
    state = TrainingState(
        request.model, request.config, train_set, device=device.device, amp=amp, context=context,
        pretrained=request.pretrained and not resumes,
        fingerprint=samples.fingerprint, patients=samples.hash_patients(),
    )  # fmt: skip
    loop = TrainingLoop(
        state, train_set, val_set, request.out,
        device=device.device, amp=amp, context=context, callback=callback,
    )  # fmt: skip
    if resumes:
        state.load(last, context)
        reporter.info(f"resuming after epoch {state.progress.epoch} of {request.config.epochs}")
    elif request.resume:
        reporter.info(f"{last}: not there, no epoch was finished; starting at the first one")
    seconds_before = sum(line["train_seconds"] + line["val_seconds"] for line in state.progress.history)
    record = _make_record(request, device, context.world_size, samples, started)
    if context.is_main_process:
        for name in () if resumes else schema.RUN_FILES:
            (request.out / name).unlink(missing_ok=True)
        write_json(request.out / schema.RUN_RECORD, record)
    progress = loop.run()
    tuned = context.broadcast(lambda: _tune(request, samples, loop.steps, device, reporter))
    result = _make_result(request.out, progress, val_set, is_main_process=context.is_main_process)
    if context.is_main_process:
        seconds = {"crops": round(cut_seconds, 2), "total": round(seconds_before + time.perf_counter() - clock, 2)}
        chosen = result.history[result.best_epoch - 1]
        best = {"epoch": result.best_epoch, "val_map": result.val_map, "val_ratings_map": chosen.get("val_ratings_map")}
        write_json(request.out / schema.RUN_RECORD, {**record, "seconds": seconds, "best": best, "tuned": tuned})
    return result


def _tune(
    request: TrainRequest, samples: TrainingSamples, steps_per_epoch: int, device: Device, reporter: Reporter
) -> dict[str, Any] | None:
    """Replace the text encoder of the best checkpoint by one that is tuned to its image encoder.

    An interrupted run starts this stage again and gets the same result, because only the image encoder matters to it.

    Returns:
        Steps and validation of the result for the record of the run; None where there are no steps.
    """
    config, checkpoint = request.config, request.out / schema.BEST_CHECKPOINT
    train_set, *val_sets = samples.sets
    steps = config.text_steps
    if steps is None:
        steps = _TEXT_STEPS if config.epochs * steps_per_epoch >= _LEAST_STEPS else 0
    if steps == 0:
        return None
    model = load_model(checkpoint).to(device.device)
    copies = min(COPIES, config.epochs)
    with reporter.progress("embedding for the text encoder", copies * len(train_set), "crops") as advance:
        images = embed_copies(model, train_set, config, copies, advance)
    with reporter.progress("tuning the text encoder", steps, "steps") as advance:
        tune_text_encoder(model, images, steps, config.seed, lambda: advance(1))
    save_checkpoint(checkpoint, pack_model(model, samples.hash_patients()))
    validation = validate(model, val_sets[0]) if val_sets else None
    if validation is None:
        return {"steps": steps}
    reporter.info(f"text encoder tuned: validation mean AP {validation.size_map:.4f}")
    return {"steps": steps, "val_map": validation.size_map, "val_ratings_map": validation.ratings_map}


def _load_samples(request: TrainRequest, context: DistributedContext, reporter: Reporter) -> TrainingSamples:
    """Load the samples in every process; the first one to do so also checks the disk space of the checkpoints."""
    out = request.out if context.is_main_process else None
    further_bytes: dict[Path, int] = {}
    if out is not None:
        old_bytes = sum(measure_bytes(out / name) for name in schema.RUN_FILES)
        new_bytes = estimate_checkpoint_bytes(request.model, request.config) + _PAGE_BYTES
        further_bytes[out / schema.LAST_CHECKPOINT] = new_bytes - old_bytes
    samples = context.main_process_first(
        lambda: load_training_samples(
            request.table, request.patient_files, request.model.crop, out,
            further_bytes=further_bytes, reporter=reporter,
        )
    )  # fmt: skip
    fingerprint = check_same_samples(samples, context, request.table.roi_csv)
    return replace(samples, fingerprint=fingerprint)


def _make_record(
    request: TrainRequest, device: Device, processes: int, samples: TrainingSamples, started: datetime
) -> Mapping[str, Any]:
    """Return the content of `run.json` before training."""
    train_set, *val_sets = samples.sets
    return {
        "command": "train",
        schema.RUN_SETTINGS: request.settings(),
        "settings": {"model": to_mapping(request.model), "train": to_mapping(request.config)},
        "versions": record_versions(),
        "git": record_git_state(),
        "device": device.why,
        "processes": processes,
        "data": {
            "fingerprint": samples.fingerprint,
            schema.DIAMETER_KIND: samples.diameter_kind,
            "roi_csv_sha256": hash_file(request.table.roi_csv),
            "train_nodules": len(train_set),
            "val_nodules": sum(map(len, val_sets)),
        },
        "started": started.isoformat(timespec="seconds"),
    }


def _make_result(out: Path, progress: Progress, val_set: Samples | None, *, is_main_process: bool) -> TrainResult:
    ranking = None
    if val_set is not None and is_main_process:
        model = load_model(out / schema.BEST_CHECKPOINT)
        crops_hu = center_crop(val_set.crops_hu, model.config.crop.size_px).float().numpy()
        ranking = ValidationRanking(score_samples(model, val_set), val_set.diameters_mm.double().numpy(), crops_hu)
    return TrainResult(
        out=out,
        best_epoch=progress.best_epoch + 1,
        val_map=None if val_set is None else round(progress.best, 6),
        history=progress.history,
        ranking=ranking,
        is_main_process=is_main_process,
    )
