"""Grouping of outlines into nodules (docs/decisions/0012-grouping.md)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, count
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from noduleclip.importers.annotations import Outline, Sphere

Annotation = TypeVar("Annotation", Outline, Sphere)
LEAST_OVERLAP = 0.2


@dataclass(frozen=True)
class Volume:
    """The pixels of an outline.

    Attributes:
        pixels: By slice, its pixels as sorted numbers.
        total: How many there are.
    """

    pixels: dict[float | str, NDArray[np.int64]]
    total: int

    def count_shared(self, other: "Volume") -> int:
        """Count the pixels in both."""
        return sum(
            np.intersect1d(self.pixels[key], other.pixels[key], assume_unique=True).size
            for key in self.pixels.keys() & other.pixels.keys()
        )


def group_outlines(outlines: Sequence[Outline]) -> list[list[int]]:
    """Group the outlines of one series by nodule.

    Any two outlines of a nodule share at least a fifth of the smaller one's volume and are of different readers, as
    far as readers are known. Where that leaves a choice, the most similar (intersection over union) are
    joined first: where one reader drew two nodules and another one, the more similar of the two is grouped with it.
    Holes count as inside. Contours on slices that are not known overlap nothing.

    Args:
        outlines: Outlines of one series; an empty `reader` may be any reader.

    Returns:
        The indices of each nodule's outlines, ascending; nodules by their first outline. Each index occurs once.
    """
    volumes = [fill_outline(outline) for outline in outlines]
    similarity: list[tuple[float, int, int]] = []
    for one, two in combinations(range(len(outlines)), 2):
        if outlines[one].reader and outlines[one].reader == outlines[two].reader:
            continue
        shared = volumes[one].count_shared(volumes[two])
        if shared and shared >= LEAST_OVERLAP * min(volumes[one].total, volumes[two].total):
            similarity.append((-shared / (volumes[one].total + volumes[two].total - shared), one, two))
    return merge_similar(len(outlines), similarity)


def merge_similar(count: int, similarity: Sequence[tuple[float, int, int]]) -> list[list[int]]:
    """Join things of which any two are alike, the most similar first.

    Args:
        count: How many there are.
        similarity: Minus the similarity of each two that are alike, and their indices, the smaller one first.

    Returns:
        The indices of each group, ascending; groups by their first index.
    """
    alike = {(one, two) for _, one, two in similarity}
    groups = [[at] for at in range(count)]
    for _, one, two in sorted(similarity):
        first, second = groups[one], groups[two]
        if first is not second and all((min(a, b), max(a, b)) in alike for a in first for b in second):
            first += second
            for at in second:
                groups[at] = first
    return sorted(sorted(group) for at, group in enumerate(groups) if at == min(group))


def number_nodules(outlines: Sequence[Outline]) -> list[str]:
    """Name the nodules of one patient, over all of the patient's series.

    Args:
        outlines: All outlines of the patient, in any order.

    Returns:
        By outline, the nodule: the source's id where it groups readers itself, else a number from 1, by series,
        then by the height of the nodule, ascending, then by row and column.
    """
    return name_groups(outlines, group_outlines, _place)


def name_groups(
    annotations: Sequence[Annotation],
    group: Callable[[Sequence[Annotation]], list[list[int]]],
    place: Callable[[Sequence[Annotation]], tuple[float, ...]],
) -> list[str]:
    """Name the nodules of one patient.

    Args:
        annotations: All annotations of the patient, in any order.
        group: Returns the indices of each nodule's annotations, of those of one series.
        place: Returns what nodules of a series are ordered by.
    """
    names = [annotation.nodule_id for annotation in annotations]
    taken = set(names)
    free = (str(number) for number in count(1) if str(number) not in taken)
    by_series: dict[str, list[int]] = {}
    for at, annotation in enumerate(annotations):
        if not annotation.nodule_id:
            by_series.setdefault(annotation.series_uid, []).append(at)
    for _, nameless in sorted(by_series.items()):
        groups = [[nameless[at] for at in found] for found in group([annotations[at] for at in nameless])]
        for found in sorted(groups, key=lambda found: place([annotations[at] for at in found])):
            name = next(free)
            for at in found:
                names[at] = name
    return names


def _place(outlines: Sequence[Outline]) -> tuple[float, ...]:
    """Return the middle of a nodule's outlines as (z, y, x); unknown is highest."""
    contours = [contour for outline in outlines for contour in outline.contours]
    z_mm = np.concatenate([np.full(len(contour.points_px), contour.z_mm) for contour in contours])
    places = np.column_stack([z_mm, np.concatenate([contour.points_px[:, ::-1] for contour in contours])])
    return tuple(round(float(value), 3) if np.isfinite(value) else np.inf for value in places.mean(axis=0))


def fill_outline(outline: Outline) -> Volume:
    """Return the pixels inside or on the curves of an outline, holes among them."""
    pixels: dict[float | str, NDArray[np.int64]] = {}
    for contour in outline.contours:
        key = contour.slice_key
        if key is not None and np.isfinite(contour.points_px).all():
            filled = _fill_curve(contour.points_px)
            pixels[key] = np.union1d(pixels[key], filled) if key in pixels else filled
    return Volume(pixels, sum(filled.size for filled in pixels.values()))


def _fill_curve(points_px: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the pixels inside or on a curve as sorted numbers; a point has one."""
    first = np.floor(points_px.min(axis=0)).astype(np.int64)
    width, height = (int(side) for side in np.ceil(points_px.max(axis=0)).astype(np.int64) - first + 1)
    canvas = Image.new("L", (width, height))
    vertices: list[float] = (points_px - first).ravel().tolist()
    ImageDraw.Draw(canvas).polygon(vertices if len(points_px) > 1 else vertices * 2, fill=1, outline=1)
    rows, columns = np.nonzero(np.asarray(canvas))
    return np.asarray(((rows + first[1]) << 32) + columns + first[0])
