"""DICOM Segmentations: the outlines of each segment, frame by frame."""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import pydicom
from contourpy import FillType, contour_generator
from numpy.typing import NDArray
from pydicom.uid import SegmentationStorage

from noduleclip.config import MAX_PIXELS
from noduleclip.errors import RejectCode
from noduleclip.importers.seg_frames import check_syntax, open_frames, split_labels
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
_ANATOMY: Final = re.compile(
    r"\b(lungs?|lobes?|pulmo|thorax|chest|heart|trachea|bronch\w*|airways?|vessels?|aorta|ribs?|body|background)\b",
    re.I,
)
_LESION: Final = re.compile(
    r"nodul|lesion|mass|tumou?r|neoplas|cancer|carcinom|metasta|malignan|granulom|opacit|annotation|finding|\bgtv", re.I
)
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
        is_anatomy: Whether it is a lung or another part of the body, by its category and names; it has no `planes`.
    """

    path: Path
    seg_uid: str
    number: int
    label: str
    tracking_uid: str
    series_uid: str
    patient_id: str
    planes: tuple[MaskPlane, ...]
    is_anatomy: bool = False


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
    points = 0
    for frame, groups in enumerate(data.PerFrameFunctionalGroupsSequence):
        if header.text("SegmentationType") == _LABEL_MAP:
            masks = split_labels(load_frame(frame), wanted, frame, header)
        else:
            number = int(_find(groups, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber)
            masks = iter([] if is_anatomy.get(number) else [(number, load_frame(frame).astype(bool))])
        for number, mask in masks:
            _refuse_noise(mask, frame, header)
            curves = trace_mask(mask)
            points += _count_points(curves, frame, header)
            if points > _MOST_POINTS:
                raise header.reject(RejectCode.TOO_LARGE, f"its outlines have over {_MOST_POINTS:,} points", LEAVE_OUT)
            if curves:
                plane = _parse_plane(groups, shared, (rows, columns))
                planes[number].append(MaskPlane(_find_source(groups), plane, curves))
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
    return not _LESION.search(names) and (is_structure or bool(_ANATOMY.search(names)))


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
