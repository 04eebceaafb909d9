"""Crops of CT slices."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noduleclip.config import CropConfig


def read_crop(
    path: str | Path, center_xy_px: tuple[float, float], *, fov_mm: float = 48.0, size_px: int = 64
) -> NDArray[np.int16]:
    """Read the square of tissue around a point of a CT slice, as the image encoder sees it.

    Args:
        path: DICOM file of one slice.
        center_xy_px: Column and row of the centre, 0-based.
        fov_mm: Side of the square in millimetres.
        size_px: Side of the crop in pixels.

    Returns:
        (size_px, size_px) Hounsfield units; -1024 outside the image.

    Raises:
        SliceError: The file is not a readable CT slice, or the centre lies outside it.
        ConfigError: The size is not allowed.

    Examples:
        >>> crop_hu = nc.read_crop("slice.dcm", center_xy_px=(40, 40))
        >>> assert crop_hu.shape == (64, 64)
    """
    from noduleclip.io.slice_crops import CutSettings, cut_crop

    return cut_crop(Path(path), center_xy_px, CutSettings.for_crop(CropConfig(fov_mm=fov_mm, size_px=size_px)))
