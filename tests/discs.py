"""Noisy discs of known diameter as training samples: what a model must at least be able to learn."""

import math

import torch

from noduleclip.config import CropConfig
from noduleclip.engine.batches import margin_px
from noduleclip.engine.samples import Samples


def make_discs(count: int, seed: int, crop: CropConfig) -> Samples:
    """Return discs with outlines and without ratings."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 4 + 24 * torch.rand(count, generator=generator, dtype=torch.float32)
    side = crop.size_px + 2 * margin_px(crop.size_px)
    places = (torch.arange(side) - (side - 1) / 2) * crop.pixel_mm
    inside = torch.hypot(places[:, None], places[None, :]) < sizes.view(-1, 1, 1) / 2
    angles = torch.arange(8) * math.pi / 4
    corners = torch.stack([angles.cos(), angles.sin()], dim=1).view(1, 1, 8, 2)
    noise = 20 * torch.randn(count, side, side, generator=generator, dtype=torch.float32)
    return Samples(
        crops_hu=(torch.where(inside, 40, -900) + noise).to(torch.int16),
        diameters_mm=sizes.unsqueeze(1),
        mask_probability=inside.to(torch.uint8) * 255,
        outlined=torch.ones(count, dtype=torch.bool),
        hull_points_mm=sizes.view(-1, 1, 1, 1) / 2 * corners,
        ratings=torch.empty(count, 1, 0),
    )
