"""DICOM Segmentations: the outlines of each segment, frame by frame."""

from collections import defaultdict
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from pydicom.uid import SegmentationStorage

from noduleclip.config import MAX_PIXELS
from noduleclip.errors import RejectCode
from noduleclip.importers.seg_frames import check_syntax, open_frames, split_labels
from noduleclip.importers.segments import MaskPlane, Segment, Tracer, names_anatomy, names_lesion
from noduleclip.importers.slice_names import parse_reference
from noduleclip.io.dicom.header import LEAVE_OUT, Header, read_header
from noduleclip.io.dicom.slice import no_warnings
from noduleclip.io.slice_plane import SlicePlane

_TAGS: Final = (
    *("SOPClassUID", "SOPInstanceUID", "PatientID", "Modality", "SegmentationType", "SegmentSequence"),
    *("ReferencedSeriesSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "PixelData"),
)
_LABEL_MAP_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.7"
_BINARY: Final = "BINARY"
_LABEL_MAP: Final = "LABELMAP"
_BITS: Final = {(SegmentationStorage, _BINARY): (1,), (_LABEL_MAP_STORAGE, _LABEL_MAP): (8, 16)}
_ANATOMICAL_STRUCTURE: Final = ("123037004", "T-D000A")  # SCT, and SRT before it


@no_warnings()
def read_segments(path: Path, max_pixels: int = MAX_PIXELS) -> list[Segment]:
    """Read the segments of a binary segmentation or of a label map.

    Curves run half way between the last pixel of a mask and the first one outside it; LIDC's own run along the
    first pixel outside.

    Args:
        path: The file.
        max_pixels: Largest slice, in pixels, that is wanted; bounds the bytes that are read.

    Returns:
        The segments that have a mask, and those that are anatomy, in the order of the file.

    Raises:
        SliceError: The file cannot be read or is no such segmentation.
    """
    header = read_header(path, max_pixels, _TAGS, stop_before_pixels=False)
    storage, kind = header.text("SOPClassUID"), header.text("SegmentationType")
    if storage not in (SegmentationStorage, _LABEL_MAP_STORAGE):
        raise header.reject(RejectCode.BAD_SEGMENTATION, "not a DICOM Segmentation", LEAVE_OUT)
    if header.count("BitsAllocated") not in _BITS.get((storage, kind), ()):
        fact = f"SegmentationType is {kind[:16]!r}; only BINARY of 1 bit a pixel and LABELMAP of 8 or 16 are read"
        raise header.reject(RejectCode.BAD_SEGMENTATION, fact, "convert it, for example with highdicom")
    check_syntax(header)
    with header.rejecting_malformed(RejectCode.BAD_SEGMENTATION, "its frames or segments are malformed"):
        header.refuse_long_values()
        return _parse_segments(header, max_pixels)


def _parse_segments(header: Header, max_pixels: int) -> list[Segment]:
    data = header.dataset
    rows, columns, frames = header.count("Rows"), header.count("Columns"), header.count("NumberOfFrames")
    if min(rows, columns, frames) < 1 or rows * columns > max_pixels:
        raise header.reject(RejectCode.TOO_LARGE, f"{frames} frames of {rows} x {columns} pixels", LEAVE_OUT)
    is_anatomy = {int(segment.SegmentNumber): _is_anatomy(segment) for segment in data.SegmentSequence}
    wanted = {number for number, is_left_out in is_anatomy.items() if not is_left_out}
    load_frame = open_frames(header, frames, rows, columns)
    shared = data.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in data else pydicom.Dataset()
    planes: dict[int, list[MaskPlane]] = defaultdict(list)
    tracer = Tracer(lambda fact: header.reject(RejectCode.TOO_LARGE, fact, LEAVE_OUT))
    for frame, groups in enumerate(data.PerFrameFunctionalGroupsSequence):
        if header.text("SegmentationType") == _LABEL_MAP:
            masks = split_labels(load_frame(frame), wanted, frame, header)
        else:
            number = int(_find(groups, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)
            masks = iter([] if is_anatomy.get(number) else [(number, load_frame(frame).astype(bool))])
        for number, mask in masks:
            if curves := tracer.trace(mask, f"frame {frame + 1}"):
                plane = _parse_plane(groups, shared, (rows, columns))
                planes[number].append(MaskPlane(_find_source(groups), plane, curves, int(np.count_nonzero(mask))))
    series = data.ReferencedSeriesSequence[0].SeriesInstanceUID if data.get("ReferencedSeriesSequence") else ""
    return [
        Segment(
            path=header.path,
            seg_uid=header.text("SOPInstanceUID"),
            number=number,
            label=str(segment.get("SegmentDescription") or segment.get("SegmentLabel") or "").strip(),
            tracking_uid=str(segment.get("TrackingUID") or "").strip(),
            series_uid=str(series).strip(),
            patient_id=header.text("PatientID"),
            planes=tuple(planes.get(number, ())),
            is_anatomy=is_anatomy[number],
        )
        for segment in data.SegmentSequence
        if (number := int(segment.SegmentNumber)) in planes or (number and is_anatomy[number])  # 0: background
    ]


def _is_anatomy(segment: pydicom.Dataset) -> bool:
    """Return whether a segment is a part of the body: by category or name, unless a name is that of a lesion."""
    categories, kinds = (
        segment.get(f"SegmentedProperty{name}CodeSequence") or [pydicom.Dataset()] for name in ("Category", "Type")
    )
    texts = (segment.get("SegmentLabel"), segment.get("SegmentDescription"), kinds[0].get("CodeMeaning"))
    names = " ".join(str(text or "") for text in texts)
    is_structure = str(categories[0].get("CodeValue", "")).strip() in _ANATOMICAL_STRUCTURE
    return not names_lesion(names) and (is_structure or names_anatomy(names))


def _find(groups: pydicom.Dataset, shared: pydicom.Dataset, name: str) -> pydicom.Dataset:
    """Return the first item of a functional group of a frame, or of all frames."""
    item: pydicom.Dataset = (groups if name in groups else shared)[name].value[0]
    return item


def _parse_plane(groups: pydicom.Dataset, shared: pydicom.Dataset, shape_yx: tuple[int, int]) -> SlicePlane:
    x, y, z = map(float, _find(groups, shared, "PlanePositionSequence").ImagePositionPatient)
    orientation = tuple(map(float, _find(groups, shared, "PlaneOrientationSequence").ImageOrientationPatient))
    row_mm, column_mm = map(float, _find(groups, shared, "PixelMeasuresSequence").PixelSpacing)
    plane = SlicePlane((x, y, z), orientation, (row_mm, column_mm), shape_yx)
    if not (np.isfinite((x, y, z)).all() and np.isfinite(plane.axes).all() and min(row_mm, column_mm) > 0):
        raise ValueError("a plane that is none")
    return plane


def _find_source(groups: pydicom.Dataset) -> str:
    """Return the name of the slice that a frame was drawn on; empty where there is none, or more than one."""
    sources = [
        parse_reference(source)
        for derivation in groups.get("DerivationImageSequence") or ()
        for source in derivation.get("SourceImageSequence") or ()
    ]
    return sources[0] if len(sources) == 1 else ""
