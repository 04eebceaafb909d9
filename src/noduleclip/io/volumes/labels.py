"""Volumes of labels that are stored like CT, as many tools write masks in 16 or 64 bits."""

from typing import Final

import numpy as np

from noduleclip.io.volumes.volume import Volume

_HIGHEST_LABEL: Final = 255
_MOST_LABELS: Final = 32


def looks_like_labels(volume: Volume) -> bool:
    """Return whether a volume has few different values, whole numbers from 0 on, in its first and its middle plane.

    Raises:
        InputError: The data are missing, cut short or broken.
    """
    found: set[float] = set()
    for _, plane in volume.stored.read_planes({0, volume.stored.shape_ijk[2] // 2}):
        values = np.unique(plane).astype(np.float64)
        if len(values) > _MOST_LABELS or not np.isfinite(values).all():
            return False
        found.update(values.tolist())
    return len(found) <= _MOST_LABELS and all(0 <= one <= _HIGHEST_LABEL and one.is_integer() for one in found)
