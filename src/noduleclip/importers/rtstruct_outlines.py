"""ROIs of RT Structure Sets as outlines on the slices of their CT."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import RejectCode
from noduleclip.importers.annotations import Contour, Outline, RejectedAnnotation
from noduleclip.importers.diameters import holds
from noduleclip.importers.rtstruct import PatientCurve, Roi, StructureSet
from noduleclip.importers.series_slices import SeriesSlices
from noduleclip.importers.slice_columns import make_planes
from noduleclip.io.slice_plane import SLACK_MM, SlicePlane, find_nearest

_SAME_MM: Final = 0.01
_MOST_LOOPS: Final = 500  # of a ROI on a slice


def outline_roi(
    structures: StructureSet, roi: Roi, series: SeriesSlices, named: Mapping[str, SlicePlane]
) -> Outline | RejectedAnnotation:
    """Return the outline of a ROI on the slices of its series.

    A curve inside another one of the same slice is a hole, one inside a hole is not; a curve that leads through a hole
    by a slit is the outer curve and the hole.

    Args:
        structures: The file.
        roi: A ROI with curves.
        series: The slices.
        named: Planes of the slices that its curves name, as far as they are here.

    Returns:
        The outline, in pixels of the slices, or why there is none.
    """
    where = f"{structures.path}: ROI {roi.number} {roi.name[:40]!r}"
    mine = series.of_patient(structures.patient_id)
    if mine is None:
        reason = f"{where}: its series has slices of {len(series.patients)} patients; take them apart"
        return RejectedAnnotation(structures.path, RejectCode.NO_SLICE, reason)
    sop_uids: list[str] = mine.frame[schema.SOP_UID].to_list()
    planes = dict(zip(sop_uids, make_planes(mine.frame), strict=True)) | dict(named)
    on_slice: dict[str, list[tuple[float, NDArray[np.float64]]]] = defaultdict(list)
    for curve in roi.curves:
        sop_uid = _find_slice(curve, mine.planes, sop_uids, named)
        if sop_uid is None:
            x, y, z = curve.points_mm.mean(axis=0)
            reason = f"{where}: its contour at ({x:g}, {y:g}, {z:g}) mm lies in no slice of its series"
            return RejectedAnnotation(structures.path, RejectCode.OUTSIDE, reason)
        plane = planes[sop_uid]
        height_mm = abs(plane.height_mm(curve.points_mm[0].tolist()))
        on_slice[sop_uid].append((height_mm, plane.to_pixels(curve.points_mm)))
    contours: list[Contour] = []
    for sop_uid, curves in on_slice.items():
        nearest_mm = min(height_mm for height_mm, _ in curves)  # of curves between slices those nearest the slice
        chosen = [points_px for height_mm, points_px in curves if height_mm <= nearest_mm + SLACK_MM]
        loops = [loop for points_px in chosen for loop in split_loops(points_px, planes[sop_uid].spacing_yx_mm)]
        if len(loops) > _MOST_LOOPS:
            reason = f"{where}: has {len(loops):,} contours on one slice, at most {_MOST_LOOPS} are read"
            return RejectedAnnotation(structures.path, RejectCode.TOO_LARGE, reason)
        contours += nest_loops(loops, sop_uid, planes[sop_uid].position_mm[2])
    if not contours:
        reason = f"{where}: its contours enclose nothing"
        return RejectedAnnotation(structures.path, RejectCode.NO_DIAMETER, reason)
    return Outline(
        series_uid=structures.series_uid,
        reader="",
        name=f"ROI {roi.number} {roi.name[:40]!r} of {structures.path.name}",
        contours=tuple(contours),
        patient_id=structures.patient_id,
    )


def split_loops(points_px: NDArray[np.float64], spacing_yx_mm: tuple[float, float]) -> list[NDArray[np.float64]]:
    """Split a curve where it comes back to one of its vertices, as at both ends of the slit to a hole.

    Returns:
        The curves of at least three vertices.
    """
    steps = np.array(spacing_yx_mm[::-1]) / _SAME_MM
    keys: list[tuple[int, int]] = [(x, y) for x, y in np.rint(points_px * steps).astype(np.int64).tolist()]
    loops: list[list[int]] = []
    path: list[int] = []
    at: dict[tuple[int, int], int] = {}
    for number, key in enumerate(keys):
        if key in at:
            start = at[key]
            loops.append(path[start:])
            for gone in path[start + 1 :]:
                del at[keys[gone]]
            del path[start + 1 :]
        else:
            at[key] = len(path)
            path.append(number)
    return [points_px[loop] for loop in (*loops, path) if len(loop) > 2]


def nest_loops(loops: Sequence[NDArray[np.float64]], sop_uid: str, z_mm: float) -> list[Contour]:
    """Return the loops of a slice as contours: those in an odd number of others bound holes; equal ones count once."""
    distinct: dict[bytes, Contour] = {}
    for loop in loops:
        key = np.sort(np.rint(loop * 1000), axis=0).tobytes()
        distinct.setdefault(key, Contour(loop, z_mm, sop_uid))
    contours = list(distinct.values())
    boxes = np.array([(*loop.points_px.min(axis=0), *loop.points_px.max(axis=0)) for loop in contours])
    nested = []
    for number, contour in enumerate(contours):
        starts_before = (boxes[:, :2] <= boxes[number, :2]).all(axis=1)
        ends_behind = (boxes[:, 2:] >= boxes[number, 2:]).all(axis=1)
        around = [other for other in np.flatnonzero(starts_before & ends_behind).tolist() if other != number]
        depth = sum(holds(contours[other], contour) for other in around)
        nested.append(Contour(contour.points_px, z_mm, sop_uid, includes=depth % 2 == 0))
    return nested


def _find_slice(
    curve: PatientCurve, planes: Sequence[SlicePlane], sop_uids: Sequence[str], named: Mapping[str, SlicePlane]
) -> str | None:
    """Return the slice that a curve lies in: the one that it names, else the nearest; None where there is none."""
    plane = named.get(curve.sop_uid)
    if plane is not None and _measure_heights(curve, plane).max() <= SLACK_MM:
        return curve.sop_uid
    number = find_nearest(planes, curve.points_mm.mean(axis=0).tolist())
    if number is None:
        return None
    is_flat = np.ptp((curve.points_mm - np.array(planes[number].position_mm)) @ planes[number].axes[2]) <= 2 * SLACK_MM
    return sop_uids[number] if is_flat else None


def _measure_heights(curve: PatientCurve, plane: SlicePlane) -> NDArray[np.float64]:
    return np.asarray(np.abs((curve.points_mm - np.array(plane.position_mm)) @ plane.axes[2]), np.float64)
