"""Stacks: the reconstructions that a series holds, told apart by their headers and ranked by a rule.

The rule is that of docs/decisions/0030-reconstructions.md. Names and order of files have no part in it.
"""

import fnmatch
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import make_printable
from noduleclip.importers.slice_columns import (
    ACQUISITION,
    COLUMNS,
    FRAME_OF_REFERENCE,
    IMAGE_TYPE,
    INSTANCE,
    KERNEL,
    ORIENTATION,
    POSITION,
    ROWS,
    SERIES_DESCRIPTION,
    STUDY_UID,
    make_planes,
)
from noduleclip.io.patients import fold_id
from noduleclip.io.slice_plane import PlaneStack

SAME_PLACE_MM: Final = 0.01
"""Slices nearer than this lie at one place."""
_ALIKE_THICKNESS_MM: Final = 0.05
_ALIKE_DIRECTION: Final = 0.01
_PARALLEL: Final = _ALIKE_DIRECTION  # of normals
_ALIKE_SPACING: Final = 1e-3  # relative
_NAMES: Final = (KERNEL, SERIES_DESCRIPTION, schema.SERIES_UID, IMAGE_TYPE)
_OF_STACK: Final = (schema.PATIENT_ID, STUDY_UID, *_NAMES, ROWS, COLUMNS)
_SPARSE: Final = 2.0  # times the thickness: slices that far apart are samples
_PART: Final = 0.5  # of the longest stack
_COMPETES: Final = 0.75  # of the distance of slices


@dataclass(frozen=True)
class Stack:
    """Slices of one reconstruction.

    Attributes:
        frame: Rows of the catalogue, ascending along the normal of the planes, one per place.
        heights_mm: (N,) positions along that normal.
        patient_id: The patient; empty where the headers name none.
        layer: 0, or which one it is of stacks whose headers are alike, in the order of their numbers.
        group: Number of the stacks whose headers are alike, among those made together.
    """

    frame: pl.DataFrame
    heights_mm: NDArray[np.float64]
    patient_id: str
    layer: int = 0
    group: int = 0

    @functools.cached_property
    def first(self) -> dict[str, Any]:
        """The row of its lowest slice."""
        return self.frame.row(0, named=True)

    @functools.cached_property
    def planes(self) -> PlaneStack:
        """Where its slices lie."""
        return PlaneStack(make_planes(self.frame))

    @property
    def thickness_mm(self) -> float:
        """Thickness of its slices; NaN where the header has none, or 0."""
        thickness_mm = self.first[schema.SLICE_THICKNESS]
        return float(thickness_mm) if thickness_mm is not None and thickness_mm > 0 else math.nan

    @property
    def gap_mm(self) -> float:
        """The median distance of neighbouring slices; NaN where there is one slice."""
        return float(np.median(np.diff(self.heights_mm))) if len(self.heights_mm) > 1 else math.nan

    @property
    def length_mm(self) -> float:
        """Distance of the lowest and the highest slice."""
        return float(self.heights_mm[-1] - self.heights_mm[0])

    def matches(self, pattern: str) -> bool:
        """Return whether its Series Instance UID, series description or kernel is of a pattern with * and ?."""
        names = (self.first[name] for name in (schema.SERIES_UID, SERIES_DESCRIPTION, KERNEL))
        return any(match_name(name, pattern) for name in names if name)

    def describe(self) -> str:
        """Return what distinguishes it, for messages: number and thickness of slices, kernel, description."""
        count = len(self.heights_mm)
        parts = [f"{count} slice{'' if count == 1 else 's'}"]
        if math.isfinite(self.thickness_mm):
            parts.append(f"{self.thickness_mm:g} mm")
        parts += [
            make_printable(str(self.first[name]))[:40] for name in (KERNEL, SERIES_DESCRIPTION) if self.first[name]
        ]
        return ", ".join(parts)

    @functools.cached_property
    def normal(self) -> NDArray[np.float64]:
        """(3,) normal of its slices, towards the head."""
        return _find_normal(self.frame)

    def measure_along(self, other: "Stack") -> NDArray[np.float64]:
        """Return (N,) positions of its slices along the normal of another stack, of tilted slices their middles."""
        if self._is_parallel(other):
            return self.heights_mm
        return np.asarray(_find_corners(self.frame).mean(axis=0) @ other.normal, np.float64)

    def competes(self, other: "Stack") -> bool:
        """Return whether it shows the same part of the patient as another stack, and does not only continue it.

        Slices of another tilt do where they reach the slices of this one, be it with a corner.
        """
        gaps_mm = [gap_mm for gap_mm in (self.gap_mm, other.gap_mm) if math.isfinite(gap_mm)]
        least_mm = max(_COMPETES * min(gaps_mm, default=0.0), SAME_PLACE_MM)
        if not self._is_parallel(other):
            corners_mm = _find_corners(other.frame) @ self.normal
            lowest_mm, highest_mm = self.heights_mm[0] - least_mm, self.heights_mm[-1] + least_mm
            return bool(((corners_mm.min(axis=0) < highest_mm) & (corners_mm.max(axis=0) > lowest_mm)).any())
        return bool(measure_distances(self.heights_mm, other.heights_mm).min() < least_mm)

    def _is_parallel(self, other: "Stack") -> bool:
        return bool(np.abs(self.normal - other.normal).max() < _PARALLEL)


