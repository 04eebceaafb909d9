"""Batches of crops, and augmentations whose effect on the diameter is exact."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from noduleclip.config import CropConfig, TrainConfig
from noduleclip.io.crops import AIR_HU


def margin_px(size_px: int) -> int:
    """Return the pixels kept around a crop so that it can be rotated, shifted and zoomed without padding."""
    return size_px // 4


def shuffled_batches(count: int, bs: int, generator: torch.Generator, smallest: int = 2) -> Iterator[Tensor]:
    """Return the indices of `count` samples in random order, in batches of `bs`; one below `smallest` is left out.

    Batch statistics need two samples in each process.
    """
    order = torch.randperm(count, generator=generator)
    for batch in torch.split(order, bs):
        if len(batch) >= smallest:
            yield batch


def center_crop(crops: Tensor, size_px: int) -> Tensor:
    """Return the centre (B, size_px, size_px) of crops (B, Y, X) with a margin."""
    margin = (crops.shape[-1] - size_px) // 2
    return crops[:, margin : margin + size_px, margin : margin + size_px]


def augment(
    crops_hu: Tensor,
    mask_probability: Tensor,
    diameters_mm: Tensor,
    hull_points_mm: Tensor,
    crop: CropConfig,
    config: TrainConfig,
    generator: torch.Generator,
    positions: Tensor | None = None,
    batch_size: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate, flip, zoom, stretch, shift and add noise; diameters follow the outlines.

    A zoom by s makes every diameter s times as large. A stretch by s along one direction, and by 1 / s across it,
    changes a diameter as it changes the largest distance of two points of that reader's outline; a nodule that lacks
    the outline of a reader who measured it is not stretched.

    Args:
        crops_hu: (B, S, S) HU with a margin around the crop, at the crop's pixel size.
        mask_probability: (B, S, S) share of the readers inside whose outline a pixel lies, in [0, 1].
        diameters_mm: (B, R).
        hull_points_mm: (B, R, V, 2) convex hull of each reader's outline as (x, y) from the crop's centre; NaN where
            there is none.
        crop: The crop to return.
        config: Largest extent of each augmentation.
        generator: Source of randomness, on the CPU, so that every device sees the same numbers.
        positions: (B,) indices of the crops in the batch, if this process has only a part of it: each crop gets the
            same random numbers as in the whole batch. (default: the whole batch)
        batch_size: Crops in the whole batch.

    Returns:
        (B, Y, X) HU, (B, Y, X) shares and (B, R) diameters.
    """
    count, side = crops_hu.shape[0], crops_hu.shape[-1]
    drawn, positions = batch_size or count, torch.arange(count) if positions is None else positions
    device = crops_hu.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(drawn, *shape, generator=generator)[positions] * (high - low) + low

    angle = uniform(-1, 1) * math.radians(config.max_rotation_deg)
    zoom = torch.exp(uniform(-1, 1) * math.log(config.max_zoom))
    flip = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    shift = uniform(-1, 1, 2) * config.max_shift_mm / crop.pixel_mm / (side / 2)
    noise_sd = uniform(0, config.noise_hu)
    reach = crop.size_px / side / zoom
    turn = torch.stack([angle.cos() * flip, -angle.sin(), angle.sin() * flip, angle.cos()], dim=1).view(count, 2, 2)
    outlined = (hull_points_mm.isfinite().all(dim=3).all(dim=2) | diameters_mm.isnan()).all(dim=1).cpu()
    spread = torch.where(outlined, uniform(-1, 1) * math.log(config.max_stretch), 0.0)
    shape = (
        _stretch(spread, uniform(-1, 1) * math.pi) @ turn
    )  # from positions in the new crop to positions in the old one
    noise = torch.randn(drawn, crop.size_px, crop.size_px, generator=generator)[positions] * noise_sd.view(-1, 1, 1)
    theta = torch.cat([shape * reach.view(-1, 1, 1), shift.unsqueeze(-1)], dim=2).to(device)
    grid = F.affine_grid(theta, [count, 1, crop.size_px, crop.size_px], align_corners=False)
    # outside the crop the sampler returns 0: air, and no nodule
    layers = torch.stack([crops_hu.float() - AIR_HU, mask_probability], dim=1)
    sampled = F.grid_sample(layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    moved = torch.einsum("bij,brvj->brvi", torch.linalg.inv(shape).to(device), hull_points_mm)
    growth = torch.where(outlined.to(device).unsqueeze(1), _find_widths(moved) / _find_widths(hull_points_mm), 1.0)
    diameters = diameters_mm * growth * zoom.unsqueeze(1).to(device)
    return sampled[:, 0] + AIR_HU + noise.to(device), sampled[:, 1], diameters


def _stretch(spread: Tensor, angle: Tensor) -> Tensor:
    """Return matrices (B, 2, 2) that stretch by exp(spread) along a direction and by exp(-spread) across it."""
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    along = torch.diag_embed(torch.stack([spread.exp(), (-spread).exp()], dim=1))
    return turn @ along @ turn.transpose(1, 2)


def _find_widths(points: Tensor) -> Tensor:
    """Return the largest distance (B, R) between two points of (B, R, V, 2)."""
    return torch.cdist(points, points).amax(dim=(2, 3))
