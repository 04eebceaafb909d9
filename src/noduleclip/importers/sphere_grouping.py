"""Grouping of places into nodules: spheres that overlap, and points as spheres of a usual size."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.importers.annotations import Sphere
from noduleclip.importers.grouping import LEAST_OVERLAP, merge_similar, name_groups

POINT_MM: Final = 8.0
"""Diameter that a point counts as: about the median nodule of LIDC. Two points up to 4.8 mm apart are one nodule."""


def number_spheres(spheres: Sequence[Sphere]) -> list[str]:
    """Name the nodules of one patient; as `number_nodules`, for spheres and points."""
    return name_groups(spheres, group_spheres, _place)


def group_spheres(spheres: Sequence[Sphere]) -> list[list[int]]:
    """Group the spheres of one series by nodule, by the rule of `group_outlines` with volumes of spheres.

    Any two spheres of a nodule share at least a fifth of the smaller one's volume and are of different readers;
    those without a reader are all of one. The most similar are joined first.

    Returns:
        The indices of each nodule's spheres, ascending; nodules by their first sphere.
    """
    readers = np.unique([sphere.reader for sphere in spheres], return_inverse=True)[1]
    if len(spheres) < 2 or not readers.any():
        return [[at] for at in range(len(spheres))]
    centers_mm = np.array([sphere.center_mm for sphere in spheres])
    radii_mm = np.array([(sphere.diameter_mm or POINT_MM) / 2 for sphere in spheres])
    upwards = np.argsort(centers_mm[:, 2], kind="stable")
    heights_mm, reach_mm = centers_mm[upwards, 2], float(radii_mm.max())
    similarity: list[tuple[float, int, int]] = []
    for rank, one in enumerate(upwards.tolist()):
        end = int(np.searchsorted(heights_mm, heights_mm[rank] + radii_mm[one] + reach_mm, side="right"))
        others = upwards[rank + 1 : end]
        others = others[readers[others] != readers[one]]
        apart_mm = np.linalg.norm(centers_mm[others] - centers_mm[one], axis=1)
        shared = shared_volume(apart_mm, radii_mm[others], radii_mm[one])
        volumes, own = 4 / 3 * np.pi * radii_mm[others] ** 3, 4 / 3 * np.pi * radii_mm[one] ** 3
        alike = shared >= LEAST_OVERLAP * np.minimum(volumes, own)
        unions = volumes + own - shared
        similarity += [
            (-float(shared[at] / unions[at]), min(one, other), max(one, other))
            for at, other in zip(np.flatnonzero(alike).tolist(), others[alike].tolist(), strict=True)
        ]
    return merge_similar(len(spheres), similarity)


def shared_volume(apart: NDArray[np.float64], radii: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return the volumes that spheres share with another one.

    Args:
        apart: (N,) distances of their centres from its own.
        radii: (N,) their radii.
        radius: Its radius.

    Source:
        The lens of two spheres: Weisstein, Sphere-Sphere Intersection, MathWorld.
    """
    smaller = np.minimum(radii, radius)
    total, least = radii + radius, np.abs(radii - radius)
    distance = np.clip(apart, np.maximum(least, 1e-9), np.maximum(total, 1e-9))
    lens = (
        np.pi
        * (total - distance) ** 2
        * (distance**2 + 2 * distance * total - 3 * (radii - radius) ** 2)
        / (12 * distance)
    )
    return np.where(apart >= total, 0.0, np.where(apart <= least, 4 / 3 * np.pi * smaller**3, lens))


def _place(spheres: Sequence[Sphere]) -> tuple[float, ...]:
    """Return the middle of a nodule's spheres as (z, y, x)."""
    middle_mm = np.mean([sphere.center_mm for sphere in spheres], axis=0)
    return tuple(round(float(part), 3) for part in middle_mm[::-1])
