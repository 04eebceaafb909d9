"""Discs of known diameter as training samples: what a model must at least be able to learn."""

import math

import torch

from noduleclip import schema
from noduleclip.config import CropConfig
from noduleclip.engine.batches import margin_px
from noduleclip.engine.samples import Samples


def make_discs(count: int, seed: int, crop: CropConfig) -> Samples:
    """Return noisy discs with ratings; every third has no outline."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 4 + 24 * torch.rand(count, generator=generator, dtype=torch.float32)
    side = crop.size_px + 2 * margin_px(crop.size_px)
    places = (torch.arange(side) - (side - 1) / 2) * crop.pixel_mm
    inside = torch.hypot(places[:, None], places[None, :]) < sizes.view(-1, 1, 1) / 2
    angles = torch.arange(8) * math.pi / 4
    corners = torch.stack([angles.cos(), angles.sin()], dim=1).view(1, 1, 8, 2)
    ratings = torch.randint(1, 6, (count, 1, 1), generator=generator).float()
    noise = 20 * torch.randn(count, side, side, generator=generator, dtype=torch.float32)
    return Samples(
        (torch.where(inside, 40, -900) + noise).to(torch.int16), sizes.unsqueeze(1), inside.to(torch.uint8) * 255,
        torch.arange(count) % 3 > 0, sizes.view(-1, 1, 1, 1) / 2 * corners, ratings, (schema.TEXTURE,),
    )  # fmt: skip
