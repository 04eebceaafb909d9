"""Detection data lists and detection results of MONAI (JSON) as spheres."""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noduleclip.errors import ArtefactError, InputError, make_printable
from noduleclip.importers.annotations import RejectedAnnotation, Sphere
from noduleclip.importers.boxes import Box, BoxMode, place_boxes
from noduleclip.importers.coordinates import Coordinates
from noduleclip.importers.image_names import name_images
from noduleclip.io.artefacts import read_json_value

TRAINING, VALIDATION, TEST = "training", "validation", "test"
_LISTS: Final = {
    **dict.fromkeys((TRAINING, "train"), TRAINING),
    **dict.fromkeys((VALIDATION, "val", "valid"), VALIDATION),
    **dict.fromkeys((TEST, "testing"), TEST),
}
_PREDICTED: Final = ("pred_box", "pred_boxes")
_BOXES: Final = (*_PREDICTED, "box", "boxes")
"""Predicted ones come first: beside them the others are the truth."""
_SCORES: Final = ("pred_score", "pred_scores", "label_scores", "labels_scores", "score", "scores")
_PREDICTED_LABELS: Final = ("pred_label", "pred_labels")
_LABELS: Final = ("label", "labels", *_PREDICTED_LABELS)
_IMAGE: Final = "image"
_MOST_BYTES: Final = 1 << 27  # 300 detections in each of LUNA16's 888 scans take 90 MB


@dataclass(frozen=True)
class DataList:
    """The content of a data list or of results.

    Attributes:
        spheres: Its boxes, list after list.
        lists: The series of each list, each once, by the list's name; None where the boxes are detections.
        rejected: Boxes that give no sphere.
        remarks: What was left out, a sentence each.
        counts: Boxes and images that are left out, by reason.
    """

    spheres: list[Sphere]
    lists: dict[str, list[str]] | None
    rejected: list[RejectedAnnotation]
    remarks: list[str]
    counts: Counter[str]

    @property
    def has_scores(self) -> bool:
        """Whether these are the results of a detector."""
        return self.lists is None


@dataclass(frozen=True)
class _Entry:
    """An image of the file with its boxes."""

    where: str
    image: str
    boxes: Sequence[Box]


def read_data_list(
    path: Path,
    mode: BoxMode = BoxMode.CCCWHD,
    coordinates: Coordinates = Coordinates.LPS,
    *,
    labels: Collection[str] = (),
    min_score: float | None = None,
) -> DataList:
    """Read a data list, or the results of a detector.

    The diameter is the longer of a box's two sides in the plane; in MONAI's lists of LUNA16 all sides are the diameter.

    Args:
        path: JSON with lists `training`, `validation` or `test` of objects with `image` and `box`, or with the names
            `train`, `val`, `valid` and `testing` for them. Images of a test list may have no box: they are left out.
            Results have the scores of the boxes beside them, as `label_scores`, `score` or `scores`; they may be one
            list without a name, or one object, as well. Of predicted boxes (`pred_box`) beside true ones the predicted
            are read.
        mode: Order of the numbers of a box.
        coordinates: What the boxes are in.
        labels: Labels of the boxes to use; none = all.
        min_score: Boxes of a lower score are not rejected.

    Raises:
        InputError: The file is no such list; the message names the list and the entry.
    """
    try:
        content = read_json_value(path, _MOST_BYTES)
    except ArtefactError as error:
        raise InputError(str(error)) from error
    named, remarks = _find_lists(content, path)
    lists: dict[str, list[_Entry]] = {}
    counts: Counter[str] = Counter()
    for name, raw in named.items():
        if not isinstance(raw, list):
            raise InputError(f"{path}: {name!r} is no list")
        entries: list[_Entry] = []
        unlabelled = 0
        for number, entry in enumerate(raw):
            if _LISTS.get(name) == TEST and not _has_boxes(entry):
                unlabelled += 1
            else:
                entries.append(_parse_entry(entry, f"{path}: {name}[{number}]"))
        if unlabelled:
            remarks.append(f"{unlabelled} images of its list {name} have no boxes and are left out")
        lists.setdefault(_LISTS.get(name, name), []).extend(entries)
    everything = [entry for entries in lists.values() for entry in entries]
    series = name_images([entry.image for entry in everything])
    boxes = [_name(box, series[entry.image]) for entry in everything for box in entry.boxes]
    if not boxes:
        raise InputError(f"{path}: none of its images has a box")
    has_scores = any(box.score is not None for box in boxes)
    if has_scores and (empty := sum(not entry.boxes for entry in everything)):
        counts["images without a detection"] = empty
    placed = place_boxes(boxes, mode, coordinates, path, labels=labels, min_score=min_score)
    of_lists = {name: list(dict.fromkeys(series[entry.image] for entry in here)) for name, here in lists.items()}
    return DataList(
        placed.spheres,
        None if has_scores else of_lists,
        placed.rejected,
        [*remarks, *placed.remarks],
        counts + placed.counts,
    )


