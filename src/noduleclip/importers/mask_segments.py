"""Masks of volumes as segments on the slices of their CT."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from noduleclip.errors import RejectCode, SliceError
from noduleclip.importers.mask_voxels import Instance, MaskInstances, MaskRules, iterate_slices, read_instances
from noduleclip.importers.segments import MaskPlane, Segment, Tracer
from noduleclip.io.slice_plane import SlicePlane
from noduleclip.io.volumes.volume import Volume

_SLACK_PX: Final = 0.1  # of affines that were rounded
_Places = dict[int, str]


@dataclass(frozen=True)
class ImageSlices:
    """The slices that a mask is drawn on.

    Attributes:
        name: The image, for messages.
        planes: Where its slices lie, in order.
        sop_uids: Their SOP Instance UIDs.
    """

    name: str
    planes: Sequence[SlicePlane]
    sop_uids: Sequence[str]


def read_mask(
    volume: Volume, rules: MaskRules, images: Sequence[ImageSlices], *, is_one: bool = False
) -> tuple[list[Segment], MaskInstances]:
    """Read the nodules of a mask as segments on the slices of its image.

    Args:
        volume: The mask.
        rules: Which voxels are nodules.
        images: The slices of its image; of several reconstructions the first on whose grid the mask is.
        is_one: Whether the whole mask is one nodule.

    Returns:
        A segment for each nodule, without a series, and what else the mask has.

    Raises:
        InputError: The mask cannot be read, or is not on the grid of the image.
    """
    found = read_instances(volume, rules, is_one=is_one)
    used = sorted({index for one in found.nodules for index in one.voxels_xyz[:, 2].tolist()})
    places = _find_slices(volume, used, images)
    tracer = Tracer(
        lambda fact: SliceError(RejectCode.TOO_LARGE, f"{volume.path}: {fact}; no mask of nodules: leave it out")
    )
    segments = [
        Segment(
            path=volume.path,
            seg_uid="",
            number=number,
            label=f"{one.name} of {volume.path.name}",
            tracking_uid="",
            series_uid="",
            patient_id="",
            planes=tuple(_trace(one, volume, places, tracer)),
        )
        for number, one in enumerate(found.nodules, 1)
    ]
    return segments, found


def _trace(instance: Instance, volume: Volume, places: _Places, tracer: Tracer) -> list[MaskPlane]:
    planes = []
    for index, corner, mask in iterate_slices(instance.voxels_xyz):
        curves = tuple(
            replace(curve, points_px=curve.points_px + np.array(corner))
            for curve in tracer.trace(mask, f"slice {index}")
        )
        planes.append(MaskPlane(places[index], volume.find_plane(index), curves, int(np.count_nonzero(mask))))
    return planes


def _find_slices(volume: Volume, used: Sequence[int], images: Sequence[ImageSlices]) -> _Places:
    refused: SliceError | None = None
    for image in images:
        try:
            return _match_slices(volume, used, image)
        except SliceError as error:
            refused = refused or error
    assert refused is not None, "a series has slices"
    raise refused


def _match_slices(volume: Volume, used: Sequence[int], image: ImageSlices) -> _Places:
    """Return the SOP Instance UIDs of the image's slices that some slices of a mask lie on, voxel on voxel."""
    if not used:
        return {}
    across = image.planes[0].axes[2]
    heights_mm = np.array([plane.position_mm for plane in image.planes]) @ across
    gap_mm = float(np.median(np.abs(np.diff(heights_mm)))) if len(heights_mm) > 1 else volume.spacing_xyz_mm[2]
    places = {}
    for index in used:
        plane = volume.find_plane(index)
        nearest = int(np.abs(heights_mm - np.array(plane.position_mm) @ across).argmin())
        if not _coincide(plane, image.planes[nearest], _SLACK_PX * gap_mm):
            raise SliceError(RejectCode.OTHER_GRID, _describe_grids(volume, image, index))
        places[index] = image.sop_uids[nearest]
    return places


def _coincide(mask: SlicePlane, image: SlicePlane, slack_mm: float) -> bool:
    """Return whether the pixels of a plane are pixels of another one, as far as both reach."""
    rows, columns = mask.shape_yx
    corners_px = np.array([(0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)], np.float64)
    corners_mm = mask.to_patient(corners_px)
    there_px = image.to_pixels(corners_mm)
    heights_mm = [abs(image.height_mm(corner.tolist())) for corner in corners_mm]
    sides_px = np.ptp(there_px, axis=0)
    return bool(
        max(heights_mm) <= slack_mm
        and np.abs(there_px - np.rint(there_px)).max() <= _SLACK_PX
        and sorted(np.rint(sides_px).tolist()) == sorted([columns - 1, rows - 1])
    )


def _describe_grids(volume: Volume, image: ImageSlices, index: int) -> str:
    path: Path = volume.path
    heights = sorted(plane.position_mm[2] for plane in image.planes)
    first = image.planes[0]
    gap_mm = (heights[-1] - heights[0]) / max(len(heights) - 1, 1)
    mask_grid = _describe_grid(volume.shape_zyx[::-1], volume.spacing_xyz_mm, volume.find_plane(0).position_mm)
    image_grid = _describe_grid(
        (first.shape_yx[1], first.shape_yx[0], len(heights)), (*first.spacing_yx_mm[::-1], gap_mm), first.position_mm
    )
    remedy = "resample the mask to the image, by nearest neighbour"
    if sorted(volume.shape_zyx) == sorted((len(heights), *first.shape_yx)):
        remedy = f"if it was made of the image's array, save it with the image's affine, else {remedy}"
    return (
        f"{path}: its slice {index} is on no slice of {image.name}, voxel on voxel: the mask has {mask_grid}, the "
        f"image {image_grid}; {remedy}"
    )


def _describe_grid(shape_xyz: Sequence[int], spacing_xyz_mm: Sequence[float], origin_mm: Sequence[float]) -> str:
    voxels = " x ".join(map(str, shape_xyz))
    sides = " x ".join(f"{side:.4g}" for side in spacing_xyz_mm)
    origin = ", ".join(f"{part:.5g}" for part in origin_mm)
    return f"{voxels} voxels of {sides} mm from ({origin}) mm"
