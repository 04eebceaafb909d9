"""Segmentations and reports of a folder as annotations of the CT series there."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError, SliceError
from noduleclip.importers.annotations import Annotations, Outline, RejectedAnnotation, Sphere
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.dicom_seg import read_segments
from noduleclip.importers.dicom_sr import Report, read_reports, take_estimates
from noduleclip.importers.region_annotations import PlacedReports, choose_kind, place_reports
from noduleclip.importers.segment_annotations import (
    SegmentKey,
    enclose_segment,
    match_reports,
    name_readers,
    outline_segment,
)
from noduleclip.importers.segments import Segment
from noduleclip.importers.series_slices import SeriesSlices
from noduleclip.importers.slice_columns import make_planes
from noduleclip.io.slice_plane import SLACK_MM, SlicePlane

SEGMENTATION: Final = "SEG"
REPORT: Final = "SR"


def load_segments(catalogue: Catalogue, max_pixels: int, on_file: Callable[[], None] = lambda: None) -> Annotations:
    """Load the outlines of the segmentations of a folder, with the ratings of the reports there.

    Raises:
        InputError: There is no segmentation.
    """
    segments, rejected, remarks = _read_segmentations(catalogue, max_pixels, on_file)
    _check_segments(catalogue, segments, rejected, remarks)
    reports, broken = _read_reports(catalogue, on_file, remarks)
    rejected += broken
    matched = _match(segments, reports, remarks)
    outlines: list[Outline] = []
    absent = 0
    for series_uid, here in _by_series(segments, catalogue).items():
        series = catalogue.find_series(series_uid)
        if series is None:
            absent += len(here)
            continue
        names = name_readers(here)
        for segment in here:
            key = (segment.seg_uid, segment.number)
            made = _outline(segment, series, names[key], matched.get(key))
            if isinstance(made, Outline):
                outlines.append(replace(made, series_uid=series_uid))
            else:
                rejected.append(made)
    return _annotate(catalogue, outlines=outlines, rejected=rejected, remarks=remarks, absent=absent)


def _outline(
    segment: Segment, series: SeriesSlices, names: tuple[str, str], report: Report | None
) -> Outline | RejectedAnnotation:
    """Return the outline of a segment: on the slices that it names, else on the reconstruction nearest its masks."""
    mine = series.of_patient(segment.patient_id) or series
    frames = [pl.concat([part.frame for part in parts]) for parts in mine.reconstructions]
    named = {mask.sop_uid for mask in segment.planes}
    if "" in named:
        number = min(
            range(len(frames)), key=lambda at: round(_measure_distance(segment, make_planes(frames[at])) / SLACK_MM)
        )
    else:
        holds_all = (at for at, frame in enumerate(frames) if named <= set(frame[schema.SOP_UID]))
        number = next(holds_all, -1)
    frame = frames[number] if number >= 0 else pl.concat([series.frame, series.shadowed])
    gap_mm = mine.reconstructions[number][0].gap_mm if number >= 0 else series.gap_mm
    sop_uids = frame[schema.SOP_UID].to_list()
    return outline_segment(segment, make_planes(frame), sop_uids, names, report, gap_mm=gap_mm)


def _measure_distance(segment: Segment, planes: Sequence[SlicePlane]) -> float:
    """Return the largest distance in mm of a mask from the slice nearest it."""
    points = [mask.plane.position_mm for mask in segment.planes]
    return max(min(abs(plane.height_mm(point)) for plane in planes) for point in points)


def load_reports(
    catalogue: Catalogue,
    max_pixels: int,
    on_file: Callable[[], None] = lambda: None,
    *,
    use_estimates: bool = False,
    diameter_kind: str = "",
) -> Annotations:
    """Load the diameters and ratings of the reports of a folder, in the middle of their segments or regions.

    Args:
        catalogue: The CT, reports and segmentations of the folder.
        max_pixels: Largest mask.
        on_file: Called after each file.
        use_estimates: Use diameters and ratings that are marked as estimates where there are no others.
        diameter_kind: What the diameters are, whatever the reports say; empty = what they say, and of reports that do
            not say it pylidc's diameter, as in the standardised LIDC annotations.

    Raises:
        InputError: There is no report, or none that says where a nodule is, or their diameters are of several kinds.
    """
    segments, rejected, remarks = _read_segmentations(catalogue, max_pixels, on_file)
    reports, broken = _read_reports(catalogue, on_file, remarks)
    if not reports:
        first = f"; first of {len(broken)} that cannot be used: {broken[0].reason}" if broken else ""
        raise InputError(
            f"{catalogue.root}: no usable report (SR) among {catalogue.others.height} DICOM files that are no CT{first}"
            "; it must lie below the same folder as the CT"
        )
    if use_estimates:
        reports = [take_estimates(report) for report in reports]
    keys = {(segment.seg_uid, segment.number) for segment in segments}
    drawn = [it for it in reports if (it.regions or it.bad_region) and (it.seg_uid, it.segment) not in keys]
    on_regions = {id(report) for report in drawn}
    matched = _match(segments, [report for report in reports if id(report) not in on_regions], remarks)
    if not matched and not drawn:
        raise InputError(
            f"{catalogue.root}: no report says where a nodule is: none of {len(reports)} measurement groups has a "
            f"region, or is on one of the {len(segments)} segments (SEG) that are there, too"
        )
    spheres, refused, unsized = _enclose_segments(segments, matched, catalogue)
    placed = place_reports(drawn, catalogue)
    unusable: Counter[str] = Counter()
    if unsized:
        other = next((f", the first: {report.other_size}" for report in unsized if report.other_size), "")
        unusable[f"reported segments without a diameter in mm{other}"] = len(unsized)
        remarks.append(f"{len(unsized)} reported segments have no diameter in mm and are left out{other}")
    spheres += placed.spheres
    kind, remark = choose_kind(spheres, diameter_kind, catalogue.root)
    return _annotate(
        catalogue,
        spheres=spheres,
        rejected=[*rejected, *broken, *refused, *placed.rejected],
        remarks=[*remarks, *_remark_regions(placed), *remark],
        absent=placed.absent,
        unusable=unusable,
        diameter_kind=kind,
    )


def _enclose_segments(
    segments: Sequence[Segment], matched: Mapping[SegmentKey, Report], catalogue: Catalogue
) -> tuple[list[Sphere], list[RejectedAnnotation], list[Report]]:
    """Return a sphere for each reported segment, those that are refused, and the reports without a diameter."""
    spheres: list[Sphere] = []
    refused: list[RejectedAnnotation] = []
    unsized: list[Report] = []
    for series_uid, here in _by_series(segments, catalogue).items():
        names = name_readers(here)
        for segment in here:
            key = (segment.seg_uid, segment.number)
            if key not in matched:
                continue
            made = enclose_segment(segment, names[key], matched[key])
            if isinstance(made, Sphere):
                spheres.append(replace(made, series_uid=series_uid))
            elif made is None:
                unsized.append(matched[key])
            else:
                refused.append(made)
    return spheres, refused, unsized


def _remark_regions(placed: PlacedReports) -> list[str]:
    """Return a sentence for each kind of diameter that is not a reported one, and for places on several series."""
    remarks = []
    if placed.drawn:
        remarks.append(f"{placed.drawn} diameters are not reported and follow from the regions drawn")
    if placed.estimated:
        remarks.append(
            f"{placed.estimated} diameters are marked as estimates and are not used, so these are points without a "
            "diameter (--estimates uses them)"
        )
    if placed.points > placed.estimated:
        remarks.append(f"{placed.points - placed.estimated} measurement groups have no diameter: points")
    if placed.chosen:
        remarks.append(
            f"{placed.chosen} places in space lie in several series; the one that the report names is used, of several "
            "the first by the rule for series (--series)"
        )
    return remarks


def _annotate(
    catalogue: Catalogue,
    *,
    outlines: Sequence[Outline] = (),
    spheres: Sequence[Sphere] = (),
    rejected: Sequence[RejectedAnnotation],
    remarks: Sequence[str],
    absent: int = 0,
    unusable: Counter[str] | None = None,
    diameter_kind: str | None = None,
) -> Annotations:
    modalities = catalogue.count_modalities()
    counts = Counter({"segmentations": modalities[SEGMENTATION], "reports": modalities[REPORT]})
    return Annotations(
        catalogue.root, outlines, spheres, rejected, counts, remarks, absent=absent, unusable=unusable or Counter(),
        diameter_kind=diameter_kind,
    )  # fmt: skip


def _read_segmentations(
    catalogue: Catalogue, max_pixels: int, on_file: Callable[[], None]
) -> tuple[list[Segment], list[RejectedAnnotation], list[str]]:
    """Read all segmentations of a folder, without anatomy; the last of the results are remarks, a sentence each."""
    segments: list[Segment] = []
    rejected: list[RejectedAnnotation] = []
    for path in catalogue.list_other(SEGMENTATION):
        try:
            segments += read_segments(path, max_pixels)
        except SliceError as error:
            rejected.append(RejectedAnnotation(path, error.code, str(error)))
        on_file()
    anatomy = [segment for segment in segments if segment.is_anatomy]
    remarks = []
    if anatomy:
        first = f"{anatomy[0].label[:40]!r} in {anatomy[0].path}"
        remarks.append(f"{len(anatomy)} segments of lungs and other anatomy are left out, first: {first}")
    return [segment for segment in segments if not segment.is_anatomy], rejected, remarks


def _read_reports(
    catalogue: Catalogue, on_file: Callable[[], None], remarks: list[str]
) -> tuple[list[Report], list[RejectedAnnotation]]:
    """Read all reports of a folder, and add a remark on items that cannot be read."""
    reports: list[Report] = []
    rejected: list[RejectedAnnotation] = []
    for path in catalogue.list_other(REPORT):
        try:
            reports += read_reports(path)
        except SliceError as error:
            rejected.append(RejectedAnnotation(path, error.code, str(error)))
        on_file()
    if malformed := sum(report.malformed for report in reports):
        remarks.append(f"{malformed} items of reports are malformed and are left out")
    return reports, rejected


def _check_segments(
    catalogue: Catalogue, segments: Sequence[Segment], rejected: Sequence[RejectedAnnotation], remarks: Sequence[str]
) -> None:
    """Raise where there is no segment of a nodule."""
    if not segments and remarks:
        raise InputError(
            f"{catalogue.root}: no segment is a nodule; found: {remarks[0]}; a nodule has it in its name, or the "
            "property type Nodule"
        )
    if not segments:
        raise InputError(
            f"{catalogue.root}: no usable segmentation (SEG) among {catalogue.others.height} DICOM files that are no "
            f"CT{f'; {rejected[0].reason}' if rejected else ''}; it must lie below the same folder as the CT"
        )


def _match(segments: Sequence[Segment], reports: Sequence[Report], remarks: list[str]) -> dict[SegmentKey, Report]:
    """Match reports with segments, and add a remark on each kind of those that do not match."""
    matched = match_reports(segments, reports)
    if matched.unmatched:
        remarks.append(f"{matched.unmatched} measurement groups are on segments that are not here")
    if matched.ambiguous:
        remarks.append(
            f"{matched.ambiguous} measurement groups have another diameter than an earlier one, which is used"
        )
    if reports and len(matched.found) < len(segments):
        remarks.append(
            f"{len(segments) - len(matched.found)} of {len(segments)} segments have no report, so no ratings"
        )
    return matched.found


def _by_series(segments: Sequence[Segment], catalogue: Catalogue) -> dict[str, list[Segment]]:
    """Group segments by the series that they name, else by that of the first slice that they were drawn on."""
    found: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        series_uid = segment.series_uid
        if not series_uid:
            slices = (catalogue.find_sop(mask.sop_uid) for mask in segment.planes if mask.sop_uid)
            series_uid = next((str(row[schema.SERIES_UID]) for row in slices if row is not None), "")
        found[series_uid].append(segment)
    return dict(sorted(found.items()))
