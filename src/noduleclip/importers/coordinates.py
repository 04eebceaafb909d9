"""Coordinate systems of the places in tables and lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Coordinates(StrEnum):
    """What three numbers of a place mean.

    World coordinates are in mm. In DICOM and ITK their axes point to the patient's left, back and head (LPS); in NIfTI
    to the right, front and head (RAS). The others are in pixels of the image, and their place in the patient is known
    only when its series is found: `VOXEL` counts the voxels of a volume along the axes of its file, the first one
    fastest, or column, row and slice of a DICOM series from its lowest slice upwards; `INSTANCE` has the column and row
    of a DICOM slice, and its InstanceNumber.
    """

    LPS = "lps"
    RAS = "ras"
    VOXEL = "voxel"
    INSTANCE = "instance"

    @property
    def is_in_mm(self) -> bool:
        """Whether these are world coordinates."""
        return self in (Coordinates.LPS, Coordinates.RAS)

    def to_lps(self, point_mm: Sequence[float]) -> tuple[float, float, float]:
        """Return world coordinates as (x, y, z) in DICOM's patient coordinates, LPS."""
        if not self.is_in_mm:
            raise ValueError(f"{self} needs the image")
        x, y, z = point_mm
        return (-x, -y, z) if self is Coordinates.RAS else (x, y, z)


@dataclass(frozen=True)
class PixelPlace:
    """A place in pixels of an image, 0-based; its centre in mm is computed when its series is found.

    Attributes:
        position: Its numbers in the order of `coordinates`.
        coordinates: `VOXEL` or `INSTANCE`.
        sides: Sides of a box along the same axes, in voxels; None for a point.
    """

    position: tuple[float, float, float]
    coordinates: Coordinates
    sides: tuple[float, float, float] | None = None
