"""Training losses: every image against every sentence, and the outlines."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noduleclip.config import TrainConfig
from noduleclip.language import SizeInterval
from noduleclip.language.query import ParsedQuery
from noduleclip.language.vocabulary import Tokens
from noduleclip.models.clip import ClipModel

_ALL_SIZES = SizeInterval(0, math.inf, "left")


class ContrastiveLoss(nn.Module):
    """Losses of one micro-batch, as a module that DistributedDataParallel can wrap.

    Args:
        model: The encoders.
        config: Number of sentences about size, and weight of the others.
    """

    def __init__(self, model: ClipModel, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.config = model, config

    def forward(
        self,
        crops_hu: Tensor,
        tokens: list[Tokens],
        targets: Tensor,
        valid_mask: Tensor,
        mask_probability: Tensor,
        outlined: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of the image-sentence pairs and that of the outlines, each a mean over the nodules.

        Args:
            crops_hu: (B, Y, X) HU.
            tokens: P sentences, those about sizes first.
            targets: (B, P) from `soft_targets`.
            valid_mask: (B, P) from `soft_targets`.
            mask_probability: (B, Y // 2, X // 2) share of the readers inside whose outline a pixel lies.
            outlined: (B,) bool, whether a nodule has outlines.
        """
        images, logits = self.model.image.encode_and_segment(crops_hu)
        sentences = self.model.encode_text(tokens)
        with torch.autocast(crops_hu.device.type, enabled=False):
            pair_loss = self._pair_loss(images.float(), sentences.float(), targets, valid_mask)
            return pair_loss, outline_loss(logits, mask_probability, outlined)

    def _pair_loss(self, images: Tensor, sentences: Tensor, targets: Tensor, valid_mask: Tensor) -> Tensor:
        """Return the loss of sentences about size plus the weighted loss of those about ratings."""
        total = torch.zeros((), device=images.device)
        sized = self.config.prompts
        for part, weight in ((slice(None, sized), 1.0), (slice(sized, None), self.config.rating_weight)):
            if len(sentences[part]):
                total = total + weight * pairwise_sigmoid_loss(
                    images, sentences[part], targets[:, part], valid_mask[:, part],
                    self.model.log_scale, self.model.bias,
                )  # fmt: skip
        return total


def soft_targets(
    diameters_mm: Tensor, ratings: Tensor, attributes: Sequence[str], parsed_queries: Sequence[ParsedQuery]
) -> tuple[Tensor, Tensor]:
    """Return the share of each nodule's readers whose measurements satisfy each sentence.

    Args:
        diameters_mm: (B, R) diameters; NaN where a nodule has fewer than R readers, at least one is a number.
        ratings: (B, R, A) ratings by the same readers; NaN where one is missing.
        attributes: The A rated attributes, by column name.
        parsed_queries: P sentences that ask for no other attributes.

    Returns:
        (B, P) targets, the share in [0, 1] among the readers who gave every rating asked for; and the (B, P) bool
        mask of the pairs that have such readers.
    """
    true = _contain(diameters_mm, [parsed.interval or _ALL_SIZES for parsed in parsed_queries])
    gave = diameters_mm.isfinite().unsqueeze(2).expand_as(true).clone()
    rated = [at for at, parsed in enumerate(parsed_queries) if parsed.ratings]
    if rated:
        low = torch.full((len(rated), len(attributes)), -math.inf)
        high = torch.full_like(low, math.inf)
        for row, at in enumerate(rated):
            for asked in parsed_queries[at].ratings:
                low[row, attributes.index(asked.attribute)] = asked.low
                high[row, attributes.index(asked.attribute)] = asked.high
        low, high = low.to(ratings.device), high.to(ratings.device)
        given = ratings.unsqueeze(2)  # (B, R, 1, A) beside (P, A)
        true[:, :, rated] &= ((low.isinf() | (given >= low)) & (high.isinf() | (given <= high))).all(dim=3)
        gave[:, :, rated] &= (low.isinf() | given.isfinite()).all(dim=3)
    readers = gave.sum(dim=1)
    return (true & gave).sum(dim=1) / readers.clamp_min(1), readers > 0


def _contain(diameters_mm: Tensor, intervals: Sequence[SizeInterval]) -> Tensor:
    """Return (B, R, P) bool, whether diameters (B, R) lie in P intervals; NaN lies in none."""
    device = diameters_mm.device
    low = torch.tensor([i.low_mm for i in intervals], device=device)
    high = torch.tensor([i.high_mm for i in intervals], device=device)
    low_closed = torch.tensor([i.includes_low for i in intervals], device=device)
    high_closed = torch.tensor([i.includes_high for i in intervals], device=device)
    size = diameters_mm.unsqueeze(-1)
    return ((size > low) | (low_closed & (size == low))) & ((size < high) | (high_closed & (size == high)))


def pairwise_sigmoid_loss(
    images: Tensor, sentences: Tensor, targets: Tensor, valid_mask: Tensor, log_scale: Tensor, bias: Tensor
) -> Tensor:
    """Mean binary cross-entropy over image-sentence pairs with a known target.

    Args:
        images: (B, D) unit vectors.
        sentences: (P, D) unit vectors.
        targets: (B, P) probability in [0, 1] that the sentence is true of the image.
        valid_mask: (B, P) bool; other pairs add nothing.
        log_scale: Logarithm of the scale of a cosine.
        bias: Added to every scaled cosine.

    Returns:
        The sum over valid pairs divided by B * P.

    Source: the sigmoid loss of SigLIP (Zhai et al., 2023, arXiv:2303.15343), with soft targets for all pairs.
    """
    logits = images @ sentences.T * log_scale.exp() + bias
    losses = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    return (losses * valid_mask).mean()


def outline_loss(logits: Tensor, mask_probability: Tensor, outlined: Tensor) -> Tensor:
    """Mean over nodules of five times the binary cross-entropy of the pixels, plus one minus the soft Dice overlap.

    Args:
        logits: (B, Y, X) logits that a pixel lies inside the outline.
        mask_probability: (B, Y, X) share of the readers inside whose outline the pixel lies.
        outlined: (B,) bool, whether a nodule has outlines; others add nothing.

    Returns:
        The mean over the nodules with outlines; 0 where there are none.

    Source: the soft Dice of V-Net (Milletari et al., 2016, arXiv:1606.04797), with shares in place of a mask.
    """
    logits, mask_probability = logits.float(), mask_probability.float()
    probability = logits.sigmoid()
    pixels = F.binary_cross_entropy_with_logits(logits, mask_probability, reduction="none").mean(dim=(1, 2))
    shared = (probability * mask_probability).sum(dim=(1, 2))
    overlap = (2 * shared + 1) / ((probability + mask_probability).sum(dim=(1, 2)) + 1)
    weight = outlined.to(logits.dtype)
    return ((5 * pixels + 1 - overlap) * weight).sum() / weight.sum().clamp_min(1)
