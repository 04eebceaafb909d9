"""Last stage of training: the text encoder alone, on embeddings of the frozen image encoder.

While both encoders learn, sentences about ratings get a share of each step, and their probabilities lag behind what the
embeddings hold. Embeddings that stay fixed cost nothing to compute again, so that this stage sees every range of every
rating and every kind of size sentence many times, and ends with calibrated probabilities.

Source: locked-image tuning (Zhai et al., 2022, arXiv:2111.07991).
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from timm.optim import param_groups_weight_decay
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from noduleclip.config import TrainConfig
from noduleclip.engine.batches import augment
from noduleclip.engine.prompts import list_rating_sentences, list_size_sentences, sample_sentences
from noduleclip.engine.samples import Samples
from noduleclip.engine.schedule import augmentation_at
from noduleclip.io.outlines import FULL_SHARE
from noduleclip.language.query import ParsedQuery
from noduleclip.models.clip import ClipModel, trim_padding
from noduleclip.models.loss import pairwise_sigmoid_loss, soft_targets

COPIES = 8
"""Augmented copies of each nodule."""
_BATCH = 256
_SIZED, _THRESHOLDS, _RATED, _RANGES = 64, 32, 32, 64  # sentences of a step: drawn ones, and of full lists
_POOL = 20  # times as many sentences are drawn and parsed once
_WARMUP_STEPS = 100
_PEAK_RATE = 2e-3
_EMA_DECAY = 0.99
_WEIGHT_DECAY = 0.1
_CLIP_NORM = 1.0
_SPREAD = 0.05  # of the logarithm of the diameters: sizes of new nodules are less certain than those trained on


@dataclass(frozen=True)
class FrozenImages:
    """Embeddings of augmented copies of N nodules.

    Attributes:
        vectors: (C, N, D) unit vectors of C copies.
        diameters_mm: (C, N, R) diameters by reader in each copy, NaN-padded.
        ratings: (N, R, A) ratings by the same readers, NaN where one is missing.
        attributes: Column names of the A ratings.
    """

    vectors: Tensor
    diameters_mm: Tensor
    ratings: Tensor
    attributes: tuple[str, ...]


@torch.no_grad()
def embed_copies(
    model: ClipModel,
    samples: Samples,
    config: TrainConfig,
    copies: int,
    on_nodules: Callable[[int], None] = lambda _: None,
) -> FrozenImages:
    """Embed augmented copies of the training nodules as `embed` does, in the model's views.

    Args:
        model: The encoders, in evaluation mode.
        samples: The nodules.
        config: The augmentation; that of the cooldown is used, without stretching, which changes ratings of shape.
        copies: C.
        on_nodules: Called with the nodules embedded since the last call.
    """
    device, generator = model.bias.device, torch.Generator().manual_seed(config.seed)
    augmentation = augmentation_at(config, config.epochs)
    vectors, diameters = [], []
    for _ in range(copies):
        for rows in torch.split(torch.arange(len(samples)), _BATCH):
            crops_hu, _mask, diameters_mm = augment(
                samples.crops_hu[rows].to(device),
                samples.mask_probability[rows].to(device).float() / FULL_SHARE,
                samples.diameters_mm[rows].to(device),
                samples.hull_points_mm[rows].to(device),
                model.config.crop,
                augmentation,
                generator,
            )
            vectors.append(model.encode_views(crops_hu))
            diameters.append(diameters_mm)
            on_nodules(len(rows))
    shape = (copies, len(samples), -1)
    return FrozenImages(
        torch.cat(vectors).view(shape), torch.cat(diameters).view(shape), samples.ratings.to(device), samples.attributes
    )


def tune_text_encoder(
    model: ClipModel, images: FrozenImages, steps: int, seed: int, on_step: Callable[[], None] = lambda: None
) -> None:
    """Train a new text encoder, scale and bias for frozen images, in place.

    The result depends on the images and the seed, not on the text encoder that the model had.

    Args:
        model: The encoders.
        images: The images.
        steps: Optimiser steps.
        seed: Seed of all random numbers.
        on_step: Called after each step.
    """
    device = model.bias.device
    torch.manual_seed(seed)
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    attributes = [name for name in images.attributes if name in model.vocabulary.attributes]
    kinds = _draw_sentences(attributes, rng)
    pool = [parsed for sentences, _ in kinds for parsed in sentences]
    tokens = model.stack_tokens([model.vocabulary.encode_query(parsed) for parsed in pool])
    model.reset_text()
    model.to(device)
    tuned = _TextModel(model)
    average = ModelEmaV3(tuned, decay=_EMA_DECAY)
    optimizer = torch.optim.AdamW(
        param_groups_weight_decay(tuned, _WEIGHT_DECAY, no_weight_decay_list=("log_scale", "bias")), lr=_PEAK_RATE
    )
    tuned.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            warmup, cosine = min(1.0, (step + 1) / _WARMUP_STEPS), 1 + math.cos(math.pi * step / steps)
            group["lr"] = _PEAK_RATE * warmup * cosine / 2
        copies = torch.randint(len(images.vectors), (_BATCH,), generator=generator).to(device)
        rows = torch.randint(images.vectors.shape[1], (_BATCH,), generator=generator).to(device)
        chosen = _choose(kinds, generator)
        spread = torch.exp(_SPREAD * torch.randn(_BATCH, 1, generator=generator)).to(device)
        targets, valid_mask = soft_targets(
            images.diameters_mm[copies, rows] * spread, images.ratings[rows], images.attributes,
            [pool[at] for at in chosen],
        )  # fmt: skip
        vectors = tuned.text(*trim_padding(*(column[chosen] for column in tokens)))
        loss = torch.zeros((), device=device)
        for part in (slice(None, _SIZED + _THRESHOLDS), slice(_SIZED + _THRESHOLDS, None)):
            if len(chosen[part]):
                loss = loss + pairwise_sigmoid_loss(
                    images.vectors[copies, rows], vectors[part], targets[:, part], valid_mask[:, part],
                    tuned.log_scale, tuned.bias,
                )  # fmt: skip
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(tuned.parameters(), _CLIP_NORM)
        optimizer.step()
        average.update(tuned)
        on_step()
    _TextModel(model).load_state_dict(average.module.state_dict())


class _TextModel(nn.Module):
    """The parts of a model that are tuned, under one name each; they are the model's own."""

    def __init__(self, model: ClipModel) -> None:
        super().__init__()
        self.text, self.log_scale, self.bias = model.text, model.log_scale, model.bias


def _draw_sentences(attributes: Sequence[str], rng: random.Random) -> list[tuple[list[ParsedQuery], int]]:
    """Return pools of sentences, and how many of each are drawn for a step: sizes first, then ratings."""
    pools = [(sample_sentences(_POOL * _SIZED, 0, (), rng), _SIZED), (list_size_sentences(), _THRESHOLDS)]
    if attributes:
        pools.append((sample_sentences(0, _POOL * _RATED, attributes, rng), _RATED))
        pools.append((list_rating_sentences(attributes), _RANGES))
    return pools


def _choose(pools: Sequence[tuple[Sequence[ParsedQuery], int]], generator: torch.Generator) -> Tensor:
    """Return the numbers of a step's sentences in all pools put together."""
    chosen, first = [], 0
    for sentences, count in pools:
        chosen.append(first + torch.randperm(len(sentences), generator=generator)[:count])
        first += len(sentences)
    return torch.cat(chosen)
