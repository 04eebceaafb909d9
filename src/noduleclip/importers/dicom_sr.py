"""DICOM Structured Reports of measurements (TID 1500): diameters and LIDC's ratings of segments."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataelem import RawDataElement

from noduleclip import schema
from noduleclip.config import MAX_PIXELS
from noduleclip.errors import RejectCode, SliceError
from noduleclip.io.dicom.header import COPY_AGAIN, LEAVE_OUT, Header, read_header
from noduleclip.io.dicom.slice import no_warnings

_CLASSES: Final = (  # Enhanced, Comprehensive, Comprehensive 3D and Extensible SR
    *("1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.88.33"),
    *("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.35"),
)
_MEASUREMENT_GROUP, _TRACKING_UID = "125007", "112040"
_DIAMETERS: Final = ("81827009", "M-02550")  # SCT, and SRT before it
_MM_OF: Final = {"mm": 1.0, "cm": 10.0}
_DEEPEST: Final = 6

_RATED: Final = {
    "C45992": schema.SUBTLETY,
    "200": schema.INTERNAL_STRUCTURE,
    "C3672": schema.CALCIFICATION,
    "400": schema.SPHERICITY,
    "C25563": schema.MARGIN,
    "C62175": schema.LOBULATION,
    "600": schema.LOBULATION,
    "C28749": schema.SPICULATION,
    "700": schema.SPICULATION,
    "C41144": schema.TEXTURE,
    "RID36042": schema.MALIGNANCY,
    "900": schema.MALIGNANCY,
}
_KINDS: Final = {
    schema.INTERNAL_STRUCTURE: {"C12471": 1, "C25278": 2, "C12472": 3, "C73434": 4},
    schema.CALCIFICATION: {
        **dict.fromkeys(("RID5741", "303"), 3),
        **dict.fromkeys(("RID5827", "305"), 5),
        "RID35453": 1,
        "302": 2,
        "304": 4,
        "RID28473": 6,
    },
    schema.SPHERICITY: {"RID5811": 1, "RID5800": 3, "RID5799": 5},
    schema.MARGIN: {"RID5709": 1, "RID5707": 5},
    schema.TEXTURE: {"RID50153": 1, "RID50152": 3, "RID50151": 5},
}
_OF_FIVE: Final = re.compile(r"([1-5]) out of 5\b")


@dataclass(frozen=True)
class Report:
    """The measurements of one segment in a report.

    Attributes:
        path: The file.
        seg_uid: SOP Instance UID of the segmentation; empty where the report names none.
        segment: Number of the segment within it, from 1.
        tracking_uid: UID shared by all measurements of one nodule; may be empty.
        diameter_mm: Diameter; NaN where there is none.
        ratings: LIDC's ratings, by column name.
        other_size: Description of the first diameter of another definition or unit; empty where there is none.
        malformed: Number of content items that cannot be read.
    """

    path: Path
    seg_uid: str
    segment: int
    tracking_uid: str
    diameter_mm: float = math.nan
    ratings: dict[str, int] = field(default_factory=dict)
    other_size: str = ""
    malformed: int = 0


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
        DICOM PS3.16 TID 1500, 1411 and 1501; Fedorov et al., Medical Physics 2020, doi:10.1002/mp.14445, for the codes.
    """
    header = read_header(path, MAX_PIXELS, ("SOPClassUID", "ContentSequence"))
    if header.text("SOPClassUID") not in _CLASSES:
        raise header.reject(RejectCode.BAD_REPORT, "not a structured report of measurements", LEAVE_OUT)
    if _is_cut_short(header.dataset):
        raise header.reject(RejectCode.TRUNCATED_HEADER, "its content is missing or cut short", COPY_AGAIN)
    with header.rejecting_malformed(RejectCode.BAD_REPORT, "its content is malformed"):
        header.refuse_long_values()
        return [_parse_group(group, header) for group in _find_groups(header.dataset, _DEEPEST)]


