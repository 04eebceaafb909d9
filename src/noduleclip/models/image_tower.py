"""A timm backbone over HU windows, with a projection head."""

import difflib
from collections.abc import Sequence
from typing import cast

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noduleclip.errors import ConfigError, InputError


class HuWindows(nn.Module):
    """Turn HU into one channel per window, clipped to it and scaled to [-1, 1]."""

    low: Tensor
    high: Tensor

    def __init__(self, windows_hu: Sequence[tuple[float, float]]) -> None:
        super().__init__()
        low, high = (
            torch.tensor(edge, dtype=torch.float32).view(1, -1, 1, 1) for edge in zip(*windows_hu, strict=True)
        )
        self.register_buffer("low", low, persistent=False)
        self.register_buffer("high", high, persistent=False)

    def forward(self, crops_hu: Tensor) -> Tensor:
        """(B, Y, X) HU to (B, C, Y, X) in [-1, 1]."""
        scaled = (crops_hu.unsqueeze(1) - self.low) / (self.high - self.low)
        return scaled.clamp(0, 1) * 2 - 1


class ImageTower(nn.Module):
    """Crops in HU to unit vectors.

    Args:
        backbone: Name of a timm model.
        emb: Width D of the output.
        size_px: Side of a crop in pixels, for backbones that must know it.
        windows_hu: (low, high) of each input channel.
        pretrained: Let timm fetch the backbone's published weights.

    Raises:
        ConfigError: timm has no such model, or it does not take crops of this size.
        InputError: The published weights cannot be had.
    """

    def __init__(
        self,
        backbone: str,
        emb: int,
        size_px: int,
        windows_hu: Sequence[tuple[float, float]],
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.windows = HuWindows(windows_hu)
        self.backbone = _make_backbone(backbone, size_px, len(windows_hu), pretrained)
        self.size_px = size_px
        with torch.no_grad():
            features = self._probe(backbone)
        self.project = nn.Linear(features, emb)

    def _probe(self, name: str) -> int:
        """Give the width of the backbone's features, by one forward pass."""
        training = self.backbone.training
        self.backbone.eval()
        try:
            out = self.backbone(self.windows(torch.zeros(1, self.size_px, self.size_px)))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"--backbone {name} does not take crops of {self.size_px} px ({reason})") from error
        self.backbone.train(training)
        return int(out.shape[-1])

    def forward(self, crops_hu: Tensor) -> Tensor:
        """(B, Y, X) HU to (B, D) unit vectors."""
        return F.normalize(self.project(self.backbone(self.windows(crops_hu))), dim=-1)


def _make_backbone(name: str, size_px: int, channels: int, pretrained: bool) -> nn.Module:
    if not timm.is_model(name):
        close = ", ".join(difflib.get_close_matches(name, timm.list_models(), 5)) or "see timm.list_models()"
        raise ConfigError(f"--backbone {name!r}: timm {timm.__version__} has no such model; similar: {close}")
    options = {"pretrained": pretrained, "in_chans": channels, "num_classes": 0}
    try:
        try:
            return cast(nn.Module, timm.create_model(name, img_size=size_px, **options))
        except TypeError:  # convolutional backbones take any size and have no such argument
            return cast(nn.Module, timm.create_model(name, **options))
    except Exception as error:
        if not pretrained:
            raise
        raise InputError(
            f"--pretrained: timm could not fetch the published weights of {name} ({type(error).__name__}). "
            "It needs the network once (they are then kept in HF_HOME); leave --pretrained out to start from scratch"
        ) from error