def _name(box: Box, series: str) -> Box:
    return Box(box.where, series, box.numbers, box.score, box.label)


def _find_lists(content: object, path: Path) -> tuple[dict[str, object], list[str]]:
    """Return the lists of a file by name, and remarks on those that are left out.

    Raises:
        InputError: It has none.
    """
    if isinstance(content, list):
        return {"": content}, []
    if not isinstance(content, dict):
        raise InputError(f"{path}: is neither an object nor a list of images, but {type(content).__name__}")
    if _IMAGE in content and _has_boxes(content):
        return {"": [content]}, []
    named = {name: entries for name, entries in content.items() if name in _LISTS}
    if not named:
        raise InputError(f"{path}: has none of the lists {', '.join(_LISTS)}; found {', '.join(list(content)[:8])}")
    other = [name for name, entries in content.items() if name not in _LISTS and _is_list_of_images(entries)]
    if not other:
        return named, []
    name = make_printable(other[0])[:40]
    return named, [f"its list {name!r} is left out, one of {len(other)}; lists are named {', '.join(_LISTS)}"]


def _parse_entry(entry: object, where: str) -> _Entry:
    image = entry.get(_IMAGE) if isinstance(entry, dict) else None
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    if not isinstance(entry, dict) or not isinstance(image, str) or not name_images([image])[image]:
        raise InputError(f"{where}: has no 'image' with a path")
    return _Entry(where, image, list(_list_boxes(entry, where)))


def _has_boxes(entry: object) -> bool:
    """Return whether an entry of a test list is labelled; a path alone is not."""
    return (isinstance(entry, dict) and any(key in entry for key in _BOXES)) or not isinstance(entry, (dict, str))


def _is_list_of_images(entries: object) -> bool:
    return isinstance(entries, list) and bool(entries) and isinstance(entries[0], dict) and _IMAGE in entries[0]


def _list_boxes(entry: Mapping[str, object], where: str) -> Iterator[Box]:
    """Yield the boxes of an image, each with its place in the file.

    Raises:
        InputError: A box is not six numbers, a score is no number, or there are not as many scores as boxes.
    """
    key, boxes = _find(entry, _BOXES)
    if not isinstance(boxes, list):
        raise InputError(f"{where}: '{key or 'box'}' is no list of boxes")
    scores_key, scores = _find(entry, _SCORES)
    if scores is not None and not (isinstance(scores, list) and len(scores) == len(boxes)):
        found = len(scores) if isinstance(scores, list) else "no list of"
        raise InputError(f"{where}: has {len(boxes)} boxes and {found} scores ({scores_key!r})")
    _, labels = _find(entry, _PREDICTED_LABELS if key in _PREDICTED else _LABELS)
    has_labels = isinstance(labels, list) and len(labels) == len(boxes)
    for number, box in enumerate(boxes):
        place = f"{where}, {key}[{number}]"
        if not (isinstance(box, list) and len(box) == 6 and all(type(part) in (int, float) for part in box)):
            raise InputError(f"{place}: is not six numbers")
        score = scores[number] if isinstance(scores, list) else None
        if score is not None and type(score) not in (int, float):
            raise InputError(f"{place}: its score is no number")
        yield Box(
            place,
            "",
            [_to_float(part) for part in box],
            None if score is None else _to_float(score),
            str(labels[number]) if has_labels and isinstance(labels, list) else "",
        )


def _find(entry: Mapping[str, object], keys: Sequence[str]) -> tuple[str, object]:
    """Return the first of some keys that an entry has, and its value; nothing where it has none."""
    return next(((key, entry[key]) for key in keys if key in entry), ("", None))


def _to_float(part: float) -> float:
    """Return a number of JSON, whose integers have no limit."""
    return float(part) if abs(part) < 1e300 else math.inf
