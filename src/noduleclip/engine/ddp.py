"""The loss of a part of a batch as one module, and the same over a team of processes (DistributedDataParallel)."""

import contextlib
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from noduleclip.config import TrainConfig
from noduleclip.engine.distributed import Team
from noduleclip.language.vocabulary import Tokens
from noduleclip.models.clip import ClipModel
from noduleclip.models.loss import outline_loss, pairwise_sigmoid_loss
from noduleclip.models.shared_norm import share_statistics


class Objective(nn.Module):
    """What a part of a batch loses.

    Args:
        model: The encoders.
        config: How sentences are weighed.
    """

    def __init__(self, model: ClipModel, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(
        self,
        crops: Tensor,
        tokens: list[Tokens],
        targets: Tensor,
        valid_mask: Tensor,
        mask_probability: Tensor,
        known: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of the pairs and of the outlines, each a mean over the part; 0 where that is empty.

        Args:
            crops: (B, Y, X) HU.
            tokens: P sentences, those about sizes first.
            targets: (B, P) as `soft_targets` gives them.
            valid_mask: (B, P) as `soft_targets` gives them.
            mask_probability: (B, Y // 2, X // 2) share of the readers inside whose outline a pixel lies.
            known: (B,) whether a nodule has outlines.
        """
        images, drawn = self.model.image.encode_and_segment(crops)
        sentences = self.model.encode_text(tokens)
        if not len(crops):  # the other processes wait for the gradients of all weights
            nothing = 0 * (images.sum() + sentences.sum() + self.model.log_scale + self.model.bias)
            return nothing.float(), 0 * drawn.sum().float()
        with torch.autocast(crops.device.type, enabled=False):
            return self._compare(images, sentences, targets, valid_mask), outline_loss(drawn, mask_probability, known)

    def _compare(self, images: Tensor, sentences: Tensor, targets: Tensor, valid_mask: Tensor) -> Tensor:
        """Return the loss of images against sentences: of sizes, and weighed apart of ratings."""
        total = torch.zeros((), device=images.device)
        sized = self.config.prompts
        for some, weight in ((slice(None, sized), 1.0), (slice(sized, None), self.config.rating_weight)):
            if len(sentences[some]):
                total = total + weight * pairwise_sigmoid_loss(
                    images.float(),
                    sentences[some].float(),
                    targets[:, some],
                    valid_mask[:, some],
                    self.model.log_scale,
                    self.model.bias,
                )
        return total


class Alone(nn.Module):
    """An objective with no process to share it with, and the method of DistributedDataParallel that a step needs."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, *part: object) -> tuple[Tensor, Tensor]:
        """Return what the objective gives."""
        return self.objective(*part)  # type: ignore[no-any-return]

    def no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing."""
        return contextlib.nullcontext()


def spread(objective: Objective, team: Team, device: torch.device) -> Alone | DistributedDataParallel:
    """Average gradients over processes, and compute batch statistics over all of them."""
    if team.size == 1:
        return Alone(objective)
    share_statistics(objective, team.sum)
    for weight in _find_idle(objective, device):
        weight.requires_grad_(False)  # nobody waits for a gradient that never comes
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")  # costs a copy, no more
    cards = [device] if device.type == "cuda" else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # torch 2.6 has no other name for it
        return DistributedDataParallel(objective, device_ids=cards, broadcast_buffers=False)


def _find_idle(objective: Objective, device: torch.device) -> Sequence[nn.Parameter]:
    """Find the weights that no loss depends on: timm's backbones may have some behind the last feature map."""
    model, side = objective.model, objective.model.config.crop.size_px
    training = model.training
    model.eval()
    tokens = [model.vocabulary.encode("> 6 mm")]
    images, drawn = model.image.encode_and_segment(torch.zeros(2, side, side, device=device))
    lost = images.sum() + drawn.sum() + model.encode_text(tokens).sum() + model.log_scale + model.bias
    lost.backward()  # type: ignore[no-untyped-call]
    idle = [weight for weight in model.parameters() if weight.grad is None]
    model.zero_grad(set_to_none=True)
    model.train(training)
    return idle
