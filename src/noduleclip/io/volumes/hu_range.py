"""Whether the values of a volume, which declares no unit, may be Hounsfield units."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

_BINS_HU: Final = (-2100, 1500)  # values beyond are counted at the ends
_LOWEST_HU: Final = -1200  # below are paddings such as -2000, -3024 and -32768
_MOST_PADDINGS: Final = 3
_LUNG_HU: Final = -150  # lung and air are below, with their noise
_LEAST_LUNG: Final = 0.05  # of the voxels
_FAT_HU: Final = (-150, -30)
_LEAST_FAT: Final = 0.03
_DENSE_HU: Final = (700, 1300)  # dense bone in HU; soft tissue in HU + 1024
_MOST_DENSE: Final = 0.15
_SOFT_RAW: Final = (850, 1324)  # soft tissue and fat in HU + 1024 and HU + 1000
_LEAST_SOFT: Final = 0.003
_LUNG_RAW: Final = (100, 600)  # lung in HU + 1024
_LEAST_LUNG_RAW: Final = 0.1
_PADDING_GAP: Final = 100
_MOST_BELOW: Final = 0.05  # between the paddings: lung in HU - 1024
_SCALED: Final = 50  # values of 0 to 1, of -1 to 1 and z-scores are within
_MOST_OF_8_BITS: Final = 255
_LEAST_WRAPPED: Final = 64_000  # HU below 0 in 16 bits without a sign

OWN_SCALE: Final = "--rescale SLOPE,INTERCEPT"


@dataclass
class HuRange:
    """The values of some slices of a volume, counted.

    Attributes:
        lowest: Smallest value that is no padding.
        highest: Largest value.
        padding: Smallest value of all.
        counts: Number of values in each bin of 1 HU.
        scaled: Number of values within ±50 that are no padding.
    """

    lowest: float = np.inf
    highest: float = -np.inf
    padding: float = np.inf
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS_HU[1] - _BINS_HU[0] + 1, np.int64))
    scaled: int = 0

    def add(self, values: NDArray[np.generic]) -> None:
        """Count the values of a slice; what is no number is left out."""
        found = values.ravel()
        if found.dtype.kind == "f":
            found = found[np.isfinite(found.astype(np.float64))]
        if not found.size:
            return
        low, high = float(found.min()), float(found.max())
        self.padding, self.highest = min(self.padding, low), max(self.highest, high)
        if low < _LOWEST_HU:
            tissue = found[found >= np.array(_LOWEST_HU, np.float64)]
            low = float(tissue.min()) if tissue.size else np.inf
        self.lowest = min(self.lowest, low)
        clipped = np.clip(found.astype(np.float64), *_BINS_HU)
        self.counts += np.bincount(np.floor(clipped).astype(np.int32) - _BINS_HU[0], minlength=self.counts.size)
        self.scaled += int(np.count_nonzero(np.abs(clipped) <= _SCALED))

    def find_fault(self) -> str | None:
        """Return what speaks against HU and what to do about it, as the end of a message; None where nothing does."""
        if not self.counts.sum():
            return "no value is a number; it holds no CT"
        fault = self._find_scale()
        if fault is None:
            return None
        fact, remedy = fault
        padding = f" beside padding of {self.padding:g}" if self.padding < min(self.lowest, _LOWEST_HU) else ""
        found = f"its values are {self.lowest:g} to {self.highest:g}{padding}" if self.lowest < np.inf else "its values"
        return f"{found}, {fact}: no HU; {remedy}"

    def _find_scale(self) -> tuple[str, str] | None:
        """Return the scale that the values seem to have, if it is not HU, and the remedy."""
        tissue = int(self.counts[_LOWEST_HU - _BINS_HU[0] :].sum())
        if self._share_between_paddings() > _MOST_BELOW:
            return "as of HU - 1024", "pass --rescale 1,1024 if they are, or --rescale 1,0 for HU"
        if not tissue:
            return f"are all below {_LOWEST_HU}", f"pass {OWN_SCALE} for values that are HU"
        lung = self._count(_LOWEST_HU, _LUNG_HU - 1) / tissue
        fat = self._count(*_FAT_HU) / tissue
        soft = self._count(*_SOFT_RAW) / tissue
        dense = self._count(*_DENSE_HU) / tissue
        if self.lowest < self.highest and self.scaled >= 0.999 * tissue and self.lowest >= -_SCALED:
            return _name_narrow(self.lowest, self.highest)
        if dense > _MOST_DENSE or (lung < _LEAST_LUNG and soft >= _LEAST_SOFT):
            if self.highest > _LEAST_WRAPPED:
                return _WRAPPED
            return _OFFSET
        if lung >= _LEAST_LUNG:
            return _OFFSET if self._hides_offset() else None
        if fat < _LEAST_FAT or self.highest - self.lowest <= _MOST_OF_8_BITS:
            return _name_wide(self.lowest, self.highest)
        return None

    def _hides_offset(self) -> bool:
        """Return whether all that is as low as lung is one value far below the others: padding around HU + 1024."""
        tissue = self.counts[_LOWEST_HU - _BINS_HU[0] :]
        first, second = np.flatnonzero(tissue)[[0, 1]] if np.count_nonzero(tissue) > 1 else (0, 0)
        rest = int(tissue.sum() - tissue[first])
        return bool(
            second - first >= _PADDING_GAP
            and second + _LOWEST_HU >= _LUNG_HU
            and self._count(*_SOFT_RAW) >= _LEAST_SOFT * rest
            and self._count(*_LUNG_RAW) >= _LEAST_LUNG_RAW * rest
        )

    def _count(self, first: int, last: int) -> int:
        """Return the number of values in [first, last + 1)."""
        return int(self.counts[first - _BINS_HU[0] : last + 1 - _BINS_HU[0]].sum())

    def _share_between_paddings(self) -> float:
        """Return the share of values below any HU that are not one of a few paddings."""
        below = np.sort(self.counts[1 : _LOWEST_HU - _BINS_HU[0]])
        return float(below[:-_MOST_PADDINGS].sum() / self.counts.sum())


_OFFSET: Final = ("as of HU + 1024", "pass --rescale 1,-1024 if they are, or --rescale 1,0 for HU")
_WRAPPED: Final = (
    "as of negative values stored without their sign",
    "save it as signed 16-bit integers",
)


def _name_narrow(lowest: float, highest: float) -> tuple[str, str]:
    if lowest >= 0 and highest <= 1:
        return (
            "as of CT scaled to [0, 1]",
            f"pass {OWN_SCALE} that undoes it, such as --rescale 1400,-1000 where [-1000, 400] HU were scaled",
        )
    if lowest >= -1 and highest <= 1:
        return (
            "as of CT scaled to [-1, 1]",
            f"pass {OWN_SCALE} that undoes it, such as --rescale 700,-300 where [-1000, 400] HU were scaled",
        )
    return "as of CT scaled by mean and deviation", f"pass {OWN_SCALE} with the deviation and the mean in HU"


def _name_wide(lowest: float, highest: float) -> tuple[str, str]:
    """Name a scale without lung, and without soft tissue in HU + 1024."""
    if highest > _LEAST_WRAPPED:
        return _WRAPPED
    if highest - lowest <= _MOST_OF_8_BITS:
        return (
            "as of CT in a window of 8 bits",
            f"pass {OWN_SCALE} that undoes it, with the window's width / 255 and lower end",
        )
    fact = "none is negative" if lowest >= 0 else "hardly any of them as low as lung or fat"
    return fact, f"pass {OWN_SCALE} that makes HU of them, --rescale 1,-1024 for HU + 1024, or --rescale 1,0 for HU"
