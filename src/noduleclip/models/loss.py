"""Every image against every sentence: a sigmoid loss with many, and soft, positives. Knows nothing of models."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from noduleclip.size import SizeInterval


def interval_targets(diameters_mm: Tensor, intervals: Sequence[SizeInterval]) -> Tensor:
    """Give the share of a nodule's readers whose diameter satisfies each sentence.

    Args:
        diameters_mm: (B, R) diameters; NaN where a nodule has fewer than R readers, at least one is a number.
        intervals: P intervals.

    Returns:
        (B, P) in [0, 1].
    """
    device = diameters_mm.device
    low = torch.tensor([i.low_mm for i in intervals], device=device)
    high = torch.tensor([i.high_mm for i in intervals], device=device)
    low_closed = torch.tensor([i.closed in ("left", "both") for i in intervals], device=device)
    high_closed = torch.tensor([i.closed in ("right", "both") for i in intervals], device=device)
    size = diameters_mm.unsqueeze(-1)
    inside = ((size > low) | (low_closed & (size == low))) & ((size < high) | (high_closed & (size == high)))
    readers = diameters_mm.isfinite().sum(dim=1, keepdim=True)
    return inside.sum(dim=1) / readers


def pairwise_sigmoid_loss(
    images: Tensor, sentences: Tensor, targets: Tensor, log_scale: Tensor, bias: Tensor
) -> Tensor:
    """Mean binary cross-entropy over all pairs of an image and a sentence.

    Args:
        images: (B, D) unit vectors.
        sentences: (P, D) unit vectors.
        targets: (B, P) probability in [0, 1] that the sentence is true of the image.
        log_scale: Logarithm of the scale of a cosine.
        bias: Added to every scaled cosine.

    Returns:
        The mean over B * P pairs.

    Source: the sigmoid loss of SigLIP (Zhai et al., 2023, arXiv:2303.15343), with targets that are not the diagonal.
    """
    logits = images @ sentences.T * log_scale.exp() + bias
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))


def outline_loss(logits: Tensor, inside: Tensor, known: Tensor) -> Tensor:
    """Mean over nodules of five times the binary cross-entropy of the pixels, plus one minus the soft Dice overlap.

    Args:
        logits: (B, Y, X) logits that a pixel lies inside the outline.
        inside: (B, Y, X) share of the readers inside whose outline the pixel lies.
        known: (B,) whether a nodule has outlines; one without counts for nothing.

    Returns:
        The mean over the nodules with outlines; 0 where there are none.

    Source: the soft Dice of V-Net (Milletari et al., 2016, arXiv:1606.04797), with shares in place of a mask.
    """
    logits, inside = logits.float(), inside.float()
    drawn = logits.sigmoid()
    pixels = F.binary_cross_entropy_with_logits(logits, inside, reduction="none").mean(dim=(1, 2))
    overlap = (2 * (drawn * inside).sum(dim=(1, 2)) + 1) / ((drawn + inside).sum(dim=(1, 2)) + 1)
    weight = known.to(logits.dtype)
    return ((5 * pixels + 1 - overlap) * weight).sum() / weight.sum().clamp_min(1)
