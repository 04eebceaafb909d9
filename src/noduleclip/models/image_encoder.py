"""Image encoder: a timm backbone over HU windows, an outline decoder over its feature maps, and a projection."""

from collections.abc import Sequence
from typing import cast

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noduleclip.config import CropConfig
from noduleclip.errors import ConfigError, InputError, shows_incompatibility, suggest_names
from noduleclip.models.outline import SIZES, OutlineDecoder, measure_outline

_MEASURE_WIDTH = 64
_MIN_MAP_PX = 4


class HuWindows(nn.Module):
    """Convert HU to one channel per window, clipped to the window and scaled to [-1, 1]."""

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


class ImageEncoder(nn.Module):
    """Crops in HU to unit vectors, with the nodule's outline as an intermediate result.

    A timm backbone computes feature maps, the coarsest of at least four pixels a side; a decoder segments the nodule
    from them. The embedding combines the coarsest map, the decoder's features inside the outline and everywhere, and
    the outline's sizes.

    Args:
        backbone: Name of a timm model.
        emb: Width D of the output.
        crop: Size of the crops and their HU windows.
        outline_width: Channels of the decoder.
        pretrained: Load the backbone's published weights, which timm may download.

    Raises:
        ConfigError: timm has no such model, or it has no feature maps for crops of this size.
        InputError: The published weights cannot be downloaded.
    """

    def __init__(
        self, backbone: str, emb: int, crop: CropConfig, outline_width: int = 32, pretrained: bool = False
    ) -> None:
        super().__init__()
        self.crop = crop
        self.windows = HuWindows(crop.windows_hu)
        self.backbone = _build_backbone(backbone, crop.size_px, len(crop.windows_hu), pretrained)
        channels: list[int] = self.backbone.feature_info.channels()  # type: ignore[operator, union-attr]
        self.channels_last = self._probe(backbone, channels)
        self.outline = OutlineDecoder(channels, outline_width, crop.size_px // 2)
        self.project = nn.Linear(channels[-1] + 2 * outline_width, emb)
        self.measure = nn.Sequential(
            nn.BatchNorm1d(SIZES), nn.Linear(SIZES, _MEASURE_WIDTH), nn.GELU(), nn.Linear(_MEASURE_WIDTH, emb)
        )

    @torch.no_grad()
    def _probe(self, name: str, channels: list[int]) -> bool:
        """Return whether the backbone's maps are (B, y, x, C), from one forward pass."""
        training = self.backbone.training
        self.backbone.eval()
        try:
            maps = self.backbone(self.windows(torch.zeros(1, self.crop.size_px, self.crop.size_px)))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(f"--backbone {name} does not take crops of {self.crop.size_px} px ({reason})") from error
        self.backbone.train(training)
        shapes = [tuple(one.shape[1:]) for one in maps]
        for last in (False, True):
            if [shape[-1 if last else 0] for shape in shapes] == channels:
                return last
        raise ConfigError(f"--backbone {name} gives no feature maps that an outline could be drawn from: {shapes}")

    def forward(self, crops_hu: Tensor) -> Tensor:
        """(B, Y, X) HU to (B, D) unit vectors."""
        return self.encode_and_segment(crops_hu)[0]

    def encode_and_segment(self, crops_hu: Tensor) -> tuple[Tensor, Tensor]:
        """Embed crops and segment their nodules.

        Args:
            crops_hu: (B, Y, X) HU.

        Returns:
            (B, D) unit vectors, and the logits (B, Y // 2, X // 2) that a pixel lies inside the outline.
        """
        maps = list(self.backbone(self.windows(crops_hu)))
        if self.channels_last:
            maps = [one.permute(0, 3, 1, 2) for one in maps]
        features, logits = self.outline(maps)
        mask_probability = logits.float().sigmoid()
        weight = mask_probability.unsqueeze(1)
        pooled = [
            maps[-1].mean(dim=(2, 3)),
            (features * weight).sum(dim=(2, 3)) / (weight.sum(dim=(2, 3)) + 1),
            features.mean(dim=(2, 3)),
        ]
        sizes = self.measure(measure_outline(mask_probability, self.crop.fov_mm))
        return F.normalize(self.project(torch.cat(pooled, dim=1)) + sizes, dim=-1), logits


def check_backbone(name: str, pretrained: bool) -> None:
    """Check that timm has a backbone, and published weights of it if they are wanted.

    Raises:
        ConfigError: It has not; the message names similar ones.
    """
    if not timm.is_model(name):
        near = suggest_names(name, timm.list_models()) or "; see timm.list_models()"
        raise ConfigError(f"--backbone {name!r}: timm {timm.__version__} has no such model{near}")
    if pretrained and not timm.is_model_pretrained(name):
        raise ConfigError(f"--pretrained: timm {timm.__version__} has no published weights of {name}")


def _build_backbone(name: str, size_px: int, channels: int, pretrained: bool) -> nn.Module:
    check_backbone(name, pretrained)

    def build(**options: object) -> nn.Module:
        options |= {"in_chans": channels, "features_only": True}
        try:
            return cast(nn.Module, timm.create_model(name, img_size=size_px, **options))
        except TypeError:  # convolutional backbones take any size and have no such argument
            return cast(nn.Module, timm.create_model(name, **options))

    try:
        info = build().feature_info
        kept = sum(step * _MIN_MAP_PX <= size_px for step in info.reduction()) or 1  # type: ignore[operator, union-attr]
        return build(pretrained=pretrained, out_indices=info.out_indices[:kept])  # type: ignore[union-attr, index]
    except Exception as error:
        if shows_incompatibility(error):
            raise
        if not pretrained:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"--backbone {name}: timm gives no feature maps of it ({reason})") from error
        raise InputError(
            f"--pretrained: timm could not fetch the published weights of {name} "
            f"({type(error).__name__}: {' '.join(str(error).split())[:120]}). "
            "It needs the network once (they are then kept in HF_HOME); leave --pretrained out to start from scratch"
        ) from error
