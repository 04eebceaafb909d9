"""Connected components of a mask, in memory that follows its voxels and not the box around them."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import UsageError
from noduleclip.machine import install_command

MOST_COMPONENTS: Final = 1000
"""Most components of a mask of nodules; those of noise are thousands."""
MOST_BOX_VOXELS: Final = 1 << 26
_NEIGHBOURS: Final = 26
_BLOCK_BITS: Final = 2  # blocks of 4 x 4 x 4 voxels


class TooManyComponentsError(Exception):
    """The voxels are noise; the message says what was found."""


def label_components(voxels: NDArray[np.int32], min_voxels: int = 1) -> NDArray[np.int64]:
    """Number the 26-connected components of voxels.

    Voxels that touch lie in the same block or in blocks that touch, so components of blocks of 4 x 4 x 4 are found
    first, and those of voxels in the box of each.

    Args:
        voxels: (N, 3) indices, none twice.
        min_voxels: Voxels of a component; of smaller ones some are left out.

    Returns:
        (N,) numbers from 0; -1 where a component is smaller than `min_voxels`.

    Raises:
        TooManyComponentsError: There are too many components, or voxels in too large a box.
        UsageError: The library is not installed.
    """
    numbers = np.full(len(voxels), -1, np.int64)
    in_blocks = voxels >> _BLOCK_BITS
    shape = tuple((in_blocks.max(axis=0) + 1).tolist())
    blocks, of_block = np.unique(np.ravel_multi_index(tuple(in_blocks.T), shape), return_inverse=True)
    group = _label_box(np.column_stack(np.unravel_index(blocks, shape)).astype(np.int32))[of_block]
    sizes = np.bincount(group)
    large = np.flatnonzero(sizes >= min_voxels)
    if len(large) > MOST_COMPONENTS:
        raise TooManyComponentsError(f"over {MOST_COMPONENTS:,} parts")
    order = np.argsort(group, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    count = 0
    for one in large.tolist():
        members = order[starts[one] : starts[one + 1]]
        labels = _label_box(voxels[members])
        kept = np.flatnonzero(np.bincount(labels) >= min_voxels)
        count += len(kept)
        if count > MOST_COMPONENTS:
            raise TooManyComponentsError(f"over {MOST_COMPONENTS:,} parts")
        renumbered = np.full(labels.max() + 1, -1, np.int64)
        renumbered[kept] = np.arange(count - len(kept), count)
        numbers[members] = renumbered[labels]
    return numbers


def _label_box(voxels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Number the components of voxels from 0 by means of an array of the box around them."""
    if len(voxels) == 1:
        return np.zeros(1, np.int64)
    first = voxels.min(axis=0)
    shape = tuple((voxels.max(axis=0) - first + 1).tolist())
    if np.prod(shape, dtype=np.float64) > MOST_BOX_VOXELS:
        raise TooManyComponentsError(f"parts all over a box of {' x '.join(map(str, shape))} voxels")
    box = np.zeros([side + 1 for side in shape], np.bool_)  # cc3d 3.26 raises on a box of one line
    places = tuple((voxels - first).T)
    box[places] = True
    found = _load_library().connected_components(box, connectivity=_NEIGHBOURS)
    return np.asarray(found[places], np.int64) - 1


def _load_library() -> Any:
    try:
        import cc3d
    except ImportError as error:
        raise UsageError(f"the parts of a mask need cc3d: {install_command('volumes')}") from error
    return cc3d
