"""The slices of one series: the reconstruction that places lie on, and the others."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip.importers.slice_columns import POSITION, make_planes
from noduleclip.importers.stacks import Stack, make_stacks, rank_stacks
from noduleclip.io.patients import fold_id
from noduleclip.io.slice_plane import SLACK_MM, SlicePlane


@dataclass(frozen=True)
class SeriesSlices:
    """The slices of one series, upwards.

    Attributes:
        frame: Rows of the catalogue, ascending along the normal of the planes: the stack that is used, and those that
            continue it above, below or in its gaps.
        heights_mm: (N,) positions along that normal.
        parts: The stacks in `frame`, the one that the rule chose first.
        others: Stacks that show the same part of the patient, in the order of the rule. Only annotations that name
            their slice lie on them.
        shadowed: Rows of the stacks in `others`.
        patients: The patients that the headers of all slices name, sorted.
        clear_patient: Of several patients the one that alone has a stack of the pattern; else empty.
    """

    frame: pl.DataFrame
    heights_mm: NDArray[np.float64]
    parts: tuple[Stack, ...]
    others: tuple[Stack, ...]
    shadowed: pl.DataFrame
    patients: Sequence[str]
    clear_patient: str = ""

    @property
    def gap_mm(self) -> float:
        """The median distance of neighbouring slices; NaN where there is one slice."""
        gaps_mm = np.diff(self.heights_mm)
        return float(np.median(gaps_mm)) if len(gaps_mm) else math.nan

    @property
    def largest_gap_mm(self) -> float:
        """The largest distance of neighbouring slices; NaN where there is one slice."""
        return float(np.diff(self.heights_mm).max()) if len(self.heights_mm) > 1 else math.nan

    @functools.cached_property
    def planes(self) -> tuple[SlicePlane, ...]:
        """Where each slice lies."""
        return make_planes(self.frame)

    @functools.cached_property
    def _numbers(self) -> list[NDArray[np.int64]]:
        """The row in `frame` of each slice of each part."""
        places = np.argsort(_measure_parts(self.parts).argsort(kind="stable"))
        return np.split(places, np.cumsum([len(part.heights_mm) for part in self.parts])[:-1])

    @property
    def reconstructions(self) -> list[tuple[Stack, ...]]:
        """The stacks that an annotation may lie on, as a whole: `parts`, then each of the others."""
        return [self.parts, *((other,) for other in self.others)]

    def list_alternatives(self) -> list[Stack]:
        """Return the other reconstructions of the patient whose slices are used."""
        patient_id = fold_id(self.parts[0].patient_id)
        return [other for other in self.others if fold_id(other.patient_id) == patient_id]

    def matches(self, pattern: str) -> bool:
        """Return whether the reconstruction that is used matches a pattern."""
        return self.parts[0].matches(pattern)

    def of_patient(self, patient_id: str) -> "SeriesSlices | None":
        """Return the slices of one of its patients.

        Args:
            patient_id: The patient, in any case; empty where it is not known. A series with one patient is that
                patient's whatever the name.

        Returns:
            The slices; None where the series has several patients and it is not clear which one is meant.
        """
        if len(self.patients) < 2:
            return self
        folded = fold_id(patient_id or self.clear_patient)
        mine = [stack for stack in (*self.parts, *self.others) if folded and fold_id(stack.patient_id) == folded]
        return arrange_stacks(mine) if mine else None

    def find_nearest(self, point_mm: Sequence[float]) -> int | None:
        """Find the slice that contains a point (x, y, z), LPS, each part by the thickness of its own slices.

        Returns:
            Its number in `frame`; None where the point lies on no slice.
        """
        nearest = ((at, find_in_stack(part, point_mm)) for at, part in enumerate(self.parts))
        found = [(at, number) for at, number in nearest if number is not None]
        if not found:
            return None
        numbers = [int(self._numbers[at][number]) for at, number in found]
        return min(numbers, key=lambda number: abs(self.planes[number].height_mm(point_mm)))

    def find_height(self, z_mm: float) -> int | None:
        """Find the slice at a height as a table gives it, the z of its first pixel (LPS).

        Returns:
            Its number; None where none lies nearer than half the distance of slices.
        """
        away_mm = np.abs(self.frame[POSITION[2]].to_numpy() - z_mm)
        nearest = int(np.argmin(away_mm))
        reach_mm = (self.gap_mm / 2 if len(away_mm) > 1 else 0.0) + SLACK_MM
        return nearest if away_mm[nearest] <= reach_mm else None


def find_in_stack(stack: Stack, point_mm: Sequence[float]) -> int | None:
    """Find the slice of a stack that contains a point; None where there is none."""
    thickness_mm = stack.thickness_mm
    return stack.planes.find_nearest(point_mm, thickness_mm if math.isfinite(thickness_mm) else 0.0)


def arrange_slices(slices: pl.DataFrame, pattern: str = "") -> SeriesSlices:
    """Choose the reconstruction of a series that places lie on (`stacks.rank_stacks`).

    Args:
        slices: All rows of the series, in any order.
        pattern: Pattern of the Series Instance UID, series description or kernel that is preferred; empty for none.
    """
    return arrange_stacks(rank_stacks(make_stacks(slices), pattern), pattern)


def arrange_stacks(ranked: Sequence[Stack], pattern: str = "") -> SeriesSlices:
    """Join the first of some stacks with those that continue it.

    Args:
        ranked: Stacks in the order of the rule, at least one.
        pattern: Pattern that they were ranked by; empty for none.
    """
    first, *rest = ranked
    parts: list[Stack] = [first]
    others: list[Stack] = []
    for stack in rest:
        is_same = fold_id(stack.patient_id) == fold_id(first.patient_id)
        continues = is_same and not any(stack.competes(part) for part in parts)
        (parts if continues else others).append(stack)
    patients = {fold_id(stack.patient_id): stack.patient_id for stack in ranked if stack.patient_id}
    of_pattern = {fold_id(stack.patient_id) for stack in ranked if pattern and stack.matches(pattern)}
    clear = patients.get(next(iter(of_pattern)), "") if len(of_pattern) == 1 else ""
    heights_mm = _measure_parts(parts)
    order = np.argsort(heights_mm, kind="stable").tolist()
    frame = pl.concat([part.frame for part in parts])
    shadowed = pl.concat([other.frame for other in others]) if others else frame.clear()
    return SeriesSlices(
        frame[order], heights_mm[order], tuple(parts), tuple(others), shadowed, sorted(patients.values()), clear
    )


def _measure_parts(parts: Sequence[Stack]) -> NDArray[np.float64]:
    """Return (N,) positions of the slices of all parts along the normal of the first one."""
    return np.concatenate([part.measure_along(parts[0]) for part in parts])
