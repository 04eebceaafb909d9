"""Results of nnDetection as spheres: the JSON files of `nndet_boxes2nii`.

A box has z and y of its first corner, z and y of the second, then both x, in voxels of the image as SimpleITK reads it.
Its bounds lie one voxel outside: a nodule of the voxels 4 to 6 has the bounds 3 and 7. The detector's bounds have
fractions, which the JSON cuts off: a bound of 3 was one from 3 to 4, and counts as 3.5.

Source:
    nnDetection, scripts/utils.py (boxes2nii, `list(map(int, pbox))`), nndet/core/boxes (instances_to_boxes_np), and its
    issues 121, 132, 142 and 261.
"""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noduleclip.errors import ArtefactError, InputError, RejectCode, UsageError
from noduleclip.importers.annotations import RejectedAnnotation
from noduleclip.importers.boxes import Box, BoxMode, PlacedBoxes, place_boxes
from noduleclip.importers.coordinates import Coordinates
from noduleclip.importers.files import Walk, find_files
from noduleclip.importers.image_names import name_series
from noduleclip.io.artefacts import read_json_value

_ENDING: Final = "_boxes"
_PICKLES: Final = (".pkl", ".pickle")
_EXPORT: Final = (
    "a pickle is not loaded, as loading one runs what it holds; export them as JSON by nnDetection's own command, "
    "nndet_boxes2nii TASK MODEL --threshold 0 (--test for test_predictions), and name its folder, …_predictions_nii"
)


@dataclass(frozen=True)
class NnDetections:
    """Results of nnDetection.

    Attributes:
        placed: Spheres of the boxes, in voxels of their images.
        cases: Number of files, one per image.
        unread: Files that are no results.
    """

    placed: PlacedBoxes
    cases: int
    unread: list[RejectedAnnotation]


def read_nndetection(path: Path, *, labels: Collection[str] = (), min_score: float | None = None) -> NnDetections:
    """Read the results of nnDetection.

    Args:
        path: A folder of `CASE_boxes.json`, or one such file. The case names the image.
        labels: Labels of the boxes to use; none = all.
        min_score: Boxes of a lower score are not rejected.

    Raises:
        InputError: There is no such file, or no box in any of them.
        UsageError: There are pickles only.
    """
    files = _find_files(path)
    boxes: list[Box] = []
    unread: list[RejectedAnnotation] = []
    for file in files:
        try:
            found = list(_read_case(file))
        except (ArtefactError, InputError) as error:
            if len(files) == 1:
                raise InputError(str(error)) from error
            unread.append(RejectedAnnotation(file, RejectCode.BAD_NUMBER, str(error)))
        else:
            boxes += found
    if not boxes:
        first = f"; first of {len(unread)} that cannot be read: {unread[0].reason}" if unread else ""
        raise InputError(f"{path}: no box in {len(files)} files of results{first}")
    placed = place_boxes(
        boxes, BoxMode.XYZXYZ, Coordinates.VOXEL, path, labels=labels, min_score=min_score, advise=False
    )
    empty = len(files) - len(unread) - len({box.series for box in boxes})
    if empty > 0:
        placed.counts["images without a detection"] = empty
    return NnDetections(placed, len(files), unread)


def _find_files(path: Path) -> list[Path]:
    """Return the files of results at or below a path.

    Raises:
        InputError: There is none.
        UsageError: There are pickles only.
    """
    if path.suffix.lower() in _PICKLES:
        raise UsageError(f"{path}: {_EXPORT}")
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder of results of nnDetection")
    found = find_files(path, ".json", walk=Walk())
    named = [file for file in found if file.stem.endswith(_ENDING)]
    if named or found:
        return named or found
    if pickles := find_files(path, *_PICKLES, walk=Walk()):
        raise UsageError(f"{path}: holds {len(pickles)} pickles and no JSON; {_EXPORT}")
    raise InputError(f"{path}: holds no CASE{_ENDING}.json, which nndet_boxes2nii writes")


def _read_case(path: Path) -> Iterator[Box]:
    """Yield the boxes of one image.

    Raises:
        ArtefactError: The file is no JSON.
        InputError: It is no result of nnDetection.
    """
    content = read_json_value(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected an object of numbered boxes, found {type(content).__name__}")
    series = name_series(path.stem.removesuffix(_ENDING))
    for number, entry in content.items():
        where = f"{path}: box {number[:20]!r}"
        if not isinstance(entry, dict) or "box" not in entry or "score" not in entry:
            raise InputError(f"{where}: has no 'box' and 'score'; is this a file of nndet_boxes2nii?")
        numbers, score = entry["box"], entry["score"]
        if not (isinstance(numbers, list) and len(numbers) == 6 and all(type(it) in (int, float) for it in numbers)):
            raise InputError(f"{where}: is not six numbers")
        if type(score) not in (int, float):
            raise InputError(f"{where}: its score is no number")
        yield Box(
            where,
            series,
            _to_corners(_restore_fractions(numbers)),
            float(score) if abs(score) < 1e300 else math.inf,
            str(entry.get("label", "")),
        )


def _restore_fractions(numbers: list[float]) -> list[float]:
    """Return bounds with half a voxel in place of what was cut off, where none has a fraction."""
    cut = 0.5 if all(type(it) is int for it in numbers) else 0.0
    return [float(it) + cut if abs(it) < 1e300 else math.inf for it in numbers]


def _to_corners(bounds: list[float]) -> list[float]:
    """Return the corners (x, y, z, x, y, z) of the voxels inside a box, one voxel wide at least, unless reversed."""
    z0, y0, z1, y1, x0, x1 = bounds
    corners = [_shrink(low, high) for low, high in ((x0, x1), (y0, y1), (z0, z1))]
    return [low for low, _ in corners] + [high for _, high in corners]


def _shrink(low: float, high: float) -> tuple[float, float]:
    """Return the edges of the voxels between two bounds that lie one voxel outside them, around the same middle."""
    middle, side = (low + high) / 2, high - low
    half = max(side - 1, 1.0) / 2 if side >= 0 else side / 2
    return middle - half, middle + half
