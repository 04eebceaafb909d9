"""The training loop, on one page. Knows nothing of files but the three that it writes, nor of how progress is shown."""

import contextlib
import copy
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from timm.optim import param_groups_weight_decay
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from noduleclip import schema
from noduleclip.config import CropConfig, ModelConfig, TrainConfig, to_mapping
from noduleclip.engine.batches import augment, center_crop, margin_px, shuffled_batches
from noduleclip.engine.ddp import Objective, spread
from noduleclip.engine.distributed import Team
from noduleclip.engine.prompts import sample_rated_sentence, sample_sentences
from noduleclip.engine.runtime import explaining_memory
from noduleclip.errors import ArtefactError, InputError
from noduleclip.evaluation.metrics import draw_readers, mean_average_precisions
from noduleclip.io.artefacts import write_text
from noduleclip.io.outlines import FULL_SHARE
from noduleclip.language import (
    BIN_PROMPTS,
    CURATED_PROMPTS,
    EVALUATION_QUERIES,
    RATING_QUERIES,
    parse_intervals,
    sample_prompts,
)
from noduleclip.language.vocabulary import Vocabulary
from noduleclip.models.checkpoint import pack_model, read_checkpoint, save_checkpoint
from noduleclip.models.clip import ClipModel, prior_logit
from noduleclip.models.loss import soft_targets

_VOCABULARY_PROMPTS = 4000
_EPOCH_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class Samples:
    """Crops with a margin, and what the readers say of them.

    Attributes:
        crops_hu: (N, S, S) int16 HU.
        diameters_mm: (N, R) float32, NaN-padded.
        mask_probability: (N, S, S) uint8, share of the readers inside whose outline a pixel lies, times 255.
        outlined: (N,) bool, whether any reader's outline is known.
        hull_points_mm: (N, R, V, 2) float32, outermost points of those readers' outlines (`io.outlines`), NaN-padded.
        ratings: (N, R, A) float32, what the same readers rated, NaN where they did not.
        attributes: The A rated attributes; none where the table has no ratings.
    """

    crops_hu: Tensor
    diameters_mm: Tensor
    mask_probability: Tensor
    outlined: Tensor
    hull_points_mm: Tensor
    ratings: Tensor
    attributes: tuple[str, ...] = ()


def make_noise(nodules: int, crop: CropConfig, attributes: tuple[str, ...]) -> Samples:
    """Make nodules of noise, to time a step on."""
    generator, side = torch.Generator().manual_seed(0), crop.size_px + 2 * margin_px(crop.size_px)
    square = (nodules, side, side)
    return Samples(
        crops_hu=torch.randint(-1000, 400, square, dtype=torch.int16, generator=generator),
        diameters_mm=3 + 27 * torch.rand(nodules, 1, generator=generator),
        mask_probability=torch.zeros(square, dtype=torch.uint8),
        outlined=torch.ones(nodules, dtype=torch.bool),
        hull_points_mm=torch.full((nodules, 1, 8, 2), math.nan),
        ratings=torch.full((nodules, 1, len(attributes)), 3.0),
        attributes=attributes,
    )