def measure_distances(heights_mm: NDArray[np.float64], others_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of each of (N,) heights from the nearest of (M,) others, which ascend."""
    after = np.searchsorted(others_mm, heights_mm)
    below, above = others_mm[np.maximum(after - 1, 0)], others_mm[np.minimum(after, len(others_mm) - 1)]
    return np.minimum(np.abs(heights_mm - below), np.abs(heights_mm - above))


def match_name(name: str, pattern: str) -> bool:
    """Return whether a name is of a pattern with * and ?, in any case."""
    return fnmatch.fnmatchcase(name.strip().casefold(), pattern.strip().casefold())


def rank_stacks(stacks: Sequence[Stack], pattern: str = "") -> list[Stack]:
    """Sort stacks by the rule, the one to use first.

    First those that match the pattern, if any do. Then stacks that run through the scan: of several slices, at least
    half as long as the longest one, without gaps between slices. Of those the one with the thinnest slices, then by
    kernel, series description and Series Instance UID.
    """
    longest_mm = max((stack.length_mm for stack in stacks), default=0.0)

    def order(stack: Stack) -> tuple[Any, ...]:
        thickness_mm = stack.thickness_mm
        sparse = math.isfinite(thickness_mm) and stack.gap_mm > _SPARSE * thickness_mm  # false where the gap is NaN
        sizes = [size for size in (thickness_mm, stack.gap_mm) if math.isfinite(size)]
        names = tuple(str(stack.first[name] or "") for name in _NAMES)
        return (
            bool(pattern) and not stack.matches(pattern),
            len(stack.heights_mm) == 1,
            stack.length_mm < _PART * longest_mm,
            sparse,
            sizes[0] if sizes else math.inf,
            names,
            stack.layer,
            stack.first[schema.SOP_UID] or "",
        )

    return sorted(stacks, key=order)


def make_stacks(slices: pl.DataFrame) -> list[Stack]:
    """Take the slices of one or more series apart into stacks.

    The slices of a stack agree in patient, study, series, frame of reference, kernel, description, image type, matrix,
    spacing, orientation and thickness. Slices that agree and lie at one place, as of the phases of a gated scan, are of
    as many stacks: they are told apart by acquisition number, instance number and SOP Instance UID, in this order.

    Args:
        slices: Rows of a catalogue, in any order.

    Returns:
        The stacks, in any order that depends on the slices only.
    """
    named = {fold_id(name): name for name in slices[schema.PATIENT_ID] if name and name.strip()}
    only = next(iter(named.values())) if len(named) == 1 else ""
    found: list[Stack] = []
    for group, frame in enumerate(_group(slices)):
        patient_id = (frame[0, schema.PATIENT_ID] or "").strip() or only
        heights_mm = _measure_heights(frame)
        turns = [
            (-1 if acquisition is None else acquisition, -1 if instance is None else instance, sop_uid or "")
            for acquisition, instance, sop_uid in frame.select(ACQUISITION, INSTANCE, schema.SOP_UID).iter_rows()
        ]
        order = sorted(range(frame.height), key=lambda at: (heights_mm[at], *turns[at]))
        for layer, rows in enumerate(_split_layers(order, heights_mm, turns)):
            found.append(Stack(frame[rows], heights_mm[rows], patient_id, layer, group))
    return found


def _group(slices: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the slices whose headers agree, in an order that the headers determine."""
    numbers = _cluster(slices)
    # A frame of reference of one slice only says that each file was given its own.
    of_frame = pl.when(pl.len().over(FRAME_OF_REFERENCE) > 1).then(FRAME_OF_REFERENCE).alias(FRAME_OF_REFERENCE)
    texts_of = slices.select(*_OF_STACK, of_frame)
    if not any(numbers) and texts_of.n_unique() == 1:
        yield slices
        return
    by_key: dict[tuple[Any, ...], list[int]] = {}
    for row, (alike, values) in enumerate(zip(numbers, texts_of.iter_rows(), strict=True)):
        patient_id, *texts = (str("" if value is None else value).strip() for value in values)
        by_key.setdefault((fold_id(patient_id), *texts, alike), []).append(row)
    for key in sorted(by_key):
        yield slices[by_key[key]]


def _cluster(slices: pl.DataFrame) -> list[int]:
    """Number slices by orientation, spacing and thickness; numbers that differ by rounding only count as one."""
    columns = (*ORIENTATION, schema.SPACING_ROW, schema.SPACING_COL, schema.SLICE_THICKNESS)
    values = slices.select(columns).to_numpy()
    spacings_mm, thickness_mm = values[:, 6:8], np.nan_to_num(values[:, 8:], nan=-1.0)
    scaled = np.hstack(
        [
            values[:, :6] / _ALIKE_DIRECTION,
            np.log(np.maximum(spacings_mm, 1e-9)) / _ALIKE_SPACING,
            thickness_mm / _ALIKE_THICKNESS_MM,
        ]
    )
    if np.ptp(scaled, axis=0).max() <= 1:
        return [0] * slices.height
    different, which = np.unique(scaled, axis=0, return_inverse=True)
    leaders: list[NDArray[np.float64]] = []
    numbers = []
    for values in different:
        near = (at for at, leader in enumerate(leaders) if np.abs(values - leader).max() <= 1)
        number = next(near, len(leaders))
        if number == len(leaders):
            leaders.append(values)
        numbers.append(number)
    return [numbers[at] for at in which.ravel().tolist()]


def _measure_heights(frame: pl.DataFrame) -> NDArray[np.float64]:
    """Return (N,) positions along the normal of the slices."""
    return np.asarray(frame.select(POSITION).to_numpy() @ _find_normal(frame), np.float64)


def _find_normal(frame: pl.DataFrame) -> NDArray[np.float64]:
    """Return the (3,) normal of the slices of a stack, which points to the head."""
    along_row, along_column = np.median(frame.select(ORIENTATION).to_numpy(), axis=0).reshape(2, 3)
    normal = np.cross(along_row, along_column)
    normal /= np.linalg.norm(normal)
    return np.asarray(normal * (1 if normal[2] >= 0 else -1), np.float64)


def _find_corners(frame: pl.DataFrame) -> NDArray[np.float64]:
    """Return the (4, N, 3) corners of slices, LPS, in mm."""
    row_mm, column_mm, rows, columns = frame.select(schema.SPACING_ROW, schema.SPACING_COL, ROWS, COLUMNS).to_numpy().T
    axes, first = frame.select(ORIENTATION).to_numpy(), frame.select(POSITION).to_numpy()
    along_row = ((columns - 1) * column_mm)[:, None] * axes[:, :3]
    along_column = ((rows - 1) * row_mm)[:, None] * axes[:, 3:]
    return np.array([first, first + along_row, first + along_column, first + along_row + along_column])


def _split_layers(
    order: Sequence[int], heights_mm: NDArray[np.float64], turns: Sequence[tuple[Any, ...]]
) -> list[list[int]]:
    """Split rows in the order of their heights into layers with one row per place."""
    places: list[list[int]] = []
    for row in order:
        if places and heights_mm[row] - heights_mm[places[-1][0]] <= SAME_PLACE_MM:
            places[-1].append(row)
        else:
            places.append([row])
    layers: list[list[int]] = []
    for place in places:
        for layer, row in enumerate(sorted(place, key=lambda at: turns[at])):
            if layer == len(layers):
                layers.append([])
            layers[layer].append(row)
    return layers
