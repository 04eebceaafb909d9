"""Outlines and spheres from segments and the reports on them."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from noduleclip.errors import RejectCode
from noduleclip.importers.annotations import Contour, Outline, RejectedAnnotation, Sphere
from noduleclip.importers.dicom_sr import Report
from noduleclip.importers.segments import MaskPlane, Segment
from noduleclip.io.roi_table import MAX_DIAMETER_MM
from noduleclip.io.slice_plane import SLACK_MM, SlicePlane, find_nearest

SegmentKey = tuple[str, int]


def name_readers(segments: Sequence[Segment]) -> dict[SegmentKey, tuple[str, str]]:
    """Name the nodule and the reader of each segment of one series.

    The segments of a nodule share its tracking UID, and their readers, who are anonymous, are numbered by label. Where
    no two segments of the series share one, readers are not known, and nodules are found by overlap.

    Returns:
        Nodule and reader by segmentation and segment; both empty where they are not known.
    """
    counts = Counter(segment.tracking_uid for segment in segments if segment.tracking_uid)
    if max(counts.values(), default=0) < 2:
        return {_key(segment): ("", "") for segment in segments}
    numbers: Counter[str] = Counter()
    names = {}
    for segment in sorted(segments, key=lambda it: (it.label, it.seg_uid, it.number)):
        nodule = segment.tracking_uid
        numbers[nodule] += 1
        names[_key(segment)] = (nodule, str(numbers[nodule])) if nodule else ("", "")
    return names


@dataclass(frozen=True)
class MatchedReports:
    """The reports on the segments of a folder.

    Attributes:
        found: By segmentation and segment; of several measurement groups on one segment the diameter and the ratings
            are those of the first group that has them.
        unmatched: Number of groups on segments that are not here.
        ambiguous: Number of groups whose diameter is not that of an earlier group on the same segment.
    """

    found: dict[SegmentKey, Report]
    unmatched: int
    ambiguous: int


def match_reports(segments: Sequence[Segment], reports: Iterable[Report]) -> MatchedReports:
    """Find the reports on each segment: those that refer to it, else those that share its tracking UID alone."""
    known = {_key(segment) for segment in segments}
    by_tracking: dict[str, list[SegmentKey]] = defaultdict(list)
    for segment in segments:
        if segment.tracking_uid:
            by_tracking[segment.tracking_uid].append(_key(segment))
    found: dict[SegmentKey, Report] = {}
    unmatched = ambiguous = 0
    for report in reports:
        key = (report.seg_uid, report.segment)
        alike = by_tracking.get(report.tracking_uid, ())
        if key not in known and not report.seg_uid and len(alike) == 1:
            key = alike[0]
        if key not in known:
            unmatched += 1
        elif key in found:
            sizes_mm = {found[key].size_mm, report.size_mm}
            ambiguous += all(map(math.isfinite, sizes_mm)) and len(sizes_mm) > 1
            found[key] = _merge(found[key], report)
        else:
            found[key] = report
    return MatchedReports(found, unmatched, ambiguous)


def _merge(first: Report, second: Report) -> Report:
    """Return a report with what only the second has."""
    measured = second if math.isnan(first.size_mm) and math.isfinite(second.size_mm) else first
    return replace(
        measured,
        ratings={**second.ratings, **first.ratings},
        other_size=first.other_size or second.other_size,
        malformed=first.malformed + second.malformed,
    )


def outline_segment(
    segment: Segment,
    planes: Sequence[SlicePlane],
    sop_uids: Sequence[str],
    names: tuple[str, str],
    report: Report | None = None,
    *,
    gap_mm: float = math.nan,
) -> Outline | RejectedAnnotation:
    """Return the outline of a segment on the slices of its series.

    Args:
        segment: The segment.
        planes: Slices of its series.
        sop_uids: Their SOP Instance UIDs.
        names: Its nodule and its reader, from `name_readers`.
        report: The report on it, for the ratings.
        gap_mm: Distance of slices, for its volume; NaN where there is none.

    Returns:
        The outline, in pixels of the slices, or why there is none.
    """
    indices = dict(zip(sop_uids, range(len(sop_uids)), strict=True))
    contours: list[Contour] = []
    for mask in segment.planes:
        index = _find_slice(mask, planes, indices)
        if index is None:
            z_mm = mask.plane.position_mm[2]
            reason = (
                f"{segment.path}: segment {segment.number}: its mask at z {z_mm:g} mm lies on no slice of its series"
            )
            return RejectedAnnotation(segment.path, RejectCode.OUTSIDE, reason)
        plane = planes[index]
        contours += [
            Contour(
                plane.to_pixels(mask.plane.to_patient(curve.points_px)),
                plane.position_mm[2],
                sop_uids[index],
                curve.includes,
            )
            for curve in mask.curves
        ]
    nodule_id, reader = names
    return Outline(
        series_uid=segment.series_uid,
        reader=reader,
        name=segment.label or f"segment {segment.number}",
        contours=tuple(contours),
        ratings=report.ratings if report else {},
        patient_id=segment.patient_id,
        nodule_id=nodule_id,
        volume_mm3=_measure_volume(segment, gap_mm),
    )


def _measure_volume(segment: Segment, gap_mm: float) -> float | None:
    """Return the volume of a segment's masks: their pixels times the volume of one."""
    volume_mm3 = gap_mm * sum(mask.area_mm2 for mask in segment.planes)
    return volume_mm3 if math.isfinite(volume_mm3) and volume_mm3 > 0 else None


