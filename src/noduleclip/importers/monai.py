"""Detection data lists of MONAI and its LUNA16 tutorial (JSON) as spheres, list by list.

Boxes have to be in world coordinates, as they are in those lists.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final

from noduleclip.errors import ArtefactError, InputError, RejectCode, make_printable
from noduleclip.importers.annotations import RejectedAnnotation, Sphere
from noduleclip.importers.coordinates import Coordinates
from noduleclip.io.artefacts import read_json
from noduleclip.io.roi_table import MAX_DIAMETER_MM

TRAINING, VALIDATION, TEST = "training", "validation", "test"
_LISTS: Final = {
    **dict.fromkeys((TRAINING, "train"), TRAINING),
    **dict.fromkeys((VALIDATION, "val", "valid"), VALIDATION),
    **dict.fromkeys((TEST, "testing"), TEST),
}
_SUFFIXES: Final = (".nii.gz", ".nii", ".mhd", ".mha", ".dcm")
_UID = re.compile(r"[0-2](\.\d+){5,}")


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

    def to_center(self, box: list[float]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
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
class DataList:
    """The content of a data list.

    Attributes:
        spheres: Its boxes, list after list; the series is the UID in the image's name, else that name.
        lists: The series of each list, each once, by the list's name.
        rejected: Boxes that give no sphere.
        remarks: What was left out, a sentence each.
    """

    spheres: list[Sphere]
    lists: dict[str, list[str]]
    rejected: list[RejectedAnnotation]
    remarks: list[str]


def read_data_list(path: Path, mode: BoxMode = BoxMode.CCCWHD, coordinates: Coordinates = Coordinates.LPS) -> DataList:
    """Read a data list.

    The diameter is the longer of a box's two sides in the plane; in MONAI's lists of LUNA16 all sides are the diameter.

    Args:
        path: JSON with lists `training`, `validation` or `test` of objects with `image` and `box`, or with the names
            `train`, `val`, `valid` and `testing` for them. Images of a test list may have no box: they are left out.
        mode: Order of the numbers of a box.
        coordinates: Direction of the axes.

    Raises:
        InputError: The file is no such list; the message names the list and the entry.
    """
    try:
        content = read_json(path)
    except ArtefactError as error:
        raise InputError(str(error)) from error
    names = [name for name in content if name in _LISTS]
    if not names:
        raise InputError(f"{path}: has none of the lists {', '.join(_LISTS)}; found {', '.join(list(content)[:8])}")
    found = DataList([], {}, [], [])
    boxes: list[tuple[str, str, list[float]]] = []
    for name in names:
        entries = content[name]
        if not isinstance(entries, list):
            raise InputError(f"{path}: {name!r} is no list")
        series = dict.fromkeys(found.lists.get(_LISTS[name], ()))
        unlabelled = 0
        for number, entry in enumerate(entries):
            if _LISTS[name] == TEST and not _has_boxes(entry):
                unlabelled += 1
                continue
            where = f"{path}: {name}[{number}]"
            uid = _parse_image(entry, where)
            series[uid] = None
            boxes += [(place, uid, box) for place, box in _list_boxes(entry, where)]
        if unlabelled:
            found.remarks.append(f"{unlabelled} images of its list {name} have no boxes and are left out")
        found.lists[_LISTS[name]] = list(series)
    other = [name for name, entries in content.items() if name not in _LISTS and _is_list_of_images(entries)]
    if other:
        found.remarks.append(
            f"its list {make_printable(other[0])[:40]!r} is left out, one of {len(other)}; lists are named "
            f"{', '.join(_LISTS)}"
        )
    if not boxes:
        raise InputError(f"{path}: none of its images has a box")
    advice = _advise_mode([box for _, _, box in boxes])
    for place, uid, box in boxes:
        parsed = _parse_box(box, path, place, uid, mode, coordinates, advice)
        if isinstance(parsed, Sphere):
            found.spheres.append(parsed)
        else:
            found.rejected.append(parsed)
    return found


def name_series(image: str) -> str:
    """Return the series of an image: the last Series Instance UID in its path, else its name without endings.

    nnU-Net and nnDetection write the dots of a UID as underscores, and a channel behind it.
    """
    parts = PurePosixPath(image.replace("\\", "/")).parts
    for part in reversed(parts):
        stem = _strip(part)
        for text in (stem, stem.removesuffix("_0000").replace("_", ".")):
            if _UID.fullmatch(text):
                return text
    return _strip(parts[-1]) if parts else ""


def _strip(name: str) -> str:
    suffix = next((suffix for suffix in _SUFFIXES if name.casefold().endswith(suffix)), "")
    return name[: len(name) - len(suffix)] if suffix else name


def _parse_image(entry: object, where: str) -> str:
    image = entry.get("image") if isinstance(entry, dict) else None
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    uid = name_series(image) if isinstance(image, str) else ""
    if not uid:
        raise InputError(f"{where}: has no 'image' with a path")
    return uid


def _has_boxes(entry: object) -> bool:
    """Return whether an entry of a test list is labelled; a path alone is not."""
    return (isinstance(entry, dict) and ("box" in entry or "boxes" in entry)) or not isinstance(entry, (dict, str))


def _is_list_of_images(entries: object) -> bool:
    return isinstance(entries, list) and bool(entries) and isinstance(entries[0], dict) and "image" in entries[0]


def _list_boxes(entry: dict[str, object], where: str) -> list[tuple[str, list[float]]]:
    """Return the boxes of an image, each with its place in the file."""
    boxes = entry.get("box", entry.get("boxes"))
    if not isinstance(boxes, list):
        raise InputError(f"{where}: 'box' is no list of boxes")
    found = []
    for number, box in enumerate(boxes):
        place = f"{where}, box[{number}]"
        if not (isinstance(box, list) and len(box) == 6 and all(type(part) in (int, float) for part in box)):
            raise InputError(f"{place}: is not six numbers")
        found.append((place, [float(part) if abs(part) < 1e300 else math.inf for part in box]))
    return found


def _has_sides(w: float, h: float, depth: float) -> bool:
    return min(w, h, depth) > 0 and max(w, h) <= MAX_DIAMETER_MM


def _advise_mode(boxes: Sequence[list[float]]) -> str:
    """Return the end of a message that names the modes in which all boxes have sides of a nodule."""
    fitting = [mode for mode in BoxMode if all(_has_sides(*mode.to_center(box)[1]) for box in boxes)]
    return f"; they do with --box-mode {' or '.join(fitting)}" if fitting else ""


def _parse_box(
    box: list[float], path: Path, place: str, uid: str, mode: BoxMode, coordinates: Coordinates, advice: str
) -> Sphere | RejectedAnnotation:
    center, (w, h, depth) = mode.to_center(box)
    if not all(math.isfinite(part) and abs(part) < 1e5 for part in (*center, w, h, depth)):
        return RejectedAnnotation(path, RejectCode.OUTSIDE, f"{place}: is no place in mm")
    if not _has_sides(w, h, depth):
        reason = (
            f"{place}: read as {mode}, its sides are {w:g}, {h:g} and {depth:g} mm; they must lie in "
            f"(0, {MAX_DIAMETER_MM:g}] mm{advice}"
        )
        return RejectedAnnotation(path, RejectCode.NO_DIAMETER, reason)
    return Sphere(uid, coordinates.to_lps(center), max(w, h), name=place.removeprefix(f"{path}: "))
