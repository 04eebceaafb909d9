"""Voxels of the nodules in a mask: a volume of labels, or of one value and 0."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import RejectCode, SliceError, UsageError
from noduleclip.importers.mask_components import TooManyComponentsError, label_components
from noduleclip.importers.segments import names_anatomy
from noduleclip.io.roi_table import MAX_DIAMETER_MM
from noduleclip.io.volumes.volume import Volume

MOST_VOXELS: Final = 1 << 23
"""Most voxels of the nodules in a mask: a ball of 10 cm has 2 million of 0.6 mm."""
FEW_VOXELS: Final = 3
_MOST_LABELS: Final = 1000
_MANY_LABELS: Final = 20  # more nodules than a mask that they fill has
_MOST_OF_IT: Final = 0.5
_IGNORED: Final = 255
_NOISE: Final = 0.2  # below 0, of probabilities that were resampled
_LARGEST_LABEL: Final = (1 << 31) - 1
_LAYER_BITS: Final = 31  # of a number that is layer and label of a voxel
_LABELS_REMEDY: Final = "name the values that are nodules with --labels"


class Instances(StrEnum):
    """What a nodule is in a mask.

    Attributes:
        AUTO: Components where the nodules have one value, else labels.
        COMPONENTS: A part whose voxels touch, by a side, an edge or a corner.
        LABELS: All voxels of a value.
    """

    AUTO = "auto"
    COMPONENTS = "components"
    LABELS = "labels"


@dataclass(frozen=True)
class MaskRules:
    """Which voxels of a mask are nodules, and how they are told apart.

    Attributes:
        labels: Values of the nodules; empty = all but 0.
        instances: What a nodule is.
        threshold: Voxels of at least this value are the mask; None = its values are labels.
        min_voxels: Smaller nodules are left out.
    """

    labels: tuple[int, ...] = ()
    instances: Instances = Instances.AUTO
    threshold: float | None = None
    min_voxels: int = 1


def parse_labels(text: str) -> tuple[int, ...]:
    """Parse numbers of labels, such as "1,3".

    Raises:
        UsageError: They are none.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() and 0 < int(part) <= _LARGEST_LABEL for part in parts):
        raise UsageError(f"--labels: {text[:80]!r} are no values of a mask; write them as 1,2")
    return tuple(sorted(set(map(int, parts))))


@dataclass(frozen=True)
class Instance:
    """One nodule of a mask.

    Attributes:
        name: Its name in the file, such as "label 3".
        voxels_xyz: (N, 3) columns, rows and slices of the volume, by slice.
    """

    name: str
    voxels_xyz: NDArray[np.int32]


@dataclass(frozen=True)
class MaskInstances:
    """The nodules of a mask.

    Attributes:
        nodules: The nodules, upwards.
        wide: Why parts of the mask are no nodules, a sentence each.
        anatomy: Names of its labels that are lungs and other parts of the body, which are left out.
        left_out: Number of nodules, or of clusters of them, that are smaller than allowed.
    """

    nodules: list[Instance] = field(default_factory=list)
    wide: list[str] = field(default_factory=list)
    anatomy: list[str] = field(default_factory=list)
    left_out: int = 0

    @property
    def few(self) -> int:
        """Number of nodules of fewer than `FEW_VOXELS` voxels."""
        return sum(len(one.voxels_xyz) < FEW_VOXELS for one in self.nodules)


