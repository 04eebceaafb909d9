"""Boxes of data lists and detectors as spheres."""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from noduleclip.errors import InputError, RejectCode, make_printable
from noduleclip.importers.annotations import RejectedAnnotation, Sphere
from noduleclip.importers.coordinates import Coordinates, PixelPlace
from noduleclip.io.roi_table import MAX_DIAMETER_MM

_NOWHERE: Final = (math.nan,) * 3
_MOST_LABELS: Final = 8


class BoxMode(StrEnum):
    """Order of the six numbers of a box, by MONAI's names.

    Source:
        monai.data.box_utils: CenterSizeMode, CornerSizeMode, CornerCornerModeTypeA to C.
    """

    CCCWHD = "cccwhd"
    XYZWHD = "xyzwhd"
    XYZXYZ = "xyzxyz"
    XXYYZZ = "xxyyzz"
    XYXYZZ = "xyxyzz"

    def to_center(self, box: Sequence[float]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Return the middle (x, y, z) and the sides (w, h, d) of a box, both in the order of its axes."""
        a, b, c, d, e, f = box
        if self is BoxMode.CCCWHD:
            return (a, b, c), (d, e, f)
        if self is BoxMode.XYZWHD:
            return (a + d / 2, b + e / 2, c + f / 2), (d, e, f)
        if self is BoxMode.XXYYZZ:
            low, high = (a, c, e), (b, d, f)
        elif self is BoxMode.XYXYZZ:
            low, high = (a, b, e), (c, d, f)
        else:
            low, high = (a, b, c), (d, e, f)
        x, y, z = ((one + other) / 2 for one, other in zip(low, high, strict=True))
        w, h, depth = (other - one for one, other in zip(low, high, strict=True))
        return (x, y, z), (w, h, depth)


@dataclass(frozen=True)
class Box:
    """A box of an image.

    Attributes:
        where: Its place in the file, for messages.
        series: The series that its image names.
        numbers: Its six numbers; infinite where one is too large.
        score: Score of the detector; None where it is no detection.
        label: Its class; empty where it has none.
    """

    where: str
    series: str
    numbers: Sequence[float]
    score: float | None = None
    label: str = ""


@dataclass
class PlacedBoxes:
    """Spheres of boxes.

    Attributes:
        spheres: One per box that gives one.
        rejected: The others.
        counts: Boxes that are left out, by reason.
        remarks: Oddities, a sentence each.
    """

    spheres: list[Sphere] = field(default_factory=list)
    rejected: list[RejectedAnnotation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)


def choose_labels(boxes: Sequence[Box], labels: Collection[str], path: Path) -> tuple[list[Box], PlacedBoxes]:
    """Keep the boxes of some labels.

    Args:
        boxes: Boxes of a file.
        labels: Labels to keep; none = all, and a remark where there are several.
        path: The file, for messages.

    Returns:
        The boxes, and what there is to report.

    Raises:
        InputError: No box has one of the labels.
    """
    report = PlacedBoxes()
    found = Counter(box.label for box in boxes)
    listed = ", ".join(
        f"{make_printable(label)[:20]!r} ({count})" for label, count in sorted(found.items())[:_MOST_LABELS]
    )
    kept = [box for box in boxes if not labels or box.label in labels]
    if boxes and not kept:
        raise InputError(f"{path}: none of its {len(boxes):,} boxes has a label of --labels; their labels are {listed}")
    if not labels and len(found) > 1:
        report.remarks.append(f"its boxes have the labels {listed}; all are used (--labels chooses)")
    if len(kept) < len(boxes):
        report.counts["boxes of other labels, left out"] = len(boxes) - len(kept)
    return kept, report


def place_boxes(
    boxes: Sequence[Box],
    mode: BoxMode,
    coordinates: Coordinates,
    path: Path,
    *,
    labels: Collection[str] = (),
    min_score: float | None = None,
    advise: bool = True,
) -> PlacedBoxes:
    """Make spheres of boxes. The diameter is the longer one of a box's two sides in the plane.

    Args:
        boxes: Boxes of a file.
        mode: Order of their numbers.
        coordinates: What they are in.
        path: The file.
        labels: Labels to keep; none = all.
        min_score: A box of a lower score is not rejected, whatever its sides.
        advise: Name the modes that fit in messages.

    Raises:
        InputError: No box has one of the labels.
    """
    kept, report = choose_labels(boxes, labels, path)
    advice = _advise_mode([box.numbers for box in kept], coordinates) if advise else ""
    for box in kept:
        placed = _place(box, mode, coordinates, path, advice)
        if isinstance(placed, Sphere):
            report.spheres.append(placed)
        elif min_score is not None and box.score is not None and box.score < min_score:
            report.counts[f"places below the score {min_score:g}, left out"] += 1
        else:
            report.rejected.append(placed)
    return report


def _place(box: Box, mode: BoxMode, coordinates: Coordinates, path: Path, advice: str) -> Sphere | RejectedAnnotation:
    center, sides = mode.to_center(box.numbers)
    unit = "mm" if coordinates.is_in_mm else "voxels"
    if not all(math.isfinite(part) and abs(part) < 1e5 for part in (*center, *sides)):
        return RejectedAnnotation(path, RejectCode.OUTSIDE, f"{box.where}: is no place in {unit}")
    if box.score is not None and not math.isfinite(box.score):
        return RejectedAnnotation(path, RejectCode.BAD_NUMBER, f"{box.where}: its score is not finite")
    if not _has_sides(sides, coordinates):
        allowed = f"they must lie in (0, {MAX_DIAMETER_MM:g}] mm" if coordinates.is_in_mm else "they must be positive"
        reason = (
            f"{box.where}: read as {mode}, its sides are {sides[0]:g}, {sides[1]:g} and {sides[2]:g} {unit}; "
            f"{allowed}{advice}"
        )
        return RejectedAnnotation(path, RejectCode.NO_DIAMETER, reason)
    in_mm = coordinates.is_in_mm
    return Sphere(
        box.series,
        coordinates.to_lps(center) if in_mm else _NOWHERE,
        max(sides[:2]) if in_mm else None,
        name=box.where.removeprefix(f"{path}: "),
        score=box.score,
        pixel_place=None if in_mm else PixelPlace(center, coordinates, sides),
    )


def _has_sides(sides: Sequence[float], coordinates: Coordinates) -> bool:
    return min(sides) > 0 and (max(sides[:2]) <= MAX_DIAMETER_MM or not coordinates.is_in_mm)


def _advise_mode(boxes: Sequence[Sequence[float]], coordinates: Coordinates) -> str:
    """Return the end of a message that names the modes in which all boxes have sides of a nodule."""
    fitting = [mode for mode in BoxMode if all(_has_sides(mode.to_center(box)[1], coordinates) for box in boxes)]
    return f"; they do with --box-mode {' or '.join(fitting)}" if fitting else ""
