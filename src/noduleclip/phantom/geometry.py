"""Geometry of a phantom: voxel grid, nodules, lung, and the appearance of its scan.

Coordinates are millimetres with x along the columns, y along the rows, z along the slices; the origin is the middle of
the first slice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Patch = tuple[tuple[slice, slice, slice], Floats, Floats, Floats]

OUTLINE_ANGLES = 72
LAYERS_PER_SLICE = 3


@dataclass(frozen=True)
class Grid:
    """Positions of the voxels.

    Attributes:
        matrix_px: Rows and columns of a slice.
        spacing_yx_mm: Distance between rows and between columns.
        slices: Number of slices Z.
        thickness_mm: Thickness of a slice, also the distance between slices.
    """

    matrix_px: int
    spacing_yx_mm: tuple[float, float]
    slices: int
    thickness_mm: float

    @property
    def pixel_mm(self) -> float:
        """Mean side of a pixel in mm."""
        return math.sqrt(self.spacing_yx_mm[0] * self.spacing_yx_mm[1])

    @property
    def half_yx_mm(self) -> tuple[float, float]:
        """Half of the field of view, measured to the outermost pixel centres, in mm."""
        half_px = (self.matrix_px - 1) / 2
        return half_px * self.spacing_yx_mm[0], half_px * self.spacing_yx_mm[1]

    @cached_property
    def axes_mm(self) -> tuple[Floats, Floats, Floats]:
        """Axes z (L,), y (Y,) and x (X,) in mm; a slice has `LAYERS_PER_SLICE` of the L layers."""
        offsets = (np.arange(LAYERS_PER_SLICE) + 0.5) / LAYERS_PER_SLICE - 0.5
        z_mm = (np.arange(self.slices)[:, None] + offsets).ravel() * self.thickness_mm
        index = np.arange(self.matrix_px) - (self.matrix_px - 1) / 2
        y_mm, x_mm = index * self.spacing_yx_mm[0], index * self.spacing_yx_mm[1]
        return z_mm.astype(np.float32), y_mm.astype(np.float32), x_mm.astype(np.float32)

    def patch(self, low_mm: Sequence[float], high_mm: Sequence[float]) -> Patch | None:
        """Find the voxels of a box.

        Args:
            low_mm: Lower corner (x, y, z).
            high_mm: Upper corner (x, y, z).

        Returns:
            Index into an (L, Y, X) volume with z (l, 1, 1), y (1, h, 1) and x (1, 1, w) of its voxels;
            None where the box misses the volume.
        """
        z_mm, y_mm, x_mm = self.axes_mm
        cuts = []
        for axis_mm, low, high in zip((z_mm, y_mm, x_mm), low_mm[::-1], high_mm[::-1], strict=True):
            start, stop = np.searchsorted(axis_mm, (low, high))
            if start == stop:
                return None
            cuts.append(slice(int(start), int(stop)))
        cut_z, cut_y, cut_x = cuts
        coordinates = z_mm[cut_z, None, None], y_mm[None, cut_y, None], x_mm[None, None, cut_x]
        return (cut_z, cut_y, cut_x), *coordinates


@dataclass(frozen=True, eq=False)
class Nodule:
    """A star-shaped blob, largest in the plane through its centre.

    Attributes:
        center_mm: (x, y, z).
        radii_mm: (OUTLINE_ANGLES,) radius of that plane's outline at equal angles from the x axis towards y.
        depth_mm: Half of its extent along z.
        hu: Attenuation of its body.
        edge_mm: Width over which the body fades into the lung.
        core_share: Radius of a solid core relative to the outline, 0 for none.
        core_hu: Attenuation of that core.
    """

    center_mm: tuple[float, float, float]
    radii_mm: Floats
    depth_mm: float
    hu: float
    edge_mm: float
    core_share: float = 0.0
    core_hu: float = 40.0

    @property
    def reach_mm(self) -> float:
        """Largest radius of the outline in mm."""
        return float(self.radii_mm.max())

    def scale_at(self, z_mm: float) -> float:
        """Size of the cross section at `z_mm` relative to the largest, 0 beyond the nodule."""
        return math.sqrt(max(0.0, 1 - ((z_mm - self.center_mm[2]) / self.depth_mm) ** 2))


@dataclass(frozen=True)
class Thorax:
    """One lung with the chest wall on its outer side and a mediastinum on the other.

    Attributes:
        semi_axes_mm: Half width and half height of the lung.
        squareness: Exponent of the superellipse that the lung follows.
        waves: Amplitude (relative) and phase of the wobble of order 2, 3, … around the outline.
        bulges_mm: Circles (x, y, radius) of mediastinum that press into the lung.
        drift: Relative growth of the lung along z per mm.
        wall_mm: Thickness of the chest wall.
    """

    semi_axes_mm: tuple[float, float]
    squareness: float
    waves: tuple[tuple[float, float], ...]
    bulges_mm: tuple[tuple[float, float, float], ...]
    drift: float
    wall_mm: float

    def pleura_radius_mm(self, theta: Floats) -> Floats:
        """Distance of the pleura from the origin at angle `theta`, any shape, in mm, at z = 0."""
        half_x, half_y = self.semi_axes_mm
        power = self.squareness
        sum_of_powers = np.abs(np.cos(theta) / half_x) ** power + np.abs(np.sin(theta) / half_y) ** power
        wobble = sum(a * np.cos((order + 2) * theta + phase) for order, (a, phase) in enumerate(self.waves))
        return np.asarray(sum_of_powers ** (-1 / power) * (1 + wobble), np.float32)

    @cached_property
    def _pleura_by_degree_mm(self) -> list[float]:
        return [float(radius) for radius in self.pleura_radius_mm(np.radians(np.arange(360, dtype=np.float32)))]

    def depth_mm(self, x_mm: float, y_mm: float, z_mm: float) -> float:
        """Distance of a point from the nearest wall of the lung in mm, along the radius; negative outside."""
        degree = round(math.degrees(math.atan2(y_mm, x_mm))) % 360
        depth = self._pleura_by_degree_mm[degree] * (1 + self.drift * z_mm) - math.hypot(x_mm, y_mm)
        return min([depth, *(math.hypot(x_mm - x, y_mm - y) - radius for x, y, radius in self.bulges_mm)])


@dataclass(frozen=True)
class ScanAppearance:
    """Tissue and scanner of one scan.

    Attributes:
        lung_hu: Mean attenuation of the parenchyma.
        vessel_hu: Attenuation of blood, higher with contrast medium.
        texture_hu: Standard deviation of the parenchyma's texture.
        noise_hu: Standard deviation of the scanner's noise.
        noise_px: Grain of that noise.
        psf_px: Standard deviation of the scanner's blur.
    """

    lung_hu: float
    vessel_hu: float
    texture_hu: float
    noise_hu: float
    noise_px: float
    psf_px: float