def read_instances(volume: Volume, rules: MaskRules, *, is_one: bool = False) -> MaskInstances:
    """Read the nodules of a mask, one plane of it in memory.

    Args:
        volume: The mask. The labels of each of its layers are labels of their own.
        rules: Which voxels are nodules.
        is_one: Whether the whole mask is one nodule.

    Raises:
        InputError: The file cannot be read; `SliceError` where its values are no labels, or those of noise.
    """
    stored = volume.stored
    names = {(layer << _LAYER_BITS) + label: name for (layer, label), name in stored.segment_names.items()}
    voxels, values = _read_voxels(volume, rules)
    labels = np.unique(values)
    share = len(values) / (math.prod(volume.shape_zyx) * stored.layers)
    _check_labels(labels, share, rules, volume.path)
    anatomy = [] if rules.labels else [label for label in labels.tolist() if names_anatomy(names.get(label, ""))]
    if anatomy:
        kept = ~np.isin(values, anatomy)
        voxels, values, labels = voxels[kept], values[kept], np.setdiff1d(labels, anatomy)
    found = MaskInstances(anatomy=[names[label] for label in anatomy])
    if not len(labels):
        return found
    by_component = rules.instances is Instances.COMPONENTS or (rules.instances is Instances.AUTO and len(labels) == 1)
    if not by_component and not is_one:
        return _sort_out(
            volume, voxels, values, lambda label: names.get(label) or _describe_label(label), found, rules.min_voxels
        )
    if stored.layers > 1:
        voxels = _drop_repeated(voxels, volume.shape_zyx)
    if is_one:
        return _sort_out(volume, voxels, np.zeros(len(voxels), np.int64), lambda _: "the mask", found, 1)
    try:
        numbers = label_components(voxels, rules.min_voxels)
    except TooManyComponentsError as error:
        remedy = f"{_LABELS_REMEDY}, and --min-voxels leaves small parts out"
        raise _reject(volume.path, f"its voxels that are not 0 are in {error}: no mask of nodules", remedy) from None
    return _sort_out(volume, voxels, numbers, lambda number: f"component {number + 1}", found, rules.min_voxels)


def _sort_out(
    volume: Volume,
    voxels: NDArray[np.int32],
    numbers: NDArray[np.int64],
    name: Callable[[int], str],
    found: MaskInstances,
    min_voxels: int,
) -> MaskInstances:
    """Split voxels by number, upwards, and leave out what is too large or too small; -1 is too small already."""
    order = np.lexsort((voxels[:, 0], voxels[:, 1], voxels[:, 2], numbers))
    keys, starts = np.unique(numbers[order], return_index=True)
    parts = dict(zip(keys.tolist(), np.split(voxels[order], starts[1:]), strict=True))
    kept = {key: part for key, part in parts.items() if key >= 0 and len(part) >= min_voxels}
    nodules, wide = [], []
    for key, part in sorted(kept.items(), key=lambda it: it[1][0, ::-1].tolist()):
        sides_mm = (np.ptp(part, axis=0)[:2] + 1) * volume.spacing_xyz_mm[:2]
        if sides_mm.max() <= MAX_DIAMETER_MM + max(volume.spacing_xyz_mm[:2]):
            nodules.append(Instance(name(key), part))
            continue
        width = " x ".join(f"{side:.0f}" for side in sides_mm)
        wide.append(
            f"{volume.path}: {name(key)} is {width} mm wide, a nodule up to {MAX_DIAMETER_MM:g} mm; {_LABELS_REMEDY}, "
            "and --instances components takes the parts of a label for nodules"
        )
    return replace(found, nodules=nodules, wide=wide, left_out=len(parts) - len(kept))


