"""The training loop: epochs of optimiser steps, each followed by validation and checkpoints."""

import contextlib
import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noduleclip import schema
from noduleclip.engine.batches import augment, shuffled_batches
from noduleclip.engine.distributed import DistributedContext, wrap_ddp
from noduleclip.engine.prompts import sample_sentences
from noduleclip.engine.runtime import explaining_memory
from noduleclip.engine.samples import Samples
from noduleclip.engine.schedule import LearningRateSchedule, augmentation_at
from noduleclip.engine.training_state import Progress, TrainingState
from noduleclip.engine.validation import Validation, validate
from noduleclip.errors import InputError, UsageError
from noduleclip.io.artefacts import write_text
from noduleclip.io.outlines import FULL_SHARE
from noduleclip.language.vocabulary import Tokens
from noduleclip.models.checkpoint import pack_model, save_checkpoint
from noduleclip.models.loss import ContrastiveLoss, soft_targets

_EPOCH_SEED_STRIDE = 1_000_003


class TrainingCallback:
    """Callback for training progress; every method may be overridden and does nothing by default."""

    def on_start(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Handle the start of training, with the records of the epochs before a resumed run."""

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Handle an optimiser step; epoch and step count from 1, `steps` is their number in an epoch."""

    def on_epoch(self, record: dict[str, Any]) -> None:
        """Handle an epoch and its validation; the record is a line of `metrics.jsonl`."""

    def on_end(self) -> None:
        """Handle the end of the epochs; the text encoder is tuned afterwards."""


@dataclass(frozen=True)
class _Batch:
    """This process's part of an optimiser step, on the device.

    Attributes:
        crops_hu: (B, Y, X) HU.
        tokens: P sentences.
        targets: (B, P).
        valid_mask: (B, P) bool.
        mask_probability: (B, Y // 2, X // 2).
        outlined: (B,) bool.
    """

    crops_hu: Tensor
    tokens: list[Tokens]
    targets: Tensor
    valid_mask: Tensor
    mask_probability: Tensor
    outlined: Tensor

    def split(self, lengths: Sequence[int]) -> Iterator["_Batch"]:
        """Yield consecutive micro-batches."""
        start = 0
        for length in lengths:
            part = slice(start, start := start + length)
            yield _Batch(
                self.crops_hu[part], self.tokens, self.targets[part], self.valid_mask[part],
                self.mask_probability[part], self.outlined[part],
            )  # fmt: skip


class TrainingLoop:
    """Trains the encoders of a state.

    All randomness follows from the seed and the epoch. Every process draws the random numbers of the whole batch and
    keeps its part, so results do not depend on the number of processes, except through batch statistics.

    Args:
        state: The run to start or continue.
        train_set: The training nodules.
        val_set: The validation nodules; without them the last epoch is the best one.
        out: Folder of the checkpoints and of `metrics.jsonl`.
        device: Where the state is.
        amp: Type of mixed precision; None for float32.
        context: The processes that train.
        callback: Called in every process.

    Raises:
        UsageError: There are too few nodules for the processes.
    """

    def __init__(
        self,
        state: TrainingState,
        train_set: Samples,
        val_set: Samples | None,
        out: Path,
        *,
        device: torch.device,
        amp: torch.dtype | None = None,
        context: DistributedContext = DistributedContext(),  # noqa: B008 - frozen
        callback: TrainingCallback = TrainingCallback(),  # noqa: B008 - without state
    ) -> None:
        self.state, self.config, self.crop = state, state.config, state.model.config.crop
        self.train_set, self.val_set, self.out = train_set, val_set, out
        self._device, self._amp, self._context, self._callback = device, amp, context, callback
        self._smallest_batch = 2 * context.world_size
        if len(train_set) < self._smallest_batch:
            raise UsageError(
                f"{context.world_size} processes need {self._smallest_batch} nodules, got {len(train_set)}"
            )
        self.steps = sum(1 for _ in self._batches(torch.Generator()))
        self.schedule = LearningRateSchedule(state.optimizer, self.config, self.steps)
        loss = ContrastiveLoss(state.model, self.config)
        self._loss = loss if context.world_size == 1 else wrap_ddp(loss, device)

    def run(self) -> Progress:
        """Train until the last epoch, or until patience runs out.

        Raises:
            InputError: The loss is no longer finite; the best checkpoint so far stays.
        """
        state, progress = self.state, self.state.progress
        self._callback.on_start(progress.history)
        while progress.epoch < self.config.epochs and not state.is_out_of_patience:
            started = time.perf_counter()
            loss = self.train_one_epoch()
            trained = time.perf_counter()
            validation = self._context.broadcast(self._validate)
            record = {
                "epoch": progress.epoch + 1,
                "loss": round(loss, 6),
                **_describe_validation(validation),
                "lr": state.optimizer.param_groups[0]["lr"],
                "train_seconds": round(trained - started, 3),
                "val_seconds": round(time.perf_counter() - trained, 3),
                "nodules_per_second": round(len(self.train_set) / (trained - started), 1),
            }
            self._finish_epoch(record, math.nan if validation is None else validation.size_map)
            self._callback.on_epoch(record)
        self._callback.on_end()
        return progress

    def train_one_epoch(self) -> float:
        """Make one pass over the training nodules, and return the mean loss of its steps."""
        epoch = self.state.progress.epoch
        seed = self.config.seed + _EPOCH_SEED_STRIDE * (epoch + 1)
        torch.manual_seed(seed + self._context.rank)  # for dropout
        generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
        self.state.model.train()
        total = 0.0
        for step, batch in enumerate(self._batches(generator)):
            self.schedule.set(epoch * self.steps + step)
            with explaining_memory(len(batch), "try a smaller --bs, or --accumulate 2"):
                loss = self.train_step(batch, generator, rng)
            if not math.isfinite(loss) and self._context.is_main_process:
                raise InputError(f"the loss is {loss} at epoch {epoch + 1}, step {step + 1}; try a smaller --lr")
            total += loss
            self._callback.on_step(epoch + 1, step + 1, self.steps, loss)
        return total / self.steps

    def train_step(self, nodules: Tensor, generator: torch.Generator, rng: random.Random) -> float:
        """Take one optimiser step on the nodules of these indices (B,), and return its loss over all processes."""
        state, world_size = self.state, self._context.world_size
        parts = torch.arange(len(nodules)).tensor_split(min(self.config.accumulate, len(nodules) // (2 * world_size)))
        shards = [self._context.shard(part) for part in parts]
        batch = self._load_batch(nodules, torch.cat(shards), generator, rng)
        all_outlined = self.train_set.outlined[nodules].sum().clamp_min(1).to(self._device)
        state.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), dtype=torch.float64)
        for shard, micro_batch in zip(shards, batch.split([len(shard) for shard in shards]), strict=True):
            with self._reducing_gradients(shard is shards[-1]):
                with torch.autocast(self._device.type, dtype=self._amp, enabled=self._amp is not None):
                    pair_loss, outline_loss = self._loss(*vars(micro_batch).values())
                outlined = micro_batch.outlined.sum() / all_outlined
                loss = pair_loss * (len(shard) / len(nodules)) + self.config.outline_weight * outlined * outline_loss
                state.scaler.scale(loss * world_size).backward()  # DDP averages, and these are parts of one mean
            total += float(loss.detach())
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), self.config.clip_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.update_average()
        return float(self._context.all_reduce(total))

    def time_step(self) -> float:
        """Return the seconds of an optimiser step, after one that warms up; the state is of no use afterwards."""
        nodules, generator, rng = torch.arange(len(self.train_set)), torch.Generator(), random.Random(0)
        self.train_step(nodules, generator, rng)
        started = time.perf_counter()
        self.train_step(nodules, generator, rng)
        return time.perf_counter() - started

    def _batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        return shuffled_batches(len(self.train_set), self.config.bs, generator, self._smallest_batch)

    def _load_batch(self, nodules: Tensor, positions: Tensor, generator: torch.Generator, rng: random.Random) -> _Batch:
        """Augment nodules and draw sentences for them.

        Args:
            nodules: Indices of the whole batch in the training set.
            positions: Indices of this process's part in the batch.
            generator: Randomness of the augmentation.
            rng: Randomness of the sentences.
        """
        own, samples, device = nodules[positions], self.train_set, self._device
        crops_hu, mask_probability, diameters_mm = augment(
            samples.crops_hu[own].to(device),
            samples.mask_probability[own].to(device).float() / FULL_SHARE,
            samples.diameters_mm[own].to(device),
            samples.hull_points_mm[own].to(device),
            self.crop,
            augmentation_at(self.config, self.state.progress.epoch),
            generator,
            positions,
            len(nodules),
        )
        parsed_queries = sample_sentences(self.config.prompts, self.config.rating_prompts, self.state.attributes, rng)
        targets, valid_mask = soft_targets(
            diameters_mm, samples.ratings[own].to(device), samples.attributes, parsed_queries
        )
        return _Batch(
            crops_hu,
            [self.state.model.vocabulary.encode_query(parsed) for parsed in parsed_queries],
            targets,
            valid_mask,
            F.avg_pool2d(mask_probability.unsqueeze(1), 2).squeeze(1),
            samples.outlined[own].to(device),
        )

    def _reducing_gradients(self, is_last: bool) -> contextlib.AbstractContextManager[None]:
        """Synchronise gradients between processes only in the last micro-batch of a step."""
        if is_last or self._context.world_size == 1:
            return contextlib.nullcontext()
        return self._loss.no_sync()  # type: ignore[operator]

    def _validate(self) -> Validation | None:
        return None if self.val_set is None else validate(self.state.averaged, self.val_set)

    def _finish_epoch(self, record: dict[str, Any], val_map: float) -> None:
        """Write the model if it is the best one, then the log, then the state to resume from."""
        progress = self.state.progress
        is_best = self.val_set is None or val_map > progress.best
        if is_best:
            progress.best, progress.best_epoch = val_map, progress.epoch
        progress.history.append(record)
        progress.epoch += 1
        if not self._context.is_main_process:
            return
        if is_best:
            save_checkpoint(self.out / schema.BEST_CHECKPOINT, pack_model(self.state.averaged, self.state.patients))
        write_text(self.out / schema.METRICS_LOG, "".join(json.dumps(line) + "\n" for line in progress.history))
        self.state.save(self.out / schema.LAST_CHECKPOINT)


def _describe_validation(validation: Validation | None) -> dict[str, Any]:
    """Return the fields of an epoch's record."""
    if validation is None:
        return {"val_map": None, "val_ratings_map": None, "val_ap": {}}
    ratings_map = validation.ratings_map
    return {
        "val_map": None if math.isnan(validation.size_map) else round(validation.size_map, 6),
        "val_ratings_map": None if ratings_map is None else round(ratings_map, 6),
        "val_ap": {query: round(ap, 4) for query, ap in validation.query_ap.items()},
    }
