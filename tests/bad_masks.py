"""The bad masks of docs/reference/bad-inputs.md, through `prepare masks`."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from bad_inputs import PROVED_ELSEWHERE, World, case
from importers.mask_phantoms import AFFINE, SHAPE, make_hu, make_mask, write_image, write_mask
from volume_files import RAS_TO_LPS


def refuse_mask(world: World, write: Callable[[Path], object] | NDArray[np.generic]) -> str:
    """Write a mask and show that it gives no row; return what is said."""
    write_image(world.folder / "images/a.nii.gz")
    path = world.folder / "masks/a.nii.gz"
    path.parent.mkdir(exist_ok=True)
    if callable(write):
        write(path)
    else:
        write_mask(path, write)
    told = world.refuse(
        3, "prepare", "masks", "--images", world.folder / "images", "--masks", world.folder / "masks",
        "--out", world.folder / "out", "--workers", 1,
    )  # fmt: skip
    assert not list((world.folder / "out").rglob("*.dcm"))
    return told


def write_array(values: NDArray[np.generic]) -> Callable[[Path], None]:
    """Write values of any number of dimensions as NIfTI."""
    return lambda path: nibabel.save(nibabel.Nifti1Image(values, RAS_TO_LPS @ AFFINE), path)


def write_cut(path: Path) -> None:
    content = gzip.decompress(write_mask(path).read_bytes())
    packed = gzip.compress(content + np.random.default_rng(0).bytes(4000))
    path.write_bytes(packed[: len(packed) // 2 - 2000])


@case(52, "mask on another grid than its image")
def _(world: World) -> str:
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.35
    return refuse_mask(world, lambda path: write_mask(path, make_mask(), shifted))


@case(53, "empty mask")
def _(world: World) -> str:
    return refuse_mask(world, make_mask() * 0)


@case(54, "mask with label 255 beside others; with labels below 0; the CT in place of its mask")
def _(world: World) -> str:
    told = refuse_mask(world, make_mask(values=(1, 255)))
    assert "has values from -1 to -1: an image, or labels below 0" in refuse_mask(world, make_mask().astype("i2") * -1)
    assert ": an image, or labels below 0" in refuse_mask(world, make_hu())
    assert "of its voxels are not 0" in refuse_mask(world, (make_hu() + 1024).astype(np.uint16))
    return told


@case(55, "mask of fractions; of NaN")
def _(world: World) -> str:
    told = refuse_mask(world, make_mask() * np.float32(0.7))
    assert "values that are no numbers (NaN)" in refuse_mask(world, np.where(make_mask(), np.nan, 0).astype("f4"))
    return told


@case(56, "mask cut short, of colours, of four dimensions")
def _(world: World) -> str:
    told = refuse_mask(world, write_cut)
    colours = np.zeros(SHAPE[::-1], np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    assert "a.nii.gz: " in refuse_mask(world, write_array(colours))
    assert "a.nii.gz: " in refuse_mask(world, write_array(np.ones((*SHAPE[::-1], 2), np.uint8)))
    return told


@case(57, "mask of noise; of a lung")
def _(world: World) -> str:
    told = refuse_mask(world, (np.random.default_rng(0).random((40, 100, 100)) < 0.01).astype(np.uint8))
    lung = np.ones((4, 200, 160), np.uint8)
    assert "a nodule up to 100 mm; name the values that are nodules with --labels" in refuse_mask(world, lung)
    return told


PROVED_ELSEWHERE |= {
    58: (
        "structure set: ROI of points, without contours, or outside the slices; malformed numbers; no series",
        "row rejected: `no-diameter`, `outside`, `bad-structure-set` or `no-series`, each with the ROI and the reason",
        "tests/cli/test_prepare_rtstruct.py::test_each_fault_has_its_reason",
    ),
}
