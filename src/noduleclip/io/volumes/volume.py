"""A volume in one file: its voxels as stored, and as axial slices in the patient's orientation."""

import abc
import functools
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.config import MAX_SPACING_MM, MIN_SPACING_MM
from noduleclip.errors import InputError
from noduleclip.io.slice_plane import SlicePlane

MOST_SLICES: Final = 10_000
_MOST_VOXELS: Final = 1 << 32
_LARGEST_OFFSET_MM: Final = 1e5
_LARGEST_SKEW: Final = 1e-3
_SMALLEST_VOLUME: Final = 0.1  # of three unit vectors along the axes
AXES: Final = "xyz"
Rescale = tuple[float, float]
"""Slope and intercept: value * slope + intercept = HU."""


@dataclass(frozen=True, kw_only=True)
class StoredVolume(abc.ABC):
    """The checked header of a volume; a subclass for each format reads the voxels.

    Attributes:
        path: The file; of a header apart from its data, the header.
        shape_ijk: Voxels along each axis, the axis that is fastest in the file first.
        affine_lps: (4, 4) from voxel indices (i, j, k), 0-based, to mm in the patient (LPS).
        dtype: Type of the stored values.
        remarks: Oddities of the header, a sentence each.
        layers: Values of each voxel; of several each is a label of its own, of segments that may overlap.
        segment_names: Names of the segments of label maps, where the file has them, by layer from 0 and label.
    """

    path: Path
    shape_ijk: tuple[int, int, int]
    affine_lps: NDArray[np.float64]
    dtype: np.dtype[np.generic]
    remarks: tuple[str, ...] = ()
    layers: int = 1
    segment_names: Mapping[tuple[int, int], str] = field(default_factory=dict)

    @property
    def is_sequential(self) -> bool:
        """Whether a plane is reached through all planes before it, as in a compressed file."""
        return False

    @property
    def is_mask(self) -> bool:
        """Whether its values have 8 bits: no CT."""
        return self.dtype.itemsize == 1

    @abc.abstractmethod
    def read_planes(self, wanted: Collection[int]) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Read planes of the slowest axis, in ascending order, one of them in memory.

        Args:
            wanted: Indices k, each within the volume.

        Yields:
            k and its (J, I) values, after the slope and intercept of the file; (J, I, layers) where it has several.

        Raises:
            InputError: The data are missing, cut short or broken.
        """


@dataclass(frozen=True)
class Volume:
    """A volume as axial slices, without resampling.

    Its axes are permuted and flipped so that columns run to the patient's left, rows to the back and slices to the
    head, as nearly as the axes of the file allow.

    Attributes:
        stored: The file.
        axes: Stored axis of x (columns), y (rows) and z (slices).
        flipped: Whether each of them runs against the stored axis.
        rescale: Slope and intercept that make HU of the values, by the user's word; None = they are HU.
    """

    stored: StoredVolume
    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    rescale: Rescale | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self.stored.path

    @functools.cached_property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        x, y, z = (self.stored.shape_ijk[axis] for axis in self.axes)
        return z, y, x

    @functools.cached_property
    def affine_lps(self) -> NDArray[np.float64]:
        """(4, 4) from indices (x, y, z): column, row and slice, 0-based, to mm in the patient (LPS)."""
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for here, (axis, flips) in enumerate(zip(self.axes, self.flipped, strict=True)):
            turn[axis, here] = -1 if flips else 1
            turn[axis, 3] = self.stored.shape_ijk[axis] - 1 if flips else 0
        return np.asarray(self.stored.affine_lps @ turn, np.float64)

    @property
    def spacing_xyz_mm(self) -> tuple[float, float, float]:
        """Distance of columns, of rows and of slices; of oblique slices along the axis, not across the plane."""
        x, y, z = np.linalg.norm(self.affine_lps[:3, :3], axis=0).tolist()
        return x, y, z

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return abs(float(np.linalg.det(self.affine_lps[:3, :3])))

    @property
    def planes(self) -> tuple[SlicePlane, ...]:
        """Where each slice lies; not kept, as those of many volumes take memory."""
        return tuple(map(self.find_plane, range(self.shape_zyx[0])))

    def find_plane(self, index: int) -> SlicePlane:
        """Return where a slice lies."""
        _, rows, columns = self.shape_zyx
        column_mm, row_mm, _ = self.spacing_xyz_mm
        affine = self.affine_lps
        orientation = tuple((affine[:3, :2] / (column_mm, row_mm)).T.ravel().tolist())
        x, y, z = (affine[:3, 3] + index * affine[:3, 2]).tolist()
        return SlicePlane((x, y, z), orientation, (row_mm, column_mm), (rows, columns))

    def stored_to_lps(self, ijk: Sequence[float]) -> tuple[float, float, float]:
        """Return the place in mm (LPS) of a voxel (i, j, k) as the file counts them, 0-based."""
        x, y, z = (self.stored.affine_lps @ np.array([*ijk, 1.0]))[:3].tolist()
        return x, y, z

    def read_slices(self, wanted: Collection[int], *, sort: bool = True) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Read some slices.

        Where slices are not planes of the file, all of its planes are read, and the wanted slices are in memory; where
        they are planes in descending order, only if they are sorted.

        Args:
            wanted: Indices of slices, 0-based, each within the volume.
            sort: Read them in ascending order, instead of that of the file.

        Yields:
            The index of a slice and its (Y, X) values.

        Raises:
            InputError: The data are missing, cut short or broken, or have layers: they are masks.
        """
        if self.stored.layers > 1:
            raise InputError(f"{self.path}: has {self.stored.layers} layers of segments: a mask, no CT")
        chosen = sorted(set(wanted))
        if not chosen:
            return
        if self.axes[2] == 2:
            last = self.shape_zyx[0] - 1
            of_plane = {last - index if self.flipped[2] else index: index for index in chosen}
            read = ((of_plane[k], self._turn(plane)) for k, plane in self.stored.read_planes(of_plane))
            yield from sorted(read, key=lambda it: it[0]) if sort and self.flipped[2] else read
            return
        yield from zip(chosen, self._gather(chosen), strict=True)

    def _turn(self, plane: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return a (J, I) plane of the file as a slice (Y, X)."""
        turned = plane if self.axes[0] == 0 else plane.T
        return turned[:: -1 if self.flipped[1] else 1, :: -1 if self.flipped[0] else 1]

    def _gather(self, chosen: Sequence[int]) -> NDArray[np.generic]:
        """Return (N, Y, X) slices across the planes of the file."""
        across = self.axes[2]  # 0 or 1 here: an axis within the planes
        places = np.array(chosen)
        if self.flipped[2]:
            places = self.stored.shape_ijk[across] - 1 - places
        other = next(axis for axis in self.axes if axis not in (across, 2))
        found: NDArray[np.generic] | None = None
        for k, plane in self.stored.read_planes(range(self.stored.shape_ijk[2])):
            lines = plane[:, places].T if across == 0 else plane[places]  # (N, length of `other`)
            if found is None:
                found = np.empty((len(chosen), self.stored.shape_ijk[2], self.stored.shape_ijk[other]), plane.dtype)
            found[:, k] = lines
        assert found is not None, "a volume has a plane"
        slow_is_y = self.axes[1] == 2
        slices = found if slow_is_y else found.transpose(0, 2, 1)
        return slices[:, :: -1 if self.flipped[1] else 1, :: -1 if self.flipped[0] else 1]


def orient(stored: StoredVolume, max_pixels: int, rescale: Rescale | None = None) -> Volume:
    """Return a stored volume as axial slices.

    Args:
        stored: The volume.
        max_pixels: Largest slice, in pixels.
        rescale: Slope and intercept that make HU of its values; None = they are HU.

    Raises:
        InputError: Its affine is no place in a patient, its axes are not at right angles, or it is too large.
    """
    _check_geometry(stored)
    directions = stored.affine_lps[:3, :3] / np.linalg.norm(stored.affine_lps[:3, :3], axis=0)
    axes = max(
        itertools.permutations(range(3)),
        key=lambda order: sum(abs(directions[world, axis]) for world, axis in enumerate(order)),
    )
    flipped = [bool(directions[world, axis] < 0) for world, axis in enumerate(axes)]
    volume = Volume(stored, (axes[0], axes[1], axes[2]), (flipped[0], flipped[1], flipped[2]), rescale)
    slices, rows, columns = volume.shape_zyx
    plane = stored.shape_ijk[0] * stored.shape_ijk[1] * stored.layers
    voxels = slices * rows * columns * stored.layers
    if max(rows * columns, plane) > max_pixels or slices > MOST_SLICES or voxels > _MOST_VOXELS:
        layers = f" in {stored.layers} layers" if stored.layers > 1 else ""
        raise InputError(
            f"{stored.path}: has {slices} slices of {rows} x {columns} pixels{layers}; slices have up to {max_pixels} "
            f"pixels (--max-pixels), and a series up to {MOST_SLICES} of them and {_MOST_VOXELS:,} voxels"
        )
    skew = float(directions[:, axes[0]] @ directions[:, axes[1]])
    if abs(skew) > _LARGEST_SKEW:
        raise InputError(f"{stored.path}: the axes of its slices are not at right angles (cosine {skew:.3g})")
    return volume


def _check_geometry(stored: StoredVolume) -> None:
    """Check that an affine is finite, with distances of voxels as in CT, and not singular."""
    affine = stored.affine_lps
    if min(stored.shape_ijk) < 1:
        raise InputError(f"{stored.path}: has {' x '.join(map(str, stored.shape_ijk))} voxels")
    if not np.isfinite(affine).all():
        raise InputError(f"{stored.path}: its affine has values that are no numbers: where it lies is not known")
    with np.errstate(over="ignore"):
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not ((spacing >= MIN_SPACING_MM) & (spacing <= MAX_SPACING_MM)).all():
        found = " x ".join(f"{side:g}" for side in spacing)
        raise InputError(
            f"{stored.path}: its voxels are {found} mm, where sides in [{MIN_SPACING_MM:g}, {MAX_SPACING_MM:g}] mm are "
            "needed"
        )
    if np.abs(affine[:3, 3]).max() > _LARGEST_OFFSET_MM:
        raise InputError(f"{stored.path}: its origin is no place in mm")
    first, second, third = (affine[:3, :3] / spacing).T
    if abs(float(np.cross(first, second) @ third)) < _SMALLEST_VOLUME:
        raise InputError(f"{stored.path}: its axes lie nearly in one plane")


def to_int16(values: NDArray[np.generic], rescale: Rescale | None = None) -> NDArray[np.int16]:
    """Return values as Hounsfield units in 16 bits, rounded and clipped; what is no number is air.

    Args:
        values: Values of any type.
        rescale: Slope and intercept to apply; None = they are HU.
    """
    slope, intercept = rescale or (1.0, 0.0)
    if (slope, intercept) == (1.0, 0.0) and values.dtype.kind in "iu":
        scaled = values
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = np.rint(np.nan_to_num(values.astype(np.float64) * slope + intercept, nan=-1024.0))
    limits = np.iinfo(np.int16)
    return np.asarray(np.clip(scaled, limits.min, limits.max), np.int16)