def _read_voxels(volume: Volume, rules: MaskRules) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the (N, 3) voxels of the nodules, as columns, rows and slices, and their layers and labels as one number.

    Voxels that are of several segments are there as many times.
    """
    stored = volume.stored
    width, _, depth = stored.shape_ijk
    places: list[NDArray[np.int32]] = [np.empty((0, 3), np.int32)]
    values: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    total = 0
    for k, plane in stored.read_planes(range(depth)):
        for layer, of_layer in enumerate(plane.reshape(-1, stored.layers).T):
            inside, labels = _select(of_layer, rules, volume.path)
            total += len(inside)
            if total > MOST_VOXELS:
                raise _reject(
                    volume.path, f"over {MOST_VOXELS:,} of its voxels are not 0: no mask of nodules", _LABELS_REMEDY
                )
            if len(inside):
                rows, columns = np.divmod(inside, width)
                places.append(np.column_stack([columns, rows, np.full(len(inside), k)]).astype(np.int32))
                values.append((layer << _LAYER_BITS) + labels)
    return _orient(np.concatenate(places), volume), np.concatenate(values)


def _orient(voxels_ijk: NDArray[np.int32], volume: Volume) -> NDArray[np.int32]:
    """Return voxels as columns, rows and slices of those as stored."""
    voxels_xyz = voxels_ijk[:, volume.axes]
    for here, (axis, flips) in enumerate(zip(volume.axes, volume.flipped, strict=True)):
        if flips:
            voxels_xyz[:, here] = volume.stored.shape_ijk[axis] - 1 - voxels_xyz[:, here]
    return voxels_xyz


def _select(plane: NDArray[np.generic], rules: MaskRules, path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of a plane's voxels that are nodules, and their values."""
    if plane.dtype.kind not in "buif":
        raise _reject(path, f"its values are of type {plane.dtype}", "write it with whole numbers")
    if plane.dtype.kind == "f" and not np.isfinite(plane).all():
        raise _reject(path, "has values that are no numbers (NaN)", "write it with whole numbers, 0 outside nodules")
    if rules.threshold is not None:
        inside = np.flatnonzero(np.greater_equal(plane, rules.threshold)).astype(np.int64)
        return inside, np.ones(len(inside), np.int64)
    inside = np.flatnonzero(plane).astype(np.int64)
    found = plane[inside].astype(np.float64) if plane.dtype.kind == "f" else plane[inside].astype(np.int64)
    odd = found[found != np.rint(found)]
    if len(found) and found.min() < (-_NOISE if odd.size else 0):
        fact = f"has values from {found.min():g} to {found.max():g}: an image, or labels below 0"
        raise _reject(path, fact, "labels are whole numbers from 1; name the folder of the masks")
    if odd.size:
        fact = f"has fractional values, such as {odd.max():.3g}: probabilities, or a mask that was interpolated"
        raise _reject(path, fact, "pass --threshold 0.5 for the voxels from 0.5, or resample by nearest neighbour")
    if len(found) and found.max() > _LARGEST_LABEL:
        raise _reject(path, f"has values up to {found.max():g}", "labels are whole numbers from 1")
    labels = found.astype(np.int64)
    if rules.labels:
        chosen = np.isin(labels, rules.labels)
        return inside[chosen], labels[chosen]
    return inside, labels


def _drop_repeated(voxels_xyz: NDArray[np.int32], shape_zyx: tuple[int, int, int]) -> NDArray[np.int32]:
    """Return voxels, each once."""
    found = np.unique(np.ravel_multi_index(tuple(voxels_xyz.T), shape_zyx[::-1]))
    return np.column_stack(np.unravel_index(found, shape_zyx[::-1])).astype(np.int32)


def _describe_label(number: int) -> str:
    layer, label = divmod(number, 1 << _LAYER_BITS)
    return f"label {label} of layer {layer}" if layer else f"label {label}"


def _check_labels(numbers: NDArray[np.int64], share: float, rules: MaskRules, path: Path) -> None:
    """Check the labels of a mask, whose voxels that are not 0 are a share of all."""
    labels = np.unique(numbers % (1 << _LAYER_BITS))
    if len(numbers) > _MOST_LABELS:
        raise _reject(path, f"has {len(numbers):,} values: an image, no mask", "name the folder of the masks")
    if len(labels) > _MANY_LABELS and share > _MOST_OF_IT:
        fact = f"{share:.0%} of its voxels are not 0, of {len(labels)} values: an image, no mask"
        raise _reject(path, fact, "name the folder of the masks")
    others = labels[labels != _IGNORED]
    if not rules.labels and len(others) and len(labels) > len(others) and labels[-1] == _IGNORED:
        shown = ",".join(map(str, others[:8].tolist()))
        fact = f"has label {_IGNORED} beside {shown}{',…' if len(others) > 8 else ''}, as of voxels to be ignored"
        raise _reject(path, fact, f"name the values that are nodules, such as --labels {shown}")


def iterate_slices(voxels_xyz: NDArray[np.int32]) -> Iterator[tuple[int, tuple[int, int], NDArray[np.bool_]]]:
    """Yield the slices of a nodule: index, (column, row) of the first pixel of its box, and (Y, X) mask of the box."""
    indices, starts = np.unique(voxels_xyz[:, 2], return_index=True)
    for index, part in zip(indices.tolist(), np.split(voxels_xyz[:, :2], starts[1:]), strict=True):
        left, top = part.min(axis=0).tolist()
        width, height = (np.ptp(part, axis=0) + 1).tolist()
        mask = np.zeros((height, width), np.bool_)
        mask[part[:, 1] - top, part[:, 0] - left] = True
        yield index, (left, top), mask


def _reject(path: Path, fact: str, remedy: str) -> SliceError:
    return SliceError(RejectCode.BAD_MASK, f"{path}: {fact}; {remedy}")
