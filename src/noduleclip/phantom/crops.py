"""Crops of phantoms in memory, without files: to calibrate and to time encoders."""

import numpy as np
from numpy.typing import NDArray

from noduleclip.config import CropConfig
from noduleclip.io.crops import AIR_HU, make_crop
from noduleclip.phantom.tissue import draw_series
from noduleclip.phantom.variation import draw_appearance, draw_grid, draw_thorax, place_nodules

_MATRIX_PX, _SLICES, _NODULES = 192, 2, 6
_TISSUE_HU, _ADDED_HU = -200, (100, 1300)  # the sum covers calcifications and bone


def draw_crops(count: int, crop: CropConfig, seed: int = 0) -> NDArray[np.int16]:
    """Draw crops around nodules of synthetic patients; the same arguments give the same crops.

    Args:
        count: Number of crops N.
        crop: Their size.
        seed: Seed of the patients.

    Returns:
        (N, Y, X) HU.
    """
    rng = np.random.default_rng(seed)
    crops: list[NDArray[np.int16]] = []
    while len(crops) < count:
        grid = draw_grid(rng, _MATRIX_PX, _SLICES)
        thorax, appearance = draw_thorax(rng, grid), draw_appearance(rng)
        nodules = place_nodules(rng, grid, thorax, appearance, _NODULES)
        hu = draw_series(rng, grid, thorax, [nodule for nodule, _ in nodules], appearance)
        middle = (_MATRIX_PX - 1) / 2
        for nodule, number in nodules:
            x_px, y_px = (
                at / mm + middle for at, mm in zip(nodule.center_mm[:2], grid.spacing_yx_mm[::-1], strict=True)
            )
            cut = make_crop(hu[number], grid.spacing_yx_mm, (x_px, y_px), fov_mm=crop.fov_mm, size_px=crop.size_px)
            crops.append(np.clip(np.rint(cut), AIR_HU, 32767).astype(np.int16))
    return np.stack(crops[:count])


def densify(crops_hu: NDArray[np.int16], seed: int = 0) -> NDArray[np.int16]:
    """Raise soft tissue to the HU of calcifications and bone, each crop by another amount.

    Args:
        crops_hu: (N, Y, X) HU.
        seed: Seed of the amounts.

    Returns:
        (N, Y, X) HU.
    """
    added_hu = np.random.default_rng(seed).uniform(*_ADDED_HU, (len(crops_hu), 1, 1)).astype(np.int16)
    return np.where(crops_hu > _TISSUE_HU, crops_hu + added_hu, crops_hu)
