"""Segmentation of the nodule: a decoder over feature maps, trained on readers' outlines, and the outline's sizes."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZES = 6
_DIRECTIONS = 8
_EXTENT_SOFTNESS_MM = 2.0
_MIN_EXTENT_MM = 1.0


class _ConvNormRelu(nn.Sequential):
    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class OutlineDecoder(nn.Module):
    """Combine feature maps, finest first, into one map, and segment the nodule on it.

    Args:
        channels: Channels of each feature map.
        width: Channels of the combined map.
        side_px: Side of the combined map.
    """

    def __init__(self, channels: Sequence[int], width: int, side_px: int) -> None:
        super().__init__()
        self.width = width
        self.side_px = side_px
        self.narrow = nn.ModuleList(_ConvNormRelu(count, width, 1) for count in channels)
        self.mix = nn.ModuleList(_ConvNormRelu(width, width, 3) for _ in channels[:-1])
        self.draw = nn.Conv2d(width, 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Segment the nodules.

        Args:
            maps: Feature maps (B, C, y, x), finest first.

        Returns:
            Features (B, W, S, S) and the logits (B, S, S) that a pixel lies inside the outline.
        """
        drawn: Tensor = self.narrow[-1](maps[-1])
        for level in range(len(maps) - 2, -1, -1):
            finer = self.narrow[level](maps[level])
            drawn = self.mix[level](_resize(drawn, finer.shape[-1]) + finer)
        drawn = _resize(drawn, self.side_px)
        return drawn, self.draw(drawn).squeeze(1)


def _resize(maps: Tensor, side_px: int) -> Tensor:
    if maps.shape[-1] == side_px:
        return maps
    return F.interpolate(maps, size=(side_px, side_px), mode="bilinear", align_corners=False)


def measure_outline(mask_probability: Tensor, fov_mm: float) -> Tensor:
    """Compute sizes of soft outlines, as logarithms of millimetres, in a differentiable way.

    Args:
        mask_probability: (B, Y, Y) probability that a pixel lies inside.
        fov_mm: Side of the map in mm.

    Returns:
        (B, 6): the logarithm of the root of the area, of the standard deviation along the long and the short axis,
        of the largest and the mean extent over eight directions; and the uncertain share of the area.
    """
    side = mask_probability.shape[-1]
    pixel_mm = fov_mm / side
    along = (
        torch.arange(side, device=mask_probability.device, dtype=mask_probability.dtype) - (side - 1) / 2
    ) * pixel_mm
    mass = mask_probability.sum(dim=(1, 2)) + 1e-3
    y = along[None, :, None] - ((mask_probability * along[:, None]).sum(dim=(1, 2)) / mass)[:, None, None]
    x = along[None, None, :] - ((mask_probability * along).sum(dim=(1, 2)) / mass)[:, None, None]
    of_pixel = pixel_mm**2 / 12
    yy, xx, xy = ((mask_probability * a * b).sum(dim=(1, 2)) / mass for a, b in ((y, y), (x, x), (x, y)))
    middle = (yy + xx) / 2 + of_pixel
    half = torch.sqrt(((yy - xx) / 2) ** 2 + xy**2 + 1e-6)
    extents = torch.stack(
        [_measure_extent(mask_probability, x, y, math.pi * turn / _DIRECTIONS) for turn in range(_DIRECTIONS)], dim=1
    ).clamp_min(_MIN_EXTENT_MM)
    sizes = [
        torch.log(mass * pixel_mm**2 + 1) / 2,
        torch.log(middle + half) / 2,
        torch.log((middle - half).clamp_min(of_pixel)) / 2,
        torch.log(extents.amax(dim=1)),
        torch.log(extents.mean(dim=1)),
        (mask_probability * (1 - mask_probability)).sum(dim=(1, 2)) / mass,
    ]
    return torch.stack(sizes, dim=1)


def _measure_extent(mask_probability: Tensor, x: Tensor, y: Tensor, angle: float) -> Tensor:
    """Return the soft distance (B,) between the two ends along a direction: log-sum-exp in place of the maximum."""
    along = (x * math.cos(angle) + y * math.sin(angle)) / _EXTENT_SOFTNESS_MM
    ends = [torch.log((mask_probability * torch.exp(side * along)).sum(dim=(1, 2)) + 1e-3) for side in (1, -1)]
    return _EXTENT_SOFTNESS_MM * (ends[0] + ends[1])
