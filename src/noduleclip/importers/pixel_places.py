"""Places in pixels of their images, in the patient's coordinates."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from noduleclip import schema
from noduleclip.errors import RejectCode
from noduleclip.importers.annotations import RejectedAnnotation, Sphere
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.coordinates import Coordinates, PixelPlace
from noduleclip.importers.series_slices import SeriesSlices
from noduleclip.importers.slice_columns import INSTANCE
from noduleclip.io.roi_table import MAX_DIAMETER_MM
from noduleclip.io.volumes.volume import Volume

_SLACK_PX = 1e-6


@dataclass(frozen=True)
class _Found:
    """A place in the patient.

    Attributes:
        center_mm: (x, y, z), LPS.
        sides_mm: Sides of the box across columns and rows of its slice; None for a point.
        sop_uid: The slice, where the place names it.
    """

    center_mm: tuple[float, float, float]
    sides_mm: tuple[float, float] | None = None
    sop_uid: str = ""


class _NotThereError(Exception):
    """The place lies outside its image."""

    def __init__(self, code: RejectCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def place_in_patient(
    spheres: Sequence[Sphere], catalogue: Catalogue, images: Mapping[str, Volume], source: Path
) -> tuple[list[Sphere], list[RejectedAnnotation]]:
    """Compute the centres of spheres whose places are in pixels.

    A box's diameter is its longer side in the plane of the slices. Spheres of series that are not here stay as they
    are, as do those in mm.

    Args:
        spheres: Spheres with the UIDs of their series.
        catalogue: The slices.
        images: Volumes by series; a place in voxels of a series that is here as DICOM, too, is in those of the volume.
        source: The table, for messages.

    Returns:
        The spheres, and what is no place in its image.
    """
    kept: dict[int, Sphere] = {}  # by their number in `spheres`
    rejected: list[RejectedAnnotation] = []
    by_series: dict[str, list[int]] = defaultdict(list)
    for at, sphere in enumerate(spheres):
        if sphere.pixel_place is None:
            kept[at] = sphere
        else:
            by_series[sphere.series_uid].append(at)
    for series_uid, numbers in by_series.items():
        series = catalogue.find_series(series_uid)
        for at in numbers:
            sphere = spheres[at]
            mine = None if series is None else series.of_patient(sphere.patient_id)
            if mine is None or sphere.pixel_place is None:
                kept[at] = sphere  # of a series that is not here, or of an unclear patient: told when it is placed
                continue
            try:
                kept[at] = _place(sphere, sphere.pixel_place, mine, images.get(series_uid))
            except _NotThereError as error:
                where = f"{source}: series {series_uid}, {sphere.name or 'a nodule'}"
                rejected.append(RejectedAnnotation(source, error.code, f"{where}: {error}"))
    return [kept[at] for at in sorted(kept)], rejected


def _place(sphere: Sphere, place: PixelPlace, series: SeriesSlices, image: Volume | None) -> Sphere:
    if place.coordinates is Coordinates.INSTANCE:
        found = _find_instance(place, series, image)
    else:
        found = _find_voxel_of_slices(place, series) if image is None else _find_voxel(place, image)
    diameter_mm = sphere.diameter_mm
    if diameter_mm is None and found.sides_mm is not None:
        diameter_mm = max(found.sides_mm)
        if not 0 < diameter_mm <= MAX_DIAMETER_MM:
            fact = f"the longer side of its box is {diameter_mm:g} mm, not in (0, {MAX_DIAMETER_MM:g}] mm"
            raise _NotThereError(RejectCode.NO_DIAMETER, fact)
    return replace(
        sphere, center_mm=found.center_mm, diameter_mm=diameter_mm, sop_uid=found.sop_uid or sphere.sop_uid,
        pixel_place=None,
    )  # fmt: skip


def _find_voxel(place: PixelPlace, image: Volume) -> _Found:
    """Find a voxel of a volume, by the axes of its file."""
    _check_inside(place.position, image.stored.shape_ijk, str(image.path))
    sides_mm = None
    if place.sides is not None:
        column_mm, row_mm, _ = image.spacing_xyz_mm
        sides_mm = (place.sides[image.axes[0]] * column_mm, place.sides[image.axes[1]] * row_mm)
    return _Found(image.stored_to_lps(place.position), sides_mm)


def _find_voxel_of_slices(place: PixelPlace, series: SeriesSlices) -> _Found:
    """Find column, row and slice of a DICOM series, between slices by the distance of the two."""
    x, y, height = place.position
    rows, columns = series.planes[0].shape_yx
    _check_inside(place.position, (columns, rows, len(series.planes)), "the series")
    below = min(max(math.floor(height), 0), max(len(series.planes) - 2, 0))
    above = min(below + 1, len(series.planes) - 1)
    low, high = (series.planes[at].to_patient(np.array([[x, y]]))[0] for at in (below, above))
    center = low + (height - below) * (high - low)
    return _Found((float(center[0]), float(center[1]), float(center[2])), _measure_sides(place, series))


def _find_instance(place: PixelPlace, series: SeriesSlices, image: Volume | None) -> _Found:
    """Find column and row of the slice with an InstanceNumber."""
    x, y, number = place.position
    numbered = pl.col(INSTANCE) == number
    found = series.frame.with_row_index(schema.ROW).filter(numbered)
    if found.height == 0 and image is not None:
        fact = f"{image.path} is a volume, whose slices have no InstanceNumber; give its voxels (--coordinates voxel)"
        raise _NotThereError(RejectCode.NO_SLICE, fact)
    if found.height == 0:
        known = series.frame[INSTANCE].drop_nulls()
        held = f"they are {min(known)} to {max(known)}" if known.len() else "its slices have none"
        other = series.shadowed.filter(numbered).height
        advice = "; a reconstruction that is not used has it (--series)" if other else ""
        raise _NotThereError(RejectCode.NO_SLICE, f"no slice has the InstanceNumber {number:g}, {held}{advice}")
    if found.height > 1:
        raise _NotThereError(RejectCode.NO_SLICE, f"{found.height} slices have the InstanceNumber {number:g}")
    plane = series.planes[found[0, schema.ROW]]
    _check_inside((x, y, 0.0), (plane.shape_yx[1], plane.shape_yx[0], 1), "its slice")
    center = plane.to_patient(np.array([[x, y]]))[0]
    sides_mm = _measure_sides(place, series)
    return _Found((float(center[0]), float(center[1]), float(center[2])), sides_mm, found[0, schema.SOP_UID] or "")


def _measure_sides(place: PixelPlace, series: SeriesSlices) -> tuple[float, float] | None:
    if place.sides is None:
        return None
    row_mm, column_mm = series.planes[0].spacing_yx_mm
    return place.sides[0] * column_mm, place.sides[1] * row_mm


def _check_inside(position: Sequence[float], shape: Sequence[int], what: str) -> None:
    """Check that a place lies in a voxel."""
    if all(-0.5 - _SLACK_PX <= part <= side - 0.5 + _SLACK_PX for part, side in zip(position, shape, strict=True)):
        return
    at = ", ".join(f"{part:g}" for part in position)
    raise _NotThereError(
        RejectCode.OUTSIDE, f"({at}) lies outside {what}, which has {' x '.join(map(str, shape))} voxels, from 0"
    )
