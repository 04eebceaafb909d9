"""DICOM Segmentations: the outlines of each segment, frame by frame."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import pydicom
from contourpy import FillType, contour_generator
from numpy.typing import NDArray
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SegmentationStorage,
)

from noduleclip.config import MAX_PIXELS
from noduleclip.errors import RejectCode
from noduleclip.importers.slice_plane import SlicePlane
from noduleclip.io.dicom.header import COPY_AGAIN, LEAVE_OUT, Header, read_header
from noduleclip.io.dicom.slice import no_warnings

_TAGS: Final = (
    *("SOPClassUID", "SOPInstanceUID", "PatientID", "Modality", "SegmentationType", "SegmentSequence"),
    *("ReferencedSeriesSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "PixelData"),
)
_NATIVE: Final = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
_MOST_CURVES: Final = 1000  # of a frame; those of LIDC have one or two, of up to a few hundred points
_LONGEST_CURVE: Final = 1 << 14
_MOST_FRAME_POINTS: Final = 1 << 18
_MOST_POINTS: Final = 5_000_000
_Polygons = tuple[list[NDArray[np.float64]], list[NDArray[np.uint32]]]


@dataclass(frozen=True)
class Curve:
    """One closed curve around a mask, or around a hole in it.

    Attributes:
        points_px: (V, 2) vertices (x, y) in pixels of the frame, 0-based, without the first one again at the end.
        includes: False around a hole.
    """

    points_px: NDArray[np.float64]
    includes: bool


@dataclass(frozen=True)
class MaskPlane:
    """The mask of one segment in one frame.

    Attributes:
        sop_uid: SOP Instance UID of the slice that was segmented; empty where the file does not name it.
        plane: Where the frame lies.
        curves: Boundary of the mask.
    """

    sop_uid: str
    plane: SlicePlane
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Segment:
    """One segment: one nodule as segmented by one reader or program.

    Attributes:
        path: The file.
        seg_uid: SOP Instance UID of the file.
        number: Segment number within it, from 1.
        label: Name of the segment.
        tracking_uid: UID shared by all segments of one nodule, over files and readers; empty where there is none.
        series_uid: Series Instance UID of the CT; empty where the file does not name it.
        patient_id: PatientID; may be empty.
        planes: Its masks that are not empty, in the order of the frames.
    """

    path: Path
    seg_uid: str
    number: int
    label: str
    tracking_uid: str
    series_uid: str
    patient_id: str
    planes: tuple[MaskPlane, ...]


@no_warnings()
def read_segments(path: Path, max_pixels: int = MAX_PIXELS) -> list[Segment]:
    """Read the segments of a binary segmentation.

    Curves run half way between the last pixel of a mask and the first one outside it; LIDC's own run along the
    first pixel outside.

    Args:
        path: The file.
        max_pixels: Largest slice, in pixels, that is wanted; bounds the bytes that are read.

    Returns:
        The segments that have a mask, by number.

    Raises:
        SliceError: The file cannot be read or is no such segmentation.
    """
    header = read_header(path, max_pixels, _TAGS, stop_before_pixels=False)
    if header.text("SOPClassUID") != SegmentationStorage:
        raise header.reject(RejectCode.BAD_SEGMENTATION, "not a DICOM Segmentation", LEAVE_OUT)
    kind = header.text("SegmentationType")
    if kind != "BINARY" or header.count("BitsAllocated") != 1:
        fact = f"SegmentationType is {kind[:16]!r}; only BINARY of 1 bit a pixel is read"
        raise header.reject(RejectCode.BAD_SEGMENTATION, fact, "convert it, for example with highdicom")
    if header.dataset.file_meta.get("TransferSyntaxUID") not in _NATIVE:
        raise header.reject(RejectCode.BAD_SEGMENTATION, "its masks are compressed", "decompress it")
    with header.rejecting_malformed(RejectCode.BAD_SEGMENTATION, "its frames or segments are malformed"):
        header.refuse_long_values()
        return _parse_segments(header, max_pixels)


def _parse_segments(header: Header, max_pixels: int) -> list[Segment]:
    data = header.dataset
    rows, columns, frames = header.count("Rows"), header.count("Columns"), header.count("NumberOfFrames")
    if min(rows, columns, frames) < 1 or rows * columns > max_pixels:
        raise header.reject(RejectCode.TOO_LARGE, f"{frames} frames of {rows} x {columns} pixels", LEAVE_OUT)
    packed = np.frombuffer(data.PixelData, np.uint8)
    if len(packed) * 8 < frames * rows * columns:
        raise header.reject(RejectCode.TRUNCATED_PIXELS, "the pixel data are cut short", COPY_AGAIN)
    shared = data.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in data else pydicom.Dataset()
    planes: dict[int, list[MaskPlane]] = defaultdict(list)
    points = 0
    for frame, groups in enumerate(data.PerFrameFunctionalGroupsSequence):
        mask = _unpack(packed, frame, rows, columns)
        _refuse_noise(mask, frame, header)
        curves = trace_mask(mask)
        points += _count_points(curves, frame, header)
        if points > _MOST_POINTS:
            raise header.reject(RejectCode.TOO_LARGE, f"its outlines have over {_MOST_POINTS:,} points", LEAVE_OUT)
        if curves:
            number = _find(groups, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber
            plane = _parse_plane(groups, shared, (rows, columns))
            planes[int(number)].append(MaskPlane(_find_source(groups), plane, curves))
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
            planes=tuple(planes[number]),
        )
        for segment in data.SegmentSequence
        if (number := int(segment.SegmentNumber)) in planes
    ]


def _refuse_noise(mask: NDArray[np.bool_], frame: int, header: Header) -> None:
    """Refuse a mask whose outlines have too many points, before they are made.

    A curve has a point between each two neighbours of which one is in the mask.
    """
    framed = np.pad(mask, 1)
    points = int(np.count_nonzero(framed[1:] != framed[:-1]) + np.count_nonzero(framed[:, 1:] != framed[:, :-1]))
    if points > _MOST_FRAME_POINTS:
        fact = f"the outlines of frame {frame + 1} have {points:,} points, {_MOST_FRAME_POINTS:,} at most are read"
        raise header.reject(RejectCode.TOO_LARGE, fact, LEAVE_OUT)


def _count_points(curves: Sequence[Curve], frame: int, header: Header) -> int:
    """Count the points of the outlines in a frame; refuse those of noise, which take time in their square."""
    lengths = [len(curve.points_px) for curve in curves]
    if len(lengths) > _MOST_CURVES or max(lengths, default=0) > _LONGEST_CURVE:
        most = f"{_MOST_CURVES:,} outlines, or one of over {_LONGEST_CURVE:,} points"
        raise header.reject(RejectCode.TOO_LARGE, f"the mask of frame {frame + 1} has over {most}", LEAVE_OUT)
    return sum(lengths)


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
    """Return the slice that a frame was drawn on; empty where there is none, or more than one."""
    sources = [
        str(source.ReferencedSOPInstanceUID)
        for derivation in groups.get("DerivationImageSequence") or ()
        for source in derivation.get("SourceImageSequence") or ()
    ]
    return sources[0] if len(sources) == 1 else ""


def _unpack(packed: NDArray[np.uint8], frame: int, rows: int, columns: int) -> NDArray[np.bool_]:
    """Return the (Y, X) mask of a frame; frames follow each other without a gap, least significant bit first.

    Source:
        DICOM PS3.5 8.1.1 and annex D.
    """
    first = frame * rows * columns
    last = first + rows * columns
    bits = np.unpackbits(packed[first // 8 : -(-last // 8)], bitorder="little")
    return bits[first % 8 : first % 8 + rows * columns].reshape(rows, columns).astype(bool)


def trace_mask(mask: NDArray[np.bool_]) -> tuple[Curve, ...]:
    """Return the curves around a mask: half way between its pixels and their neighbours, corners cut.

    Args:
        mask: (Y, X).

    Returns:
        The curves around its parts, each followed by those around its holes.
    """
    filled_rows, filled_columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(filled_rows):
        return ()
    top, left = filled_rows[0], filled_columns[0]
    part = np.pad(mask[top : filled_rows[-1] + 1, left : filled_columns[-1] + 1], 1).astype(np.float64)
    generator = contour_generator(z=part, name="serial", fill_type=FillType.OuterOffset)
    polygons, offsets = cast(_Polygons, generator.filled(0.5, 2.0))
    corner = np.array([left - 1.0, top - 1.0])
    return tuple(
        Curve(np.asarray(points[start : end - 1], np.float64) + corner, includes=number == 0)
        for points, ends in zip(polygons, offsets, strict=True)
        for number, (start, end) in enumerate(itertools.pairwise(ends.tolist()))
    )
