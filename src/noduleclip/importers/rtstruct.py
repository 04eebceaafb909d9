"""RT Structure Sets: the contours of regions of interest (ROIs), in mm."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.multival import MultiValue

from noduleclip.errors import RejectCode
from noduleclip.importers.slice_names import parse_reference
from noduleclip.io.dicom.header import LEAVE_OUT, Header, read_header
from noduleclip.io.dicom.slice import no_warnings

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.481.3"
_TAGS: Final = (
    *("SOPClassUID", "SOPInstanceUID", "PatientID", "Modality", "ReferencedFrameOfReferenceSequence"),
    *("StructureSetROISequence", "ROIContourSequence"),
)
_CLOSED: Final = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "")
_LARGEST_BYTES: Final = 64 * 2**20
_LONGEST_CURVE: Final = 1 << 14
_MOST_POINTS: Final = 5_000_000
_LARGEST_COORDINATE_MM: Final = 1e5


@dataclass(frozen=True)
class PatientCurve:
    """A closed curve of a ROI.

    Attributes:
        points_mm: (V, 3) vertices, LPS, at least three.
        sop_uid: Name of the slice that it was drawn on (`slice_names`); empty where the file names none, or several.
    """

    points_mm: NDArray[np.float64]
    sop_uid: str


@dataclass(frozen=True)
class Roi:
    """A region of interest.

    Attributes:
        number: Its number in the file.
        name: Its name.
        curves: Its closed curves.
        points: Number of its points and open curves, which enclose nothing.
        fault: Why its contours cannot be used; empty where they can.
    """

    number: int
    name: str
    curves: tuple[PatientCurve, ...]
    points: int = 0
    fault: str = ""


@dataclass(frozen=True)
class StructureSet:
    """The ROIs of a file.

    Attributes:
        path: The file.
        series_uid: Series Instance UID of the images that it is on; empty where the file names none, or several.
        patient_id: PatientID; may be empty.
        rois: The ROIs, in the order of the file.
    """

    path: Path
    series_uid: str
    patient_id: str
    rois: tuple[Roi, ...]


@no_warnings()
def read_structure_set(path: Path, max_pixels: int) -> StructureSet:
    """Read the ROIs of an RT Structure Set.

    Args:
        path: The file.
        max_pixels: Largest slice, in pixels; bounds what an inflated file may take.

    Raises:
        SliceError: The file cannot be read or is no structure set.
    """
    header = read_header(path, max_pixels, _TAGS, largest_bytes=_LARGEST_BYTES)
    if header.text("SOPClassUID") != _STORAGE:
        raise header.reject(RejectCode.BAD_STRUCTURE_SET, "not an RT Structure Set", LEAVE_OUT)
    with header.rejecting_malformed(RejectCode.BAD_STRUCTURE_SET, "its ROIs or contours are malformed"):
        header.refuse_long_values(deep=False)
        return _parse(header)


def _parse(header: Header) -> StructureSet:
    data = header.dataset
    defined = data.get("StructureSetROISequence") or ()
    names = {int(item.ROINumber): str(item.get("ROIName") or "").strip() for item in defined}
    drawn = {int(item.ReferencedROINumber): item for item in data.get("ROIContourSequence") or ()}
    left = _MOST_POINTS
    rois = []
    for number, name in names.items():
        roi = _parse_roi(number, name, drawn.get(number))
        left -= sum(len(curve.points_mm) for curve in roi.curves)
        if left < 0:
            raise header.reject(RejectCode.TOO_LARGE, f"its contours have over {_MOST_POINTS:,} points", LEAVE_OUT)
        rois.append(roi)
    series = set(_list_series(data))
    return StructureSet(header.path, series.pop() if len(series) == 1 else "", header.text("PatientID"), tuple(rois))


def _list_series(data: pydicom.Dataset) -> Iterator[str]:
    for frame in data.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                yield str(series.get("SeriesInstanceUID") or "").strip()


def _parse_roi(number: int, name: str, item: pydicom.Dataset | None) -> Roi:
    curves: list[PatientCurve] = []
    points = 0
    contours = [] if item is None else item.get("ContourSequence") or []
    for place, contour in enumerate(contours, 1):
        if str(contour.get("ContourGeometricType") or "").strip().upper() not in _CLOSED:
            points += 1
            continue
        try:
            points_mm = _parse_points(contour)
        except ValueError as error:
            return Roi(number, name, (), fault=f"contour {place}: {error}")
        if len(points_mm) < 3:
            points += 1
        else:
            curves.append(PatientCurve(points_mm, _find_source(contour)))
    return Roi(number, name, tuple(curves), points)


def _parse_points(contour: pydicom.Dataset) -> NDArray[np.float64]:
    """Return the (V, 3) vertices of a contour, without the first one again at the end.

    The text is split here: pydicom takes 20 us for each number.

    Raises:
        ValueError: It has no such numbers.
    """
    element: object = contour.get_item("ContourData")
    value: object = getattr(element, "value", None)
    texts: list[object] = list(value) if isinstance(value, list | MultiValue) else [] if value is None else [value]
    if isinstance(value, bytes):  # as read, not yet converted
        texts = list(value.decode("ascii", "replace").strip(" \0").split("\\"))
    if len(texts) > 3 * _LONGEST_CURVE:
        raise ValueError(f"it has {len(texts):,} numbers, at most {3 * _LONGEST_CURVE:,} are read")
    try:
        numbers = np.array([float(str(text)) for text in texts if str(text).strip()], np.float64)
    except ValueError:
        raise ValueError("its coordinates are no numbers") from None
    if len(numbers) % 3:
        raise ValueError(f"it has {len(numbers):,} numbers, no multiple of 3")
    if len(numbers) and not np.abs(numbers).max() <= _LARGEST_COORDINATE_MM:  # NaN is refused, too
        raise ValueError("its coordinates are no places in mm")
    points_mm = numbers.reshape(-1, 3)
    repeats = len(points_mm) > 1 and bool((points_mm[0] == points_mm[-1]).all())
    return points_mm[:-1] if repeats else points_mm


def _find_source(contour: pydicom.Dataset) -> str:
    """Return the name of the slice that a contour was drawn on; empty where there is none, or more than one."""
    names = {parse_reference(image) for image in contour.get("ContourImageSequence") or ()}
    return names.pop() if len(names) == 1 else ""