class Watcher(Protocol):
    """Somebody who wants to see training proceed."""

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Handle one optimiser step."""

    def on_epoch(self, record: dict[str, Any], is_best: bool) -> None:
        """Handle one epoch and its validation."""


@dataclass
class Progress:
    """Where a run is: what `last.pth` holds beside the weights."""

    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)


def measure_run(model_config: ModelConfig, config: TrainConfig, attributes: Sequence[str] = ()) -> int:
    """Return the bytes that the checkpoints of a run take at most, with a new one beside each old one."""
    with torch.random.fork_rng(devices=[]):  # not on the meta device: some of timm's backbones compute while made
        model = ClipModel(model_config, make_vocabulary(tuple(attributes)))
    weights: int = sum(tensor.nbytes for tensor in model.state_dict().values())
    last = (4 if config.ema_decay else 3) * weights  # the optimiser keeps two moments
    return 2 * (weights + last)


class Training:
    """One training run, from fresh encoders or from `last.pth`.

    Args:
        train: Training nodules.
        val: Validation nodules; without them the last epoch's weights count as the best.
        model_config: What the encoders are made of.
        config: How they are trained.
        out: Folder for the checkpoints and `metrics.jsonl`.
        device: Where to compute.
        amp: Type for mixed precision, or None.
        fingerprint: Hash of the data; a run is resumed only on the same data.
        pretrained: Let timm fetch the backbone's published weights.
        team: Processes that train this model together, each with all nodules; None = this one alone.
    """

    def __init__(
        self,
        train: Samples,
        val: Samples | None,
        model_config: ModelConfig,
        config: TrainConfig,
        out: Path,
        *,
        device: torch.device,
        amp: torch.dtype | None,
        fingerprint: str,
        pretrained: bool = False,
        team: Team | None = None,
    ) -> None:
        self.team = team or Team()
        self.train_set, self.val_set, self.config, self.out = train, val, config, out
        self.device, self.amp, self.fingerprint = device, amp, fingerprint
        self.crop = model_config.crop
        torch.manual_seed(config.seed)
        self.attributes = train.attributes if config.rating_prompts else ()
        vocabulary = make_vocabulary(self.attributes)
        self.model = self.team.in_turns(lambda: ClipModel(model_config, vocabulary, pretrained))
        with torch.no_grad():
            self.model.bias.fill_(prior_logit(measure_positives(train.diameters_mm)))
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = ModelEmaV3(self.model, decay=config.ema_decay) if config.ema_decay else None
        groups = param_groups_weight_decay(self.model, config.weight_decay, no_weight_decay_list=("log_scale", "bias"))
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr)
        self.steps = sum(1 for _ in shuffled_batches(len(train.crops_hu), config.bs, torch.Generator()))
        warmup = min(config.warmup_epochs, config.epochs / 2) * self.steps
        self.schedule = CosineLRScheduler(
            self.optimizer,
            t_initial=max(1, config.stretched_epochs * self.steps),
            lr_min=config.lr / 100,
            warmup_t=round(warmup),
            warmup_lr_init=config.lr / 100,
            t_in_epochs=False,
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == torch.float16)
        self.progress = Progress()
        self.objective = Objective(self.model, config)
        self.spread = spread(self.objective, self.team, device)

    @property
    def averaged(self) -> ClipModel:
        """The encoders that are validated and saved."""
        return self.model if self.ema is None else self.ema.module

    def run(self, watcher: Watcher) -> Progress:
        """Train until the last epoch, or until patience has run out.

        Raises:
            InputError: The loss is no longer finite; the best checkpoint so far stays.
        """
        while self.progress.epoch < self.config.epochs and not self._out_of_patience():
            started = time.perf_counter()
            loss = self._run_epoch(watcher)
            trained = time.perf_counter()
            value, queries = self._validate()
            is_best = self.val_set is None or value > self.progress.best
            record = {
                "epoch": self.progress.epoch + 1,
                "loss": round(loss, 6),
                "val_map": None if math.isnan(value) else round(value, 6),
                "val_ap": {query: round(ap, 4) for query, ap in queries.items()},
                "lr": self.optimizer.param_groups[0]["lr"],
                "train_seconds": round(trained - started, 3),
                "val_seconds": round(time.perf_counter() - trained, 3),
                "nodules_per_second": round(len(self.train_set.crops_hu) / (trained - started), 1),
            }
            self._finish_epoch(record, value, is_best)
            watcher.on_epoch(record, is_best)
        return self.progress

    def _validate(self) -> tuple[float, dict[str, float]]:
        if self.val_set is None:
            return math.nan, {}
        scores = score_samples(self.averaged, self.val_set, self.team)
        val = self.val_set
        return self.team.share(lambda: evaluate_scores(scores, val))

    def _run_epoch(self, watcher: Watcher) -> float:
        """One pass over the training nodules; all its randomness follows from the seed and the epoch."""
        epoch = self.progress.epoch
        seed = self.config.seed + _EPOCH_SEED_STRIDE * (epoch + 1)
        torch.manual_seed(seed + self.team.launch.rank)  # for the layers of a backbone that drop something
        generator, prompts = torch.Generator().manual_seed(seed), random.Random(seed)
        self.model.train()
        total = 0.0
        for step, batch in enumerate(shuffled_batches(len(self.train_set.crops_hu), self.config.bs, generator)):
            self._set_learning_rate(epoch * self.steps + step)
            with explaining_memory(len(batch), "try a smaller --bs, or --accumulate 2"):
                loss = self._step(batch, generator, prompts)
            if not math.isfinite(loss):
                raise InputError(f"the loss is {loss} at epoch {epoch + 1}, step {step + 1}; try a smaller --lr")
            total += loss
            watcher.on_step(epoch + 1, step + 1, self.steps, loss)
        return total / self.steps

    def _set_learning_rate(self, step: int) -> None:
        """Warm up and decay along a cosine; then a second cosine, from a sixth, while sizes settle."""
        self.schedule.step_update(step)
        settling = step - self.config.stretched_epochs * self.steps
        if settling >= 0:
            left = (self.config.epochs - self.config.stretched_epochs) * self.steps
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr / 6 * (1 + math.cos(math.pi * settling / left)) / 2

    def _augmentation(self) -> TrainConfig:
        settling = self.progress.epoch >= self.config.stretched_epochs
        return replace(self.config, max_stretch=1.0) if settling else self.config

    def _step(self, batch: Tensor, generator: torch.Generator, rng: random.Random) -> float:
        """Take one optimiser step, of which the processes of a team do a share each.

        Every process draws the whole batch's random numbers and sentences; a crop sees the same ones whoever takes it.
        """
        parts = torch.arange(len(batch)).tensor_split(min(self.config.accumulate, len(batch) // 2))  # one has no spread
        shares = [self.team.take(part) for part in parts]
        mine = torch.cat(shares)
        own = batch[mine]
        crops = self.train_set.crops_hu[own].to(self.device)
        diameters = self.train_set.diameters_mm[own].to(self.device)
        mask_probability = self.train_set.mask_probability[own].to(self.device).float() / FULL_SHARE
        rims = self.train_set.hull_points_mm[own].to(self.device)
        crops, mask_probability, diameters = augment(
            crops, mask_probability, diameters, rims, self.crop, self._augmentation(), generator, mine, len(batch)
        )
        mask_probability = F.avg_pool2d(mask_probability.unsqueeze(1), 2).squeeze(1)
        known = self.train_set.outlined[own].to(self.device)
        all_known = self.train_set.outlined[batch].sum().clamp_min(1).to(self.device)
        parsed_queries = sample_sentences(self.config.prompts, self.config.rating_prompts, self.attributes, rng)
        ratings = self.train_set.ratings[own].to(self.device)
        targets, valid_mask = soft_targets(diameters, ratings, self.train_set.attributes, parsed_queries)
        tokens = [self.model.vocabulary.encode_query(parsed) for parsed in parsed_queries]
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), dtype=torch.float64)
        start = 0
        for share in shares:
            part = slice(start, start := start + len(share))
            with contextlib.nullcontext() if share is shares[-1] else self.spread.no_sync():
                with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
                    pairs, outlines = self.spread(
                        crops[part], tokens, targets[part], valid_mask[part], mask_probability[part], known[part]
                    )
                outlined = known[part].sum() / all_known
                loss = pairs * (len(share) / len(batch)) + self.config.outline_weight * outlined * outlines
                self.scaler.scale(loss * self.team.size).backward()
            total += float(loss.detach())
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.model)
        return float(self.team.sum(total))

    def time_step(self) -> float:
        """Return the seconds of an optimiser step, after one that warms up; the run is of no use afterwards."""
        batch, generator, prompts = torch.arange(len(self.train_set.crops_hu)), torch.Generator(), random.Random(0)
        self._step(batch, generator, prompts)
        started = time.perf_counter()
        self._step(batch, generator, prompts)
        return time.perf_counter() - started

    def _out_of_patience(self) -> bool:
        patience, progress = self.config.patience, self.progress
        return patience is not None and progress.epoch - 1 - progress.best_epoch >= patience

    def _finish_epoch(self, record: dict[str, Any], value: float, is_best: bool) -> None:
        """Write the best model if it is one, then the log, then the state to resume from."""
        progress = self.progress
        if is_best:
            progress.best, progress.best_epoch = value, progress.epoch
        progress.history.append(record)
        progress.epoch += 1
        if not self.team.leads:
            return
        if is_best:
            save_checkpoint(self.out / schema.BEST_CHECKPOINT, pack_model(self.averaged))
        write_text(self.out / schema.METRICS_LOG, "".join(json.dumps(line) + "\n" for line in progress.history))
        save_checkpoint(self.out / schema.LAST_CHECKPOINT, self._pack())

    def _pack(self) -> dict[str, Any]:
        return {
            "schema_version": schema.CHECKPOINT_SCHEMA_VERSION,
            "train_config": to_mapping(self.config),
            "model_config": to_mapping(self.model.config),
            "fingerprint": self.fingerprint,
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "progress": copy.deepcopy(vars(self.progress)),
        }

    def resume(self) -> None:
        """Go on from `last.pth`.

        Raises:
            ArtefactError: It is missing or broken, or was made with other settings or data.
        """
        path = self.out / schema.LAST_CHECKPOINT
        values = self.team.share(lambda: read_checkpoint(path))
        for key, now in (("train_config", self.config), ("model_config", self.model.config)):
            saved, wanted = _plain(values.get(key)), _plain(to_mapping(now))
            for name in wanted if saved != wanted else ():
                if not isinstance(saved, dict) or saved.get(name) != wanted[name]:
                    found = saved.get(name) if isinstance(saved, dict) else saved
                    raise ArtefactError(f"{path}: was made with {name} = {found}, now it is {wanted[name]}")
        if values.get("fingerprint") != self.fingerprint:
            raise ArtefactError(f"{path}: was made with other training or validation nodules")
        try:
            self.model.load_state_dict(values["model"])
            if self.ema is not None:
                self.ema.module.load_state_dict(values["ema"])
            self.optimizer.load_state_dict(values["optimizer"])
            self.scaler.load_state_dict(values["scaler"])
            self.progress = Progress(**values["progress"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ArtefactError(f"{path}: does not hold a whole training state ({error})") from error


def _plain(values: object) -> Any:
    """Return values as JSON would give them back, so that tuples equal lists."""
    return json.loads(json.dumps(values))


def make_vocabulary(attributes: tuple[str, ...] = ()) -> Vocabulary:
    """Collect the words of every kind of training sentence; the same for every run on the same attributes."""
    rng = random.Random(0)
    texts = [prompt.text for prompt in sample_prompts(_VOCABULARY_PROMPTS, rng)]
    if attributes:
        texts += [*RATING_QUERIES, *(sample_rated_sentence(attributes, rng) for _ in range(_VOCABULARY_PROMPTS))]
    return Vocabulary.from_sentences([*CURATED_PROMPTS, *BIN_PROMPTS, *EVALUATION_QUERIES, *texts], attributes)


def measure_positives(diameters_mm: Tensor) -> float:
    """Return the share of true pairs of a nodule and a training sentence."""
    parsed_queries = sample_sentences(_VOCABULARY_PROMPTS // 10, 0, (), random.Random(1))
    ratings = torch.empty(*diameters_mm.shape, 0)
    return float(soft_targets(diameters_mm, ratings, (), parsed_queries)[0].mean())


@torch.inference_mode()
def embed_samples(
    model: ClipModel,
    crops_hu: Tensor,
    bs: int = 256,
    encode: Callable[[ClipModel, Tensor], Tensor] | None = None,
) -> Tensor:
    """Embed (N, S, S) crops kept with a margin: (N, D) unit vectors on the CPU."""
    device, size_px = model.bias.device, model.config.crop.size_px
    encode = encode or (lambda encoders, crops: encoders.image(crops))
    parts = [encode(model, center_crop(part.to(device), size_px).float()).cpu() for part in torch.split(crops_hu, bs)]
    return torch.cat(parts)


@torch.inference_mode()
def score_samples(model: ClipModel, samples: Samples, team: Team | None = None) -> NDArray[np.float64]:
    """Return (10, N) cosines of the ten queries and the nodules, seen from one side; a team embeds a share each."""
    model.eval()
    team = team or Team()
    images = torch.zeros(len(samples.crops_hu), model.config.emb, dtype=model.bias.dtype)
    mine = team.take(torch.arange(len(images)))
    if len(mine):
        images[mine] = embed_samples(model, samples.crops_hu[mine])
    team.sum(images)  # zeros and one process's row
    sentences = model.encode_text([model.vocabulary.encode(query) for query in EVALUATION_QUERIES]).cpu()
    return np.asarray((sentences @ images.T).double().numpy())


def validate(model: ClipModel, val: Samples, draws: int = 50) -> tuple[float, dict[str, float]]:
    """Return the mean average precision over the ten queries, and that of each; the images are seen from one side."""
    return evaluate_scores(score_samples(model, val), val, draws)


def evaluate_scores(scores: NDArray[np.float64], val: Samples, draws: int = 50) -> tuple[float, dict[str, float]]:
    """Return the mean average precision over the ten queries, and that of each.

    A query that is true of no validation nodule is left out of the mean.

    Args:
        scores: (10, N) cosines.
        val: The N nodules.
        draws: How often the judging reader is drawn.
    """
    truth = draw_readers(val.diameters_mm.double().numpy(), draws).truth_mm
    intervals = parse_intervals(EVALUATION_QUERIES)
    values = mean_average_precisions(scores, intervals, truth)
    return float(np.nanmean(values)), dict(zip(EVALUATION_QUERIES, values.tolist(), strict=True))
