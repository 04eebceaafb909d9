"""Slices of a volume in Hounsfield units, once its values are known to be of that scale."""

import math
from collections.abc import Collection, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import RejectCode, SliceError, UsageError
from noduleclip.io.volumes.hu_range import HuRange
from noduleclip.io.volumes.volume import Rescale, Volume, to_int16

_PROBES: Final = 16
_MOST_HELD_BYTES: Final = 128 << 20


class HuSlices:
    """Slices of a volume in HU.

    They are read at the construction, and judged together with others of the volume; where the wanted ones would take
    more than 128 MB, they are read again on iteration, in parts of that size.

    Attributes:
        doubt: What speaks against HU, where the user says that the values, or those rescaled, are HU; else None.
    """

    def __init__(self, volume: Volume, wanted: Collection[int]) -> None:
        """Read and judge slices.

        Args:
            volume: The volume, with the rescaling to apply.
            wanted: Indices of slices, each within the volume.

        Raises:
            SliceError: The values are of another scale, and the volume has no rescaling.
            InputError: The data are missing, cut short or broken.
        """
        self._volume, self._wanted = volume, sorted(set(wanted))
        _, rows, columns = volume.shape_zyx
        self._held: dict[int, NDArray[np.int16]] | None = {}
        if 2 * rows * columns * len(self._wanted) > _MOST_HELD_BYTES:
            self._held = None
        seen = HuRange()
        chosen = set(self._wanted) if self._held is not None else set(self._wanted[:: 1 + len(self._wanted) // _PROBES])
        for index, values in volume.read_slices(chosen | _find_probes(volume, self._wanted), sort=False):
            seen.add(_apply(values, volume.rescale))
            if self._held is not None and index in chosen:
                self._held[index] = to_int16(values, volume.rescale)
        self.doubt = seen.find_fault() if self._wanted else None
        if self.doubt is not None and volume.rescale is None:
            raise SliceError(RejectCode.NOT_HU, f"{volume.path}: {self.doubt}")

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.int16]]]:
        """Yield the index of each wanted slice and its (Y, X) values in HU, in the order of the file."""
        if self._held is not None:
            yield from self._held.items()
            return
        at_once = len(self._wanted)
        if self._volume.axes[2] != 2:  # then they are in memory together
            _, rows, columns = self._volume.shape_zyx
            at_once = max(1, _MOST_HELD_BYTES // (self._volume.stored.dtype.itemsize * rows * columns))
        for start in range(0, len(self._wanted), at_once):
            for index, values in self._volume.read_slices(self._wanted[start : start + at_once], sort=False):
                yield index, to_int16(values, self._volume.rescale)


def _apply(values: NDArray[np.generic], rescale: Rescale | None) -> NDArray[np.generic]:
    if rescale in (None, (1.0, 0.0)):
        return values
    assert rescale is not None
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values.astype(np.float64) * rescale[0] + rescale[1])


def _find_probes(volume: Volume, wanted: Collection[int]) -> set[int]:
    """Return slices of all of a volume that are read at little cost: of a compressed file, those that are passed."""
    slices = volume.shape_zyx[0]
    first, last = 0, slices - 1
    if volume.stored.is_sequential and volume.axes[2] == 2 and wanted:
        first, last = (min(wanted), last) if volume.flipped[2] else (first, max(wanted))
    return {int(index) for index in np.linspace(first, last, _PROBES)}


def parse_rescale(text: str) -> Rescale | None:
    """Parse `--rescale SLOPE,INTERCEPT`; an empty text is none.

    Raises:
        UsageError: It is not two numbers, or the slope is not positive.
    """
    if not text.strip():
        return None
    try:
        slope, intercept = map(float, text.split(","))
    except ValueError:
        slope, intercept = math.nan, math.nan
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope > 0):
        raise UsageError(f"--rescale is {text[:40]!r}; needed are a positive slope and an intercept, as in 1,-1024")
    return slope, intercept
