"""Every image against every sentence: a sigmoid loss with many, and soft, positives. Knows nothing of models."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from noduleclip.language import SizeInterval
from noduleclip.language.query import ParsedQuery

_ALL_SIZES = SizeInterval(0, math.inf, "left")


def soft_targets(
    diameters_mm: Tensor, ratings: Tensor, attributes: Sequence[str], parsed_queries: Sequence[ParsedQuery]
) -> tuple[Tensor, Tensor]:
    """Return the share of a nodule's readers of whom all that a sentence asks for is true.

    Args:
        diameters_mm: (B, R) diameters; NaN where a nodule has fewer than R readers, at least one is a number.
        ratings: (B, R, A) ratings by the same readers; NaN where one is missing.
        attributes: The A rated attributes, by column name.
        parsed_queries: P sentences that ask for no other attributes.

    Returns:
        (B, P) shares in [0, 1] of the readers who gave every rating asked for, and (B, P) bool whether there are any.
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
    """Return (B, R, P) which diameters (B, R) lie in which of P intervals; NaN lies in none."""
    device = diameters_mm.device
    low = torch.tensor([i.low_mm for i in intervals], device=device)
    high = torch.tensor([i.high_mm for i in intervals], device=device)
    low_closed = torch.tensor([i.includes_low for i in intervals], device=device)
    high_closed = torch.tensor([i.includes_high for i in intervals], device=device)
    size = diameters_mm.unsqueeze(-1)
    return ((size > low) | (low_closed & (size == low))) & ((size < high) | (high_closed & (size == high)))


def pairwise_sigmoid_loss(
    images: Tensor, sentences: Tensor, targets: Tensor, known: Tensor, log_scale: Tensor, bias: Tensor
) -> Tensor:
    """Mean binary cross-entropy over the pairs of an image and a sentence whose truth is known.

    Args:
        images: (B, D) unit vectors.
        sentences: (P, D) unit vectors.
        targets: (B, P) probability in [0, 1] that the sentence is true of the image.
        known: (B, P) bool; a pair that is not known counts for nothing.
        log_scale: Logarithm of the scale of a cosine.
        bias: Added to every scaled cosine.

    Returns:
        The sum over known pairs divided by B * P.

    Source: the sigmoid loss of SigLIP (Zhai et al., 2023, arXiv:2303.15343), with targets that are not the diagonal.
    """
    logits = images @ sentences.T * log_scale.exp() + bias
    losses = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    return (losses * known).mean()


def outline_loss(logits: Tensor, mask_probability: Tensor, known: Tensor) -> Tensor:
    """Mean over nodules of five times the binary cross-entropy of the pixels, plus one minus the soft Dice overlap.

    Args:
        logits: (B, Y, X) logits that a pixel lies inside the outline.
        mask_probability: (B, Y, X) share of the readers inside whose outline the pixel lies.
        known: (B,) whether a nodule has outlines; one without counts for nothing.

    Returns:
        The mean over the nodules with outlines; 0 where there are none.

    Source: the soft Dice of V-Net (Milletari et al., 2016, arXiv:1606.04797), with shares in place of a mask.
    """
    logits, mask_probability = logits.float(), mask_probability.float()
    drawn = logits.sigmoid()
    pixels = F.binary_cross_entropy_with_logits(logits, mask_probability, reduction="none").mean(dim=(1, 2))
    overlap = (2 * (drawn * mask_probability).sum(dim=(1, 2)) + 1) / ((drawn + mask_probability).sum(dim=(1, 2)) + 1)
    weight = known.to(logits.dtype)
    return ((5 * pixels + 1 - overlap) * weight).sum() / weight.sum().clamp_min(1)
