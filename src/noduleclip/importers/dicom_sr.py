"""DICOM Structured Reports of measurements (TID 1500): places, diameters and LIDC's ratings of nodules."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataelem import RawDataElement

from noduleclip.config import MAX_PIXELS
from noduleclip.errors import RejectCode, SliceError
from noduleclip.importers.report_items import (
    describe_size,
    find_kind,
    find_name,
    holds_line,
    is_estimate,
    parse_mm,
    parse_number,
)
from noduleclip.importers.report_regions import IN_SPACE, ON_IMAGE, BadRegionError, Region, parse_region
from noduleclip.io.dicom.header import COPY_AGAIN, LEAVE_OUT, Header, read_header
from noduleclip.io.dicom.lidc_codes import find_attribute, is_on_scale, parse_rating
from noduleclip.io.dicom.slice import no_warnings

_CLASSES: Final = (  # Enhanced, Comprehensive, Comprehensive 3D and Extensible SR
    *("1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.88.33"),
    *("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.35"),
)
_EVIDENCE: Final = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
_MEASUREMENT_GROUP, _TRACKING_IDENTIFIER, _TRACKING_UID = "125007", "112039", "112040"
# SCT, and SRT before it.
_DIAMETERS: Final = ("81827009", "M-02550")
_LONG_AXES: Final = ("103339001", "G-A185")
_LENGTHS: Final = ("410668003", "G-D7FE")
# Image region, region in space, volume surface, path, center; none in reports of Cornerstone3D.
_REGIONS: Final = ("111030", "130488", "121231", "121055", "111010", "")
_NO_REGION: Final = "TextPosition"  # of Cornerstone3D: where a label is drawn
_DEEPEST: Final = 6


@dataclass(frozen=True)
class Report:
    """The measurements of one nodule in a report: of a segment, or of a region.

    Attributes:
        path: The file.
        seg_uid: SOP Instance UID of the segmentation; empty where the report names none.
        segment: Number of the segment within it, from 1.
        tracking_uid: UID shared by all measurements of one nodule; may be empty.
        diameter_mm: Diameter; NaN where there is none.
        ratings: LIDC's ratings, by column name; means may be fractions.
        other_size: Description of the first diameter of another definition or unit; empty where there is none.
        malformed: Number of content items that cannot be read.
        number: Number of the group in the document, from 1.
        name: Its tracking identifier; may be empty.
        axis_mm: Its long axis, else the length of a line; NaN where there is neither.
        regions: Where it lies: its own regions, else those of the diameter, the long axis or another measurement.
        bad_region: Why a region cannot be used; empty where all can.
        estimated_mm: A diameter that is marked as an estimate; NaN where there is none.
        estimated_kind: What this one is.
        estimated_ratings: Ratings that are marked as estimates.
        evidence: Series Instance UIDs of the images that the document is on; of documents with regions in space.
        diameter_kind: What the diameter is; empty where the report does not say.
    """

    path: Path
    seg_uid: str
    segment: int
    tracking_uid: str
    diameter_mm: float = math.nan
    ratings: Mapping[str, float] = field(default_factory=dict)
    other_size: str = ""
    malformed: int = 0
    number: int = 0
    name: str = ""
    axis_mm: float = math.nan
    regions: tuple[Region, ...] = ()
    bad_region: str = ""
    estimated_mm: float = math.nan
    estimated_kind: str = ""
    estimated_ratings: Mapping[str, float] = field(default_factory=dict)
    evidence: frozenset[str] = frozenset()
    diameter_kind: str = ""

    @property
    def size_mm(self) -> float:
        """The reported diameter, else the long axis or the length of a line; NaN where there is none."""
        return self.axis_mm if math.isnan(self.diameter_mm) else self.diameter_mm


def take_estimates(report: Report) -> Report:
    """Return a report with its estimates in place of a diameter and ratings that it lacks."""
    report = replace(report, ratings={**report.estimated_ratings, **report.ratings})
    if math.isfinite(report.size_mm):
        return report
    return replace(report, diameter_mm=report.estimated_mm, diameter_kind=report.estimated_kind)


@no_warnings()
def read_reports(path: Path) -> list[Report]:
    """Read the measurement groups of a report.

    Ratings are known by the codes of the standardised LIDC annotations; other codes are left out. An item that cannot
    be read is left out, too, and counted.

    Args:
        path: The file.

    Returns:
        A report for each group, in the order of the document; none where the document has no groups.

    Raises:
        SliceError: The file cannot be read or is no structured report.

    Source:
        DICOM PS3.16 TID 300, 1500, 1410, 1411 and 1501; Fedorov et al., Medical Physics 2020, doi:10.1002/mp.14445,
        for the codes.
    """
    header = read_header(path, MAX_PIXELS, ("SOPClassUID", "ContentSequence", *_EVIDENCE))
    if header.text("SOPClassUID") not in _CLASSES:
        raise header.reject(RejectCode.BAD_REPORT, "not a structured report of measurements", LEAVE_OUT)
    if _is_cut_short(header.dataset):
        raise header.reject(RejectCode.TRUNCATED_HEADER, "its content is missing or cut short", COPY_AGAIN)
    with header.rejecting_malformed(RejectCode.BAD_REPORT, "its content is malformed"):
        header.refuse_long_values()
        groups = enumerate(_find_groups(header.dataset, _DEEPEST), 1)
        reports = [_GroupParser(header, number).parse(group) for number, group in groups]
    if any(region.frame_of_reference_uid for report in reports for region in report.regions):
        evidence = _list_evidence(header)
        reports = [replace(report, evidence=evidence) for report in reports]
    return reports


def _is_cut_short(dataset: pydicom.Dataset) -> bool:
    """Return whether a file ends within its content: pydicom accepts a sequence that is shorter than its length."""
    if "ContentSequence" not in dataset:
        return True
    content: object = dataset.get_item("ContentSequence")  # pydicom declares a DataElement
    return isinstance(content, RawDataElement) and len(content.value or b"") < content.length


def _list_evidence(header: Header) -> frozenset[str]:
    """Return the series that a document names as its evidence; none where that cannot be read."""
    try:
        with header.rejecting_malformed(RejectCode.BAD_REPORT, "its evidence is malformed"):
            return frozenset(
                str(series.SeriesInstanceUID).strip()
                for keyword in _EVIDENCE
                for study in header.dataset.get(keyword) or ()
                for series in study.ReferencedSeriesSequence
            )
    except SliceError:
        return frozenset()


def _find_groups(item: pydicom.Dataset, depth: int) -> Iterator[pydicom.Dataset]:
    for child in item.get("ContentSequence") or ():
        if find_name(child) == _MEASUREMENT_GROUP:
            yield child
        elif depth > 1:
            yield from _find_groups(child, depth - 1)


class _GroupParser:
    """Parses one measurement group, item by item."""

    def __init__(self, header: Header, number: int) -> None:
        self._header = header
        self._report = Report(header.path, "", 0, "", number=number)
        self._regions: dict[int, list[Region]] = {}  # by priority: 0 is the highest

    def parse(self, group: pydicom.Dataset) -> Report:
        """Return what a group says."""
        for item in group.get("ContentSequence") or ():
            try:
                with self._header.rejecting_malformed(RejectCode.BAD_REPORT, "an item is malformed"):
                    self._add(item)
            except SliceError:
                self._report = replace(self._report, malformed=self._report.malformed + 1)
        chosen = min(self._regions, default=None)
        return self._report if chosen is None else replace(self._report, regions=tuple(self._regions[chosen]))

    def _add(self, item: pydicom.Dataset) -> None:
        """Take the value of one more content item."""
        name, kind = find_name(item), str(item.get("ValueType", ""))
        if kind == "UIDREF" and name == _TRACKING_UID:
            self._report = replace(self._report, tracking_uid=str(item.UID).strip())
        elif kind == "TEXT" and name == _TRACKING_IDENTIFIER:
            self._report = replace(self._report, name=str(item.TextValue).strip())
        elif kind == "IMAGE":
            self._add_segment(item.ReferencedSOPSequence[0])
        elif kind in (ON_IMAGE, IN_SPACE) and name in _REGIONS:
            self._add_region(item, 0, is_closed=True)
        elif kind == "NUM":
            self._add_number(name, item)
            self._add_lines(name, item)
        elif kind == "CODE" and (column := find_attribute(name)):
            code = item.ConceptCodeSequence[0]
            value, meaning = str(code.get("CodeValue", "")).strip(), str(code.get("CodeMeaning", "")).strip()
            rating = parse_rating(column, value, meaning)
            if rating is not None:
                self._report = replace(self._report, ratings={**self._report.ratings, column: rating})

    def _add_segment(self, reference: pydicom.Dataset) -> None:
        if "ReferencedSegmentNumber" in reference:
            numbers = reference["ReferencedSegmentNumber"].value
            segment = int(numbers if isinstance(numbers, int) else numbers[0])
            self._report = replace(
                self._report, seg_uid=str(reference.ReferencedSOPInstanceUID).strip(), segment=segment
            )

    def _add_number(self, name: str, item: pydicom.Dataset) -> None:
        report = self._report
        length_mm, estimated = parse_mm(item), is_estimate(item)
        if column := find_attribute(name):
            rating = parse_number(item)
            if is_on_scale(column, rating):
                rated = {column: int(rating) if rating.is_integer() else rating}
                if estimated:
                    self._report = replace(report, estimated_ratings={**report.estimated_ratings, **rated})
                else:
                    self._report = replace(report, ratings={**report.ratings, **rated})
        elif name in _DIAMETERS and math.isfinite(length_mm):
            if estimated and math.isnan(report.estimated_mm):
                self._report = replace(report, estimated_mm=length_mm, estimated_kind=find_kind(item))
            elif not estimated and math.isnan(report.diameter_mm):
                self._report = replace(report, diameter_mm=length_mm, diameter_kind=find_kind(item))
        elif name in _LONG_AXES and math.isfinite(length_mm) and not estimated:
            self._report = replace(self._report, axis_mm=length_mm)
        elif name in _LENGTHS and math.isfinite(length_mm) and not estimated and holds_line(item):
            self._report = replace(self._report, axis_mm=length_mm if math.isnan(report.axis_mm) else report.axis_mm)
        else:
            self._report = replace(self._report, other_size=report.other_size or describe_size(item))

    def _add_lines(self, name: str, item: pydicom.Dataset) -> None:
        """Add the regions that a measurement is inferred from."""
        priority = 1 if name in _DIAMETERS else 2 if name in _LONG_AXES else 3
        if priority in self._regions:
            return
        for child in item.get("ContentSequence") or ():
            if str(child.get("ValueType", "")) in (ON_IMAGE, IN_SPACE) and find_name(child) != _NO_REGION:
                self._add_region(child, priority, is_closed=False)

    def _add_region(self, item: pydicom.Dataset, priority: int, *, is_closed: bool) -> None:
        try:
            region = parse_region(item, self._header.dataset, is_closed=is_closed)
        except BadRegionError as error:
            self._report = replace(self._report, bad_region=self._report.bad_region or str(error))
        else:
            self._regions.setdefault(priority, []).append(region)
