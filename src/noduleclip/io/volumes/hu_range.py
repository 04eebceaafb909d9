"""Whether the values of an image that declares no unit may be Hounsfield units."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import RejectCode, SliceError

_DENSE_HU: Final = (700, 1300)  # dense bone in HU; soft tissue in HU + 1024
_MOST_DENSE: Final = 0.15  # of the pixels
_NARROW_HU: Final = 50


def check_hu(values: NDArray[np.int16], index: int, path: Path) -> None:
    """Check that a slice may be in HU, where air, lung and fat are negative and little is denser than soft tissue.

    Args:
        values: (Y, X) values.
        index: Number of the slice, for the message.
        path: The image, for the message.

    Raises:
        SliceError: Its values are another scale, such as HU + 1024 or 0 to 1; the message has their range.
    """
    lowest, highest = int(values.min()), int(values.max())
    dense = np.count_nonzero((values >= _DENSE_HU[0]) & (values <= _DENSE_HU[1])) / values.size
    if lowest >= 0:
        fact = "none is negative"
    elif highest - lowest > 0 and lowest >= -_NARROW_HU and highest <= _NARROW_HU:
        fact = "as of values scaled to 1"
    elif dense > _MOST_DENSE:
        fact = f"{dense:.0%} of them in [{_DENSE_HU[0]}, {_DENSE_HU[1]}], as of HU + 1024"
    else:
        return
    raise SliceError(
        RejectCode.NOT_HU,
        f"{path}: slice {index} has values in [{lowest}, {highest}], {fact}: no HU; convert it to HU",
    )
