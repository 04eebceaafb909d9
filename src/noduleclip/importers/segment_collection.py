"""Segmentations and reports of a folder as annotations of the CT series there."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from noduleclip import schema
from noduleclip.errors import InputError, SliceError
from noduleclip.importers.annotations import Annotations, Outline, RejectedAnnotation, Sphere
from noduleclip.importers.catalogue import Catalogue, make_planes
from noduleclip.importers.dicom_seg import read_segments
from noduleclip.importers.dicom_sr import Report, read_reports
from noduleclip.importers.segment_annotations import (
    SegmentKey,
    enclose_segment,
    match_reports,
    name_readers,
    outline_segment,
)
from noduleclip.importers.segments import Segment

SEGMENTATION: Final = "SEG"
REPORT: Final = "SR"


def load_segments(catalogue: Catalogue, max_pixels: int, on_file: Callable[[], None] = lambda: None) -> Annotations:
    """Load the outlines of the segmentations of a folder, with the ratings of the reports there.

    Raises:
        InputError: There is no segmentation.
    """
    segments, reports, rejected, remarks = _read_files(catalogue, max_pixels, on_file)
    matched = _match(segments, reports, remarks)
    outlines: list[Outline] = []
    absent = 0
    for series_uid, here in _by_series(segments, catalogue).items():
        series = catalogue.find_series(series_uid)
        if series is None:
            absent += len(here)
            continue
        names = name_readers(here)
        sop_uids = [*series.frame[schema.SOP_UID], *series.shadowed[schema.SOP_UID]]
        planes = [*series.planes, *make_planes(series.shadowed)]
        for segment in here:
            key = (segment.seg_uid, segment.number)
            made = outline_segment(segment, planes, sop_uids, names[key], matched.get(key), gap_mm=series.gap_mm)
            if isinstance(made, Outline):
                outlines.append(replace(made, series_uid=series_uid))
            else:
                rejected.append(made)
    return _annotate(catalogue, outlines=outlines, rejected=rejected, remarks=remarks, absent=absent)


def load_reports(catalogue: Catalogue, max_pixels: int, on_file: Callable[[], None] = lambda: None) -> Annotations:
    """Load the diameters and ratings of the reports of a folder, at the centers of the segments that they are on.

    Raises:
        InputError: There is no report, or no segmentation that one refers to.
    """
    segments, reports, rejected, remarks = _read_files(catalogue, max_pixels, on_file)
    matched = _match(segments, reports, remarks)
    if not matched:
        raise InputError(
            f"{catalogue.root}: no report (SR) there is on a segmentation (SEG) that is there, too, and a report alone "
            f"does not say where a nodule is ({len(reports)} measurement groups, {len(segments)} segments)"
        )
    spheres: list[Sphere] = []
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
                rejected.append(made)
    unusable: Counter[str] = Counter()
    if unsized:
        other = next((f", the first: {report.other_size}" for report in unsized if report.other_size), "")
        unusable[f"reported segments without a diameter in mm{other}"] = len(unsized)
        remarks.append(f"{len(unsized)} reported segments have no diameter in mm and are left out{other}")
    return _annotate(catalogue, spheres=spheres, rejected=rejected, remarks=remarks, unusable=unusable)


def _annotate(
    catalogue: Catalogue,
    *,
    outlines: Sequence[Outline] = (),
    spheres: Sequence[Sphere] = (),
    rejected: Sequence[RejectedAnnotation],
    remarks: Sequence[str],
    absent: int = 0,
    unusable: Counter[str] | None = None,
) -> Annotations:
    modalities = catalogue.count_modalities()
    counts = Counter({"segmentations": modalities[SEGMENTATION], "reports": modalities[REPORT]})
    return Annotations(
        catalogue.root, outlines, spheres, rejected, counts, remarks, absent=absent, unusable=unusable or Counter()
    )


def _read_files(
    catalogue: Catalogue, max_pixels: int, on_file: Callable[[], None]
) -> tuple[list[Segment], list[Report], list[RejectedAnnotation], list[str]]:
    """Read all segmentations and reports of a folder; the last of the results are remarks, a sentence each."""
    segments: list[Segment] = []
    reports: list[Report] = []
    rejected: list[RejectedAnnotation] = []
    for path in catalogue.list_other(SEGMENTATION):
        try:
            segments += read_segments(path, max_pixels)
        except SliceError as error:
            rejected.append(RejectedAnnotation(path, error.code, str(error)))
        on_file()
    for path in catalogue.list_other(REPORT):
        try:
            reports += read_reports(path)
        except SliceError as error:
            rejected.append(RejectedAnnotation(path, error.code, str(error)))
        on_file()
    remarks = []
    anatomy = [segment for segment in segments if segment.is_anatomy]
    segments = [segment for segment in segments if not segment.is_anatomy]
    if anatomy:
        first = f"{anatomy[0].label[:40]!r} in {anatomy[0].path}"
        remarks.append(f"{len(anatomy)} segments of lungs and other anatomy are left out, first: {first}")
    if malformed := sum(report.malformed for report in reports):
        remarks.append(f"{malformed} items of reports are malformed and are left out")
    if not segments and anatomy:
        raise InputError(
            f"{catalogue.root}: no segment is a nodule; found: {remarks[0]}; a nodule has it in its name, or the "
            "property type Nodule"
        )
    if not segments:
        raise InputError(
            f"{catalogue.root}: no usable segmentation (SEG) among {catalogue.others.height} DICOM files that are no "
            f"CT{f'; {rejected[0].reason}' if rejected else ''}; it must lie below the same folder as the CT"
        )
    return segments, reports, rejected, remarks


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
