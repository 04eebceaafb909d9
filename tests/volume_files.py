"""Volumes in each format from a known array and affine, by the libraries that others write them with."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import nrrd
import numpy as np
from numpy.typing import NDArray

from importers.metaimages import write_mhd

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
FORMATS = ("a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mhd", "a.mha")


def write_volume(path: Path, stored: NDArray[np.generic], affine_lps: NDArray[np.float64]) -> Path:
    """Write (K, J, I) values, whose voxel (i, j, k) lies at an affine's place in mm (LPS), as the ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        return write_nifti(path, stored, affine_lps)
    if path.suffix in (".nrrd", ".nhdr"):
        return write_nrrd(path, stored, affine_lps)
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
    axes = [(x, y, z) for x, y, z in (affine_lps[:3, :3] / spacing).T.tolist()]
    x, y, z = affine_lps[:3, 3].tolist()
    i, j, k = spacing.tolist()
    return write_mhd(path, stored, spacing_xyz_mm=(i, j, k), origin_mm=(x, y, z), axes=tuple(axes))


def write_nifti(
    path: Path,
    stored: NDArray[np.generic],
    affine_lps: NDArray[np.float64],
    *,
    version: int = 1,
    sform: bool = True,
    qform: bool = True,
) -> Path:
    """Write a NIfTI file with either affine or both."""
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    image = kind(stored.T, RAS_TO_LPS @ affine_lps, dtype=stored.dtype)
    image.header.set_data_dtype(stored.dtype)
    image.set_sform(RAS_TO_LPS @ affine_lps, code=1 if sform else 0)
    image.set_qform(RAS_TO_LPS @ affine_lps, code=1 if qform else 0)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def write_nrrd(
    path: Path,
    stored: NDArray[np.generic],
    affine_lps: NDArray[np.float64],
    *,
    encoding: str = "gzip",
    space: str = "left-posterior-superior",
    signs: tuple[int, int, int] = (1, 1, 1),
    fields: Mapping[str, object] | None = None,
) -> Path:
    """Write a NRRD file in a space whose axes point along those of DICOM, or against them."""
    turned = np.array(signs)[:, None] * affine_lps[:3]
    header = {
        "encoding": encoding,
        "space": space,
        "space directions": turned[:, :3].T,
        "space origin": turned[:, 3],
        "kinds": ["domain"] * 3,
        **dict(fields or {}),
    }
    header = {name: value for name, value in header.items() if value is not None}
    nrrd.write(str(path), stored.T, header, detached_header=path.suffix == ".nhdr")
    return path


def write_layers(
    path: Path,
    layers: Sequence[NDArray[np.generic]],
    affine_lps: NDArray[np.float64],
    segments: Sequence[tuple[int, int, str]],
    *,
    encoding: str = "gzip",
) -> Path:
    """Write (K, J, I) label maps as 3D Slicer writes segments that overlap.

    Args:
        path: The file, a .seg.nrrd.
        layers: The label maps.
        affine_lps: From voxel indices to mm.
        segments: Layer, label and name of each segment.
        encoding: As of NRRD.

    Source:
        https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html
    """
    header: dict[str, object] = {
        "encoding": encoding,
        "space": "left-posterior-superior",
        "space directions": np.vstack([np.full(3, np.nan), affine_lps[:3, :3].T]),
        "space origin": affine_lps[:3, 3],
        "kinds": ["list", "domain", "domain", "domain"],
        "Segmentation_SourceRepresentation": "Binary labelmap",
    }
    for number, (layer, label, name) in enumerate(segments):
        header |= {f"Segment{number}_ID": f"Segment_{number}", f"Segment{number}_Name": name}
        header |= {f"Segment{number}_Layer": str(layer), f"Segment{number}_LabelValue": str(label)}
    path.parent.mkdir(parents=True, exist_ok=True)
    nrrd.write(str(path), np.stack([layer.T for layer in layers]), header)
    return path


def permute(
    hu: NDArray[np.generic],
    affine_lps: NDArray[np.float64],
    order: tuple[int, ...],
    flips: tuple[bool, ...],
) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Store (Z, Y, X) slices, whose affine is from (x, y, z), along other axes.

    Args:
        hu: The slices.
        affine_lps: Their affine.
        order: Axis of the slices (0 = x) that each axis of the file runs along, the fastest first.
        flips: Whether each axis of the file runs against it.

    Returns:
        (K, J, I) values and the affine from (i, j, k).
    """
    stored = hu.transpose([2 - axis for axis in reversed(order)])
    stored = stored[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(flips))]
    to_slices = np.zeros((4, 4))
    to_slices[3, 3] = 1
    for here, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        to_slices[axis, here] = -1 if flip else 1
        to_slices[axis, 3] = hu.shape[2 - axis] - 1 if flip else 0
    return np.ascontiguousarray(stored), affine_lps @ to_slices