def enclose_segment(segment: Segment, names: tuple[str, str], report: Report) -> Sphere | RejectedAnnotation | None:
    """Return the centre of a segment with its reported diameter, or why it is refused; None where none is reported."""
    if math.isnan(report.size_mm):
        return None
    if not 0 < report.size_mm <= MAX_DIAMETER_MM:
        reason = (
            f"{report.path}: the diameter of segment {segment.number} of {segment.path} is {report.size_mm:g} mm, "
            f"not in (0, {MAX_DIAMETER_MM:g}] mm"
        )
        return RejectedAnnotation(report.path, RejectCode.NO_DIAMETER, reason)
    x, y, z = find_middle(segment)
    nodule_id, reader = names
    return Sphere(
        series_uid=segment.series_uid,
        center_mm=(x, y, z),
        diameter_mm=report.size_mm,
        reader=reader,
        name=segment.label or f"segment {segment.number}",
        ratings=report.ratings,
        patient_id=segment.patient_id,
        nodule_id=nodule_id,
        diameter_kind=report.diameter_kind,
    )


def find_middle(segment: Segment) -> tuple[float, float, float]:
    """Return the centre of a segment's masks, (x, y, z) in mm, LPS; all its slices weigh by their area."""
    sums, total = np.zeros(3), 0.0
    for mask in segment.planes:
        for curve in mask.curves:
            x, y = (curve.points_px - curve.points_px[0]).T
            cross = x * np.roll(y, -1) - np.roll(x, -1) * y
            doubled = float(cross.sum())
            inner = np.array([((x + np.roll(x, -1)) @ cross), ((y + np.roll(y, -1)) @ cross)]) / (3 * doubled)
            weight = abs(doubled) / 2 * (1 if curve.includes else -1)
            sums += weight * mask.plane.to_patient((inner + curve.points_px[0])[None])[0]
            total += weight
    x_mm, y_mm, z_mm = sums / total
    return float(x_mm), float(y_mm), float(z_mm)


def _find_slice(mask: MaskPlane, planes: Sequence[SlicePlane], indices: Mapping[str, int]) -> int | None:
    """Return the slice that a mask was drawn on: by its UID, else by its place; None where it lies on none.

    Several slices may lie at one place; the UID tells them apart.
    """
    middle = mask.plane.to_patient(mask.curves[0].points_px.mean(axis=0)[None])[0].tolist()
    index = indices.get(mask.sop_uid)
    if index is not None and abs(planes[index].height_mm(middle)) <= SLACK_MM:
        return index
    nearest = find_nearest(planes, middle)
    if index is None or nearest is None:
        return nearest
    return index if abs(planes[nearest].height_mm(planes[index].position_mm)) <= SLACK_MM else None


def _key(segment: Segment) -> SegmentKey:
    return segment.seg_uid, segment.number
