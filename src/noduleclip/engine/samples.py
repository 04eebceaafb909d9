"""Training samples as tensors."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from noduleclip.config import CropConfig
from noduleclip.engine.batches import margin_px
from noduleclip.io.nodules import Nodules
from noduleclip.io.outlines import Outlines


@dataclass(frozen=True)
class Samples:
    """N nodules: crops with a margin, and what up to R readers measured, outlined and rated.

    Attributes:
        crops_hu: (N, S, S) int16 HU.
        diameters_mm: (N, R) float32, NaN-padded.
        mask_probability: (N, S, S) uint8, share of the readers inside whose outline a pixel lies, times 255.
        outlined: (N,) bool, whether any reader's outline is known.
        hull_points_mm: (N, R, V, 2) float32 convex hulls of the outlines (`io.outlines`), NaN-padded.
        ratings: (N, R, A) float32, NaN where a reader gave no rating.
        attributes: Column names of the A ratings; empty where the table has none.
    """

    crops_hu: Tensor
    diameters_mm: Tensor
    mask_probability: Tensor
    outlined: Tensor
    hull_points_mm: Tensor
    ratings: Tensor
    attributes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of nodules."""
        return len(self.crops_hu)

    @classmethod
    def from_arrays(
        cls, crops_hu: NDArray[np.int16], nodules: Nodules, outlines: Outlines, ratings: NDArray[np.float64],
        attributes: tuple[str, ...],
    ) -> Self:  # fmt: skip
        """Return samples of N nodules from their crops (N, S, S), outlines and ratings (N, R, A)."""
        return cls(
            torch.from_numpy(crops_hu),
            torch.from_numpy(nodules.diameters_mm).float(),
            torch.from_numpy(outlines.shares),
            torch.from_numpy(outlines.known),
            torch.from_numpy(outlines.hull_points_mm),
            torch.from_numpy(ratings).float(),
            attributes,
        )

    @property
    def image_bytes(self) -> bytes:
        """Crops and diameters, to compare what several processes loaded."""
        return self.crops_hu.numpy().tobytes() + self.diameters_mm.numpy().tobytes()

    @property
    def label_bytes(self) -> bytes:
        """Everything but the crops, to recognise the samples of an earlier run."""
        labels = (self.diameters_mm, self.mask_probability, self.hull_points_mm, self.ratings)
        return b"".join(label.numpy().tobytes() for label in labels)


def make_random_samples(count: int, crop: CropConfig, attributes: tuple[str, ...]) -> Samples:
    """Return noise in the shape of samples, to measure the time of a training step."""
    generator, side = torch.Generator().manual_seed(0), crop.size_px + 2 * margin_px(crop.size_px)
    square = (count, side, side)
    return Samples(
        crops_hu=torch.randint(-1000, 400, square, dtype=torch.int16, generator=generator),
        diameters_mm=3 + 27 * torch.rand(count, 1, generator=generator),
        mask_probability=torch.zeros(square, dtype=torch.uint8),
        outlined=torch.ones(count, dtype=torch.bool),
        hull_points_mm=torch.full((count, 1, 8, 2), math.nan),
        ratings=torch.full((count, 1, len(attributes)), 3.0),
        attributes=attributes,
    )
