"""Segments: the masks of nodules on planes, and the curves around them."""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
from contourpy import FillType, contour_generator
from numpy.typing import NDArray

from noduleclip.errors import SliceError
from noduleclip.io.slice_plane import SlicePlane

_ANATOMY: Final = re.compile(
    r"\b(lungs?|lobes?|pulmo\w*|thorax|chest|heart|cardiac|atri\w+|trachea|bronch\w*|airways?|vessels?|veins?|vena|"
    r"arter\w+|aorta|ribs?|costal|sternum|vertebra\w*|sacrum|spin\w+|cord|scapula|clavicul?a|humerus|femur|hips?|"
    r"muscles?|gluteus|autochthon|iliopsoas|fat|skin|body|background|brain|skull|thyroid|o?esophagus|stomach|"
    r"duodenum|bowel|colon|liver|gallbladder|spleen|pancreas|adrenal|kidneys?|bladder|prostate)\b",
    re.I,
)
_LESION: Final = re.compile(
    r"nodul|lesion|mass|tumou?r|neoplas|cancer|carcinom|metasta|malignan|granulom|opacit|annotation|finding|\bgtv", re.I
)
_MOST_CURVES: Final = 1000  # of a plane; those of LIDC have one or two, of up to a few hundred points
_LONGEST_CURVE: Final = 1 << 14
_MOST_PLANE_POINTS: Final = 1 << 18
_MOST_POINTS: Final = 5_000_000
_Polygons = tuple[list[NDArray[np.float64]], list[NDArray[np.uint32]]]


@dataclass(frozen=True)
class Curve:
    """One closed curve around a mask, or around a hole in it.

    Attributes:
        points_px: (V, 2) vertices (x, y) in pixels of the plane, 0-based, without the first one again at the end.
        includes: False around a hole.
    """

    points_px: NDArray[np.float64]
    includes: bool


@dataclass(frozen=True)
class MaskPlane:
    """The mask of one segment on one plane: a frame of a segmentation, or a slice of a volume.

    Attributes:
        sop_uid: Name of the slice that was segmented (`slice_names`); empty where the file does not name it.
        plane: Where the mask lies.
        curves: Boundary of the mask.
        pixels: Number of pixels in the mask.
    """

    sop_uid: str
    plane: SlicePlane
    curves: tuple[Curve, ...]
    pixels: int = 0

    @property
    def area_mm2(self) -> float:
        """Area of the pixels in the mask."""
        return self.pixels * self.plane.spacing_yx_mm[0] * self.plane.spacing_yx_mm[1]


@dataclass(frozen=True)
class Segment:
    """One segment: one nodule as segmented by one reader or program.

    Attributes:
        path: The file.
        seg_uid: SOP Instance UID of the file; empty where it is no DICOM.
        number: Segment number within it, from 1.
        label: Name of the segment.
        tracking_uid: UID shared by all segments of one nodule, over files and readers; empty where there is none.
        series_uid: Series Instance UID of the CT; empty where the file does not name it.
        patient_id: PatientID; may be empty.
        planes: Its masks that are not empty, in the order of the file.
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


class Tracer:
    """Traces the masks of one file, within limits on what a file of noise may take.

    Args:
        reject: Returns the error that refuses the file for a fact about it.
    """

    def __init__(self, reject: Callable[[str], SliceError]) -> None:
        self._reject = reject
        self._points = 0

    def trace(self, mask: NDArray[np.bool_], where: str) -> tuple[Curve, ...]:
        """Return the curves around a mask, as `trace_mask` does.

        Args:
            mask: (Y, X).
            where: Name of the plane in the file, such as "frame 3".

        Raises:
            SliceError: Its outlines, or those of the file, have too many points.
        """
        self._refuse_noise(mask, where)
        curves = trace_mask(mask)
        lengths = [len(curve.points_px) for curve in curves]
        if len(lengths) > _MOST_CURVES or max(lengths, default=0) > _LONGEST_CURVE:
            most = f"{_MOST_CURVES:,} outlines, or one of over {_LONGEST_CURVE:,} points"
            raise self._reject(f"the mask of {where} has over {most}")
        self._points += sum(lengths)
        if self._points > _MOST_POINTS:
            raise self._reject(f"its outlines have over {_MOST_POINTS:,} points")
        return curves

    def _refuse_noise(self, mask: NDArray[np.bool_], where: str) -> None:
        """Refuse a mask whose outlines have too many points, before they are made.

        A curve has a point between each two neighbours of which one is in the mask.
        """
        framed = np.pad(mask, 1)
        points = int(np.count_nonzero(framed[1:] != framed[:-1]) + np.count_nonzero(framed[:, 1:] != framed[:, :-1]))
        if points > _MOST_PLANE_POINTS:
            raise self._reject(
                f"the outlines of {where} have {points:,} points, {_MOST_PLANE_POINTS:,} at most are read"
            )


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


def names_lesion(name: str) -> bool:
    """Return whether a name is that of a nodule or another lesion."""
    return _LESION.search(_split_words(name)) is not None


def names_anatomy(name: str) -> bool:
    """Return whether a name is that of a lung or another part of the body, and not that of a lesion."""
    return not names_lesion(name) and _ANATOMY.search(_split_words(name)) is not None


def _split_words(name: str) -> str:
    return re.sub(r"[_\-.]+", " ", name)
