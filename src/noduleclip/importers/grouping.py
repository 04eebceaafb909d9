"""Grouping of outlines into nodules (docs/decisions/0012-grouping.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, count

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from noduleclip.importers.annotations import Outline

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
    together = np.eye(len(outlines), dtype=bool)
    for one, two in combinations(range(len(outlines)), 2):
        if outlines[one].reader and outlines[one].reader == outlines[two].reader:
            continue
        shared = volumes[one].count_shared(volumes[two])
        if shared and shared >= LEAST_OVERLAP * min(volumes[one].total, volumes[two].total):
            together[one, two] = together[two, one] = True
            similarity.append((-shared / (volumes[one].total + volumes[two].total - shared), one, two))
    nodules = [[at] for at in range(len(outlines))]
    for _, one, two in sorted(similarity):
        first, second = nodules[one], nodules[two]
        if first is not second and together[np.ix_(first, second)].all():
            first += second
            for at in second:
                nodules[at] = first
    return sorted(sorted(nodule) for at, nodule in enumerate(nodules) if at == min(nodule))


def number_nodules(outlines: Sequence[Outline]) -> list[str]:
    """Name the nodules of one patient, over all of the patient's series.

    Args:
        outlines: All outlines of the patient, in any order.

    Returns:
        By outline, the nodule: the source's id where it groups readers itself, else a number from 1, by series,
        then by the height of the nodule, ascending, then by row and column.
    """
    names = [outline.nodule_id for outline in outlines]
    taken = set(names)
    free = (str(number) for number in count(1) if str(number) not in taken)
    for series_uid in sorted({outline.series_uid for outline in outlines}):
        nameless = [at for at, it in enumerate(outlines) if it.series_uid == series_uid and not it.nodule_id]
        groups = [[nameless[at] for at in group] for group in group_outlines([outlines[at] for at in nameless])]
        for group in sorted(groups, key=lambda group: _place([outlines[at] for at in group])):
            name = next(free)
            for at in group:
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
