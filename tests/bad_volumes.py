"""The bad volumes of docs/reference/bad-inputs.md: NIfTI, NRRD and MetaImage, through `prepare csv`."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from bad_inputs import PROVED_ELSEWHERE, World, case
from volume_files import RAS_TO_LPS, write_nifti, write_nrrd, write_volume

AFFINE = np.array([[0.7, 0, 0, -10], [0, 0.7, 0, -10], [0, 0, 2.5, -10], [0, 0, 0, 1]])
NOISE = np.random.default_rng(0).integers(-40, 40, (4, 30, 30))
HU = (np.where(np.indices(NOISE.shape).sum(0) % 3, -850, 40) + NOISE).astype("<i2")


def refuse_volume(world: World, name: str, write: Callable[[Path], object]) -> str:
    """Write a volume and show that a table on it gives no row; return what is said."""
    folder = world.folder / "scans"
    for path in folder.glob("*"):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.mkdir(exist_ok=True)
    write(folder / name)
    table = world.write_bytes(b"seriesuid,x,y,z,diameter_mm\na,0,0,-5,6\n", "nodules.csv")
    told = world.refuse(
        3, "prepare", "csv", "--table", table, "--data-root", folder, "--out", world.folder / "out", "--workers", 1,
    )  # fmt: skip
    assert f"{name.partition('.')[0]}." in told
    assert not list((world.folder / "out").rglob("*.dcm"))
    return told


def write_patched(at: int, form: str, *values: float) -> Callable[[Path], None]:
    """Write a NIfTI file with other bytes in its header."""

    def write(path: Path) -> None:
        content = bytearray(write_nifti(path.with_name("x.nii"), HU, AFFINE).read_bytes())
        path.with_name("x.nii").unlink()
        struct.pack_into("<" + form, content, at, *values)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write


def write_image(values: NDArray[np.generic]) -> Callable[[Path], None]:
    return lambda path: nibabel.save(nibabel.Nifti1Image(values, RAS_TO_LPS @ AFFINE), path)


def write_edited(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Write a NRRD file with another header."""

    def write(path: Path) -> None:
        content = write_nrrd(path, HU, AFFINE, encoding="raw").read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, 1))

    return write


def write_cut(path: Path) -> None:
    write_volume(path, HU, AFFINE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


@case(44, "NIfTI without an affine, or with one that is not finite; voxels of 0 mm; NRRD without a place")
def _(world: World) -> str:
    told = refuse_volume(world, "a.nii.gz", lambda path: write_nifti(path, HU, AFFINE, sform=False, qform=False))
    assert "values that are no numbers" in refuse_volume(world, "a.nii", write_patched(280, "f", np.nan))
    assert "its voxels are 0 x 0.7 x 2.5 mm" in refuse_volume(world, "a.nii", write_patched(280, "3f", 0, 0, 0))
    assert "has no space origin" in refuse_volume(world, "a.nrrd", write_edited(b"space origin", b"xpace origin"))
    assert "no space directions" in refuse_volume(
        world, "a.nrrd", write_edited(b"space directions", b"xpace directions")
    )
    return told


@case(45, "volumes of four axes, of colours, of complex numbers, of vectors; a single slice as two axes")
def _(world: World) -> str:
    told = refuse_volume(world, "a.nii.gz", write_image(np.zeros((4, 3, 2, 5), "<i2")))
    rgb = np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "holds colours" in refuse_volume(world, "a.nii", write_image(rgb))
    assert "holds complex numbers" in refuse_volume(world, "a.nii", write_image(np.zeros((4, 3, 2), "<c8")))
    assert "or of vectors" in refuse_volume(world, "a.nii", write_image(np.zeros((4, 3, 2, 1, 3), "<f4")))
    assert "has 2 axes (4 x 3)" in refuse_volume(world, "a.nii", write_image(np.zeros((4, 3), "<i2")))
    return told


@case(46, "a header of 32767 x 32767 x 32767 voxels in 7 kB, within gzip or not; voxels that begin beyond the file")
def _(world: World) -> str:
    huge = write_patched(40, "4h", 3, 32767, 32767, 32767)
    told = refuse_volume(world, "a.nii.gz", huge)
    assert "32767 slices of 32767 x 32767" in refuse_volume(world, "a.nii", huge)
    assert "32767 slices" in refuse_volume(world, "a.nrrd", write_edited(b"30 30 4", b"32767 32767 32767"))
    many = write_patched(40, "4h", 3, 4000, 4000, 250)
    for name in ("a.nii", "a.nii.gz"):
        assert "ends before slice" in refuse_volume(world, name, many)
        assert "vox_offset is 1e+09" in refuse_volume(world, name, write_patched(108, "f", 1e9))
    return told


@case(47, "a volume cut short: gzip, bzip2 or raw")
def _(world: World) -> str:
    told = refuse_volume(world, "a.nii.gz", write_cut)
    for name in ("a.nii", "a.nrrd", "a.mha"):
        assert "ends before slice" in refuse_volume(world, name, write_cut)
    return told


@case(48, "a text file named .nii.gz, .nrrd or .mha; a folder named .nii")
def _(world: World) -> str:
    told = refuse_volume(world, "a.nii.gz", lambda path: path.write_bytes(b"<html>not found</html>"))
    for name in ("a.nii", "a.nrrd", "a.mha"):
        assert "is no " in refuse_volume(world, name, lambda path: path.write_bytes(b"<html>not found</html>"))
    assert "no CT slice" in world.refuse(
        3, "prepare", "csv", "--table", world.folder / "nodules.csv", "--data-root", make_folder(world, "a.nii"),
        "--out", world.folder / "out", "--workers", 1,
    )  # fmt: skip
    return told


def make_folder(world: World, name: str) -> Path:
    (world.folder / "odd" / name).mkdir(parents=True)
    return world.folder / "odd"


@case(49, "NRRD or MetaImage whose data lie in another folder, or are missing")
def _(world: World) -> str:
    def name_data(name: bytes) -> Callable[[Path], None]:
        return write_edited(b"encoding: raw", b"encoding: raw\ndata file: " + name)

    told = refuse_volume(world, "a.nrrd", name_data(b"../../secret.raw"))
    assert "are not beside it" in refuse_volume(world, "a.nrrd", name_data(b"b.raw"))
    return told


@case(50, "values that are not HU: HU + 1024 of 16 bits without a sign, 0 to 1, 0 to 255")
def _(world: World) -> str:
    told = refuse_volume(world, "a.nii.gz", lambda path: write_volume(path, (HU + 1024).astype("<u2"), AFFINE))
    unit = ((HU.clip(-1000, 400) + 1000) / 1400).astype("<f4")
    assert "scaled to [0, 1]" in refuse_volume(world, "a.nrrd", lambda path: write_volume(path, unit, AFFINE))
    assert "window of 8 bits" in refuse_volume(world, "a.nii", lambda path: write_volume(path, 255 * unit, AFFINE))
    return told


PROVED_ELSEWHERE[51] = (
    "gzip and bzip2 data that inflate without end",
    "inflated plane by plane, no further than the planes of the header; memory for one of them",
    "tests/io/volumes/test_nifti.py::test_little_is_held_in_memory_whatever_a_header_claims",
)
