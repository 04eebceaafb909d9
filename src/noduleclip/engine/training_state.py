"""State of a training run between epochs, and its checkpoint `last.pth`."""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.optim import param_groups_weight_decay
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor

from noduleclip import schema
from noduleclip.config import ModelConfig, TrainConfig
from noduleclip.engine.distributed import DistributedContext, sync_batch_norm
from noduleclip.engine.prompts import make_vocabulary, sample_size_sentences
from noduleclip.engine.samples import Samples
from noduleclip.errors import ArtefactError
from noduleclip.io.patient_hashes import PatientHashes
from noduleclip.models.checkpoint import read_checkpoint, save_checkpoint
from noduleclip.models.clip import ClipModel, prior_logit
from noduleclip.models.loss import soft_targets
from noduleclip.setting import to_mapping


@dataclass
class Progress:
    """Position of a run.

    Attributes:
        epoch: Completed epochs.
        best: Best validation mean AP so far.
        best_epoch: Index of that epoch, from 0; -1 before the first.
        history: A record of each completed epoch, as in `metrics.jsonl`.
    """

    epoch: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)


class TrainingState:
    """Encoders, averaged encoders, optimiser, gradient scaler and progress.

    The same seed, configuration and samples give the same initial state.

    Args:
        model_config: Architecture.
        config: Hyperparameters.
        train_set: Its ratings decide the vocabulary, its diameters the initial bias.
        device: Where the encoders are.
        amp: Type of mixed precision; None for float32.
        pretrained: Start from the backbone's published weights.
        fingerprint: Hash of the training and validation samples.
        patients: Hashes of their patients, which the checkpoint of the encoders keeps.
        context: The processes that train; the main process is the first to build a backbone, which may download it.

    Attributes:
        attributes: Rated attributes that sentences ask for.
    """

    def __init__(
        self,
        model_config: ModelConfig,
        config: TrainConfig,
        train_set: Samples,
        *,
        device: torch.device,
        amp: torch.dtype | None = None,
        pretrained: bool = False,
        fingerprint: str = "",
        patients: PatientHashes | None = None,
        context: DistributedContext = DistributedContext(),  # noqa: B008 - frozen
    ) -> None:
        self.config, self.fingerprint, self.patients = config, fingerprint, patients
        torch.manual_seed(config.seed)
        self.attributes = train_set.attributes if config.rating_prompts else ()
        vocabulary = make_vocabulary(self.attributes)
        self.model = context.main_process_first(lambda: ClipModel(model_config, vocabulary, pretrained))
        with torch.no_grad():
            self.model.bias.fill_(prior_logit(_measure_positives(train_set.diameters_mm)))
        if context.world_size > 1:
            sync_batch_norm(self.model, device)
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._ema = ModelEmaV3(self.model, decay=config.ema_decay) if config.ema_decay else None
        groups = param_groups_weight_decay(self.model, config.weight_decay, no_weight_decay_list=("log_scale", "bias"))
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr)
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == torch.float16)
        self.progress = Progress()

    @property
    def averaged(self) -> ClipModel:
        """The encoders that are validated and saved: the moving average if there is one."""
        return self.model if self._ema is None else self._ema.module

    @property
    def is_out_of_patience(self) -> bool:
        """Whether too many epochs have passed without a better validation."""
        patience, progress = self.config.patience, self.progress
        return patience is not None and progress.epoch - 1 - progress.best_epoch >= patience

    def update_average(self) -> None:
        """Update the moving average after an optimiser step."""
        if self._ema is not None:
            self._ema.update(self.model)

    def save(self, path: Path) -> None:
        """Write everything that `load` needs to continue the run."""
        values = {
            "schema_version": schema.CHECKPOINT_SCHEMA_VERSION,
            "train_config": to_mapping(self.config),
            "model_config": to_mapping(self.model.config),
            "fingerprint": self.fingerprint,
            "model": self.model.state_dict(),
            "ema": None if self._ema is None else self._ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "progress": copy.deepcopy(vars(self.progress)),
        }
        save_checkpoint(path, values)

    def load(self, path: Path, context: DistributedContext = DistributedContext()) -> None:  # noqa: B008 - frozen
        """Continue from what `save` wrote; the main process reads the file.

        Raises:
            ArtefactError: The file is missing or broken, or was made with other settings or samples.
        """
        values = context.broadcast(lambda: self._read(path))
        try:
            self.model.load_state_dict(values["model"])
            if self._ema is not None:
                self._ema.module.load_state_dict(values["ema"])
            self.optimizer.load_state_dict(values["optimizer"])
            self.scaler.load_state_dict(values["scaler"])
            self.progress = Progress(**values["progress"])
        except torch.OutOfMemoryError:
            raise
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise ArtefactError(f"{path}: does not hold a whole training state ({error})") from error

    def _read(self, path: Path) -> dict[str, Any]:
        values = read_checkpoint(path)
        for key, config in (("train_config", self.config), ("model_config", self.model.config)):
            saved, wanted = _as_json(values.get(key)), _as_json(to_mapping(config))
            for name in wanted if saved != wanted else ():
                found = saved.get(name) if isinstance(saved, dict) else saved
                if found != wanted[name]:
                    raise ArtefactError(
                        f"{path}: was made with {name} = {found}, now it is {wanted[name]}; a run is resumed with its "
                        f"own settings (--config {path.parent / schema.RUN_RECORD}); others are a run in another --out"
                    )
        if values.get("fingerprint") != self.fingerprint:
            raise ArtefactError(f"{path}: was made with other training or validation nodules")
        return values


def estimate_checkpoint_bytes(model_config: ModelConfig, config: TrainConfig, attributes: Sequence[str] = ()) -> int:
    """Return the largest size on disk of a run's checkpoints, with a new one beside each old one."""
    with torch.random.fork_rng(devices=[]):  # not on the meta device: some timm backbones compute while they are built
        model = ClipModel(model_config, make_vocabulary(tuple(attributes)))
    weights: int = sum(tensor.nbytes for tensor in model.state_dict().values())
    last = (4 if config.ema_decay else 3) * weights  # AdamW keeps two moments
    return 2 * (weights + last)


def _measure_positives(diameters_mm: Tensor) -> float:
    """Return the share of pairs of a nodule and a sentence about size that are true."""
    ratings = torch.empty(*diameters_mm.shape, 0)
    return float(soft_targets(diameters_mm, ratings, (), sample_size_sentences())[0].mean())


def _as_json(values: object) -> Any:
    """Return values as JSON returns them, so that tuples equal lists."""
    return json.loads(json.dumps(values))