def _is_cut_short(dataset: pydicom.Dataset) -> bool:
    """Return whether a file ends within its content: pydicom accepts a sequence that is shorter than its length."""
    if "ContentSequence" not in dataset:
        return True
    content: object = dataset.get_item("ContentSequence")  # pydicom declares a DataElement
    return isinstance(content, RawDataElement) and len(content.value or b"") < content.length


def _find_groups(item: pydicom.Dataset, depth: int) -> Iterator[pydicom.Dataset]:
    for child in item.get("ContentSequence") or ():
        if _name(child) == _MEASUREMENT_GROUP:
            yield child
        elif depth > 1:
            yield from _find_groups(child, depth - 1)


def _parse_group(group: pydicom.Dataset, header: Header) -> Report:
    report = Report(header.path, "", 0, "")
    for item in group.get("ContentSequence") or ():
        try:
            with header.rejecting_malformed(RejectCode.BAD_REPORT, "an item is malformed"):
                report = _add_item(report, item)
        except SliceError:
            report = replace(report, malformed=report.malformed + 1)
    return report


def _add_item(report: Report, item: pydicom.Dataset) -> Report:
    """Return a report with the value of one more content item."""
    name, kind = _name(item), str(item.get("ValueType", ""))
    if kind == "UIDREF" and name == _TRACKING_UID:
        return replace(report, tracking_uid=str(item.UID).strip())
    if kind == "IMAGE":
        reference = item.ReferencedSOPSequence[0]
        if "ReferencedSegmentNumber" not in reference:
            return report
        numbers = reference["ReferencedSegmentNumber"].value
        segment = int(numbers if isinstance(numbers, int) else numbers[0])
        return replace(report, seg_uid=str(reference.ReferencedSOPInstanceUID).strip(), segment=segment)
    if kind == "NUM":
        diameter_mm = _parse_mm(item) if name in _DIAMETERS else math.nan
        if math.isfinite(diameter_mm) and math.isnan(report.diameter_mm):
            return replace(report, diameter_mm=diameter_mm)
        return replace(report, other_size=report.other_size or _describe_size(item))
    if kind == "CODE" and name in _RATED:
        rating = _parse_rating(_RATED[name], item.ConceptCodeSequence[0])
        if rating is not None:
            return replace(report, ratings=report.ratings | {_RATED[name]: rating})
    return report


def _describe_size(item: pydicom.Dataset) -> str:
    """Return name, number and unit of a measurement that is called a diameter; empty for others."""
    name = str(item.ConceptNameCodeSequence[0].get("CodeMeaning", ""))[:40]
    if "diameter" not in name.casefold():
        return ""
    for value in item.get("MeasuredValueSequence") or ():
        unit = str(value.MeasurementUnitsCodeSequence[0].CodeValue)[:16]
        return f"{name} of {str(value.get('NumericValue', ''))[:16]} in unit {unit!r}"
    return f"{name} without a value"


def _name(item: pydicom.Dataset) -> str:
    codes = item.get("ConceptNameCodeSequence")
    return str(codes[0].get("CodeValue", "")).strip() if codes else ""


def _parse_mm(item: pydicom.Dataset) -> float:
    """Return a measured length in mm; NaN where it has no value or another unit."""
    for value in item.get("MeasuredValueSequence") or ():
        if value.get("NumericValue") in (None, ""):
            continue
        unit = str(value.MeasurementUnitsCodeSequence[0].CodeValue).strip()
        number = float(value.NumericValue)
        if unit in _MM_OF and math.isfinite(number):
            return number * _MM_OF[unit]
    return math.nan


def _parse_rating(attribute: str, code: pydicom.Dataset) -> int | None:
    """Return a rating by its code, else by its meaning, "3 out of 5"; None where it is neither."""
    by_code = _KINDS.get(attribute, {}).get(str(code.get("CodeValue", "")).strip())
    if by_code is not None:
        return by_code
    found = _OF_FIVE.match(str(code.get("CodeMeaning", "")).strip())
    return int(found[1]) if found and attribute not in (schema.INTERNAL_STRUCTURE, schema.CALCIFICATION) else None
