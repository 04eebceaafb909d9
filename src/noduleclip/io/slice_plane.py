"""Geometry of slices: conversion between pixels and patient coordinates, and the slice nearest a point."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SLACK_MM: Final = 0.1
"""Tolerance for rounding in headers and tables."""
_AS_NEAR_MM: Final = 1e-9


@dataclass(frozen=True)
class SlicePlane:
    """The geometry of one slice.

    Attributes:
        position_mm: (x, y, z) of the middle of the first pixel, LPS.
        orientation: Directions of a row and of a column, LPS, six numbers.
        spacing_yx_mm: Distance of rows, then of columns.
        shape_yx: Rows and columns.
    """

    position_mm: tuple[float, float, float]
    orientation: tuple[float, ...]
    spacing_yx_mm: tuple[float, float]
    shape_yx: tuple[int, int]

    @functools.cached_property
    def axes(self) -> NDArray[np.float64]:
        """(3, 3) unit vectors, one a row: along a row, along a column, across the plane."""
        along_row, along_column = np.array(self.orientation, np.float64).reshape(2, 3)
        across = np.cross(along_row, along_column)
        axes = np.array([along_row, along_column, across])
        return np.asarray(axes / np.linalg.norm(axes, axis=1, keepdims=True), np.float64)

    def to_patient(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (V, 3) places in mm, LPS, of (V, 2) points (x, y) in pixels.

        Source:
            DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1.
        """
        steps_mm = points_px * np.array(self.spacing_yx_mm[::-1])
        return np.asarray(np.array(self.position_mm) + steps_mm @ self.axes[:2], np.float64)

    def to_pixels(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (V, 2) points (x, y) in pixels of (V, 3) places in mm, LPS, seen along the plane's normal."""
        steps_mm = (points_mm - np.array(self.position_mm)) @ self.axes[:2].T
        return np.asarray(steps_mm / np.array(self.spacing_yx_mm[::-1]), np.float64)

    def height_mm(self, point_mm: Sequence[float]) -> float:
        """Return the distance of a point above the plane, along its normal; negative below."""
        return float((np.array(point_mm) - np.array(self.position_mm)) @ self.axes[2])

    def holds(self, point_px: Sequence[float]) -> bool:
        """Return whether a point (x, y) lies on a pixel of the slice."""
        x, y = point_px
        return bool(-0.5 <= x <= self.shape_yx[1] - 0.5 and -0.5 <= y <= self.shape_yx[0] - 0.5)


class PlaneStack:
    """The planes of some slices, for many lookups."""

    def __init__(self, planes: Sequence[SlicePlane]) -> None:
        """Take the slices of one series, in any order."""
        self._origins_mm = np.array([plane.position_mm for plane in planes], np.float64).reshape(-1, 3)
        self._normals = np.array([plane.axes[2] for plane in planes], np.float64).reshape(-1, 3)

    def find_nearest(self, point_mm: Sequence[float], thickness_mm: float = 0.0) -> int | None:
        """Find the slice that contains a point.

        Args:
            point_mm: (x, y, z), LPS.
            thickness_mm: How thick the slices are; 0 where it is not known.

        Returns:
            The index of the nearest slice, of two as near the lower; None where it is farther away than the slice
            reaches: there the series has a gap, or has ended. A slice reaches half its thickness to each side, no
            farther than half the median distance of slices, but always half the smallest.
        """
        if not len(self._origins_mm):
            return None
        away_mm = np.abs(((np.array(point_mm) - self._origins_mm) * self._normals).sum(axis=1))
        nearest = int(np.argmax(away_mm <= away_mm.min() + _AS_NEAR_MM))
        across = np.sort(self._origins_mm @ self._normals[nearest])
        gaps_mm = np.diff(across)
        gaps_mm = gaps_mm[gaps_mm > SLACK_MM]
        reach_mm = thickness_mm / 2
        if len(gaps_mm):
            reach_mm = max(float(gaps_mm.min()), min(float(np.median(gaps_mm)), thickness_mm)) / 2
        return nearest if away_mm[nearest] <= reach_mm + SLACK_MM else None


def find_nearest(planes: Sequence[SlicePlane], point_mm: Sequence[float], thickness_mm: float = 0.0) -> int | None:
    """Find the slice that contains a point, once; see `PlaneStack.find_nearest`."""
    return PlaneStack(planes).find_nearest(point_mm, thickness_mm)
