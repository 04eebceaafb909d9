"""Headers of NIfTI-1 and NIfTI-2 files (.nii, .nii.gz), parsed by nibabel."""

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import InputError, UsageError, shows_incompatibility
from noduleclip.io.volumes.voxel_data import FileVolume, Packing, read_start
from noduleclip.machine import install_command

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

RAS_TO_LPS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From axes that point to the right, the front and the head to those of DICOM."""
_HEADER_BYTES: Final = {348: b"n+1\0", 540: b"n+2\0"}
_MAGIC_AT: Final = {348: 344, 540: 4}
_SPACE_BITS: Final = 7
_MM_OF_UNIT: Final = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # not set, metre, millimetre, micrometre
_MOST_BEFORE_VOXELS: Final = 64 << 20  # bytes of extensions
_LARGEST_DIFFERENCE_MM: Final = 0.1
_RGB: Final = (128, 2304)


def read_nifti_header(path: Path) -> FileVolume:
    """Read the header of a NIfTI file; whether it is compressed is seen in its first bytes, not in its name.

    Raises:
        InputError: The file cannot be read, is no volume of numbers in three dimensions, or has no affine.
        UsageError: nibabel is missing.

    Source:
        nifti1.h and nifti2.h: sform, qform, xyzt_units, scl_slope and vox_offset.
    """
    try:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
    except ImportError as error:
        raise UsageError(f"reading {path} needs nibabel: {install_command('volumes')}") from error
    start, packing = read_start(path, max(_HEADER_BYTES), unpack=True)
    size, order = _find_size(start, path)
    try:
        header = (Nifti1Header if size == min(_HEADER_BYTES) else Nifti2Header)(start[:size], order, check=False)
        shape = _find_shape([int(side) for side in header["dim"]], path)
        dtype = _find_dtype(header, path)
        with np.errstate(all="ignore"):
            affine, remarks = _find_affine(header, shape, path)
        scale = header.get_slope_inter()
    except InputError:
        raise
    except Exception as error:  # the library raises its own and unrelated types
        if shows_incompatibility(error):
            raise
        raise InputError(f"{path}: its NIfTI header is broken ({str(error)[:200] or type(error).__name__})") from error
    offset = _find_offset(float(header["vox_offset"]), size, path)
    return FileVolume(
        path=path,
        shape_ijk=shape,
        affine_lps=affine * np.diag(RAS_TO_LPS)[:, None],
        dtype=dtype,
        remarks=remarks,
        data_path=path,
        data_offset=0 if packing is Packing.GZIP else offset,
        packing=packing,
        skipped=offset if packing is Packing.GZIP else 0,
        slope_intercept=None if scale[0] is None or scale == (1.0, 0.0) else (float(scale[0]), float(scale[1])),
    )


def _find_size(start: bytes, path: Path) -> tuple[int, Literal["<", ">"]]:
    """Return the size of the header, which says its version, and the order of bytes."""
    orders: dict[int, Literal["<", ">"]] = {
        int.from_bytes(start[:4], "little"): "<",
        int.from_bytes(start[:4], "big"): ">",
    }
    for size, magic in _HEADER_BYTES.items():
        if size in orders:
            found = start[_MAGIC_AT[size] : _MAGIC_AT[size] + 4]
            if len(start) < size:
                raise InputError(f"{path}: its NIfTI header is cut short; copy or download it again")
            if found == magic:
                return size, orders[size]
            if found[:2] == b"ni":
                raise InputError(f"{path}: its voxels lie in another file (.hdr and .img); save it as one .nii")
    raise InputError(f"{path}: is no NIfTI file")


def _find_shape(dim: list[int], path: Path) -> tuple[int, int, int]:
    """Return the sides of a volume, whose further axes have one element each, of the number of axes and their sides."""
    axes, sides = dim[0], dim[1 : 1 + max(0, dim[0])]
    found = " x ".join(map(str, sides))
    if not 3 <= axes < len(dim):
        raise InputError(f"{path}: has {axes} axes ({found}); a volume has three")
    if any(side != 1 for side in sides[3:]):
        raise InputError(
            f"{path}: has {axes} axes ({found}), as of several volumes or of vectors; save one volume of it"
        )
    return sides[0], sides[1], sides[2]


def _find_dtype(header: "Nifti1Header", path: Path) -> np.dtype[np.generic]:
    code = int(header["datatype"])
    if code in _RGB:
        raise InputError(f"{path}: holds colours (datatype {code}), not CT values")
    try:
        dtype: np.dtype[np.generic] = np.dtype(header.get_data_dtype())
    except KeyError as error:
        raise InputError(f"{path}: datatype {code} is none of NIfTI's") from error
    if dtype.kind == "c":
        raise InputError(f"{path}: holds complex numbers (datatype {code}), not CT values")
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise InputError(f"{path}: datatype {code} cannot be read; save it as 16-bit integers or 32-bit floats")
    return dtype


def _find_affine(
    header: "Nifti1Header", shape: tuple[int, int, int], path: Path
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the affine in mm (RAS): the sform, else the qform; and a remark where they disagree."""
    unit = int(header["xyzt_units"]) & _SPACE_BITS
    if unit not in _MM_OF_UNIT:
        raise InputError(f"{path}: xyzt_units is {int(header['xyzt_units'])}, whose unit of length is not known")
    sform = _scale_to_mm(header.get_sform(coded=True)[0], _MM_OF_UNIT[unit])
    if int(header["qform_code"]) <= 0:
        if sform is None:
            raise InputError(
                f"{path}: has no affine (sform_code and qform_code are 0), so where it lies is not known; save it with "
                "one"
            )
        return sform, ()
    if sform is not None and not np.isfinite(sform).all():
        return sform, ()
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # as nifti1.h says of other values
    try:
        qform = _scale_to_mm(header.get_qform(coded=True)[0], _MM_OF_UNIT[unit])
    except Exception as error:  # the library raises its own and unrelated types
        if sform is None or shows_incompatibility(error):
            raise
        return sform, (f"{path}: its qform is broken; the sform is used",)
    assert qform is not None, "its code says that it is there"
    if sform is None:
        return qform, ()
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, side - 1) for side in shape))], float)
    apart_mm = float(np.linalg.norm(((sform - qform) @ corners.T)[:3], axis=0).max())
    if apart_mm > _LARGEST_DIFFERENCE_MM:
        return sform, (f"{path}: its sform and qform differ by {apart_mm:.1f} mm; the sform is used",)
    return sform, ()


def _scale_to_mm(affine: NDArray[np.float64] | None, unit_mm: float) -> NDArray[np.float64] | None:
    if affine is None:
        return None
    scaled = np.array(affine, np.float64)
    scaled[:3] *= unit_mm
    return scaled


def _find_offset(offset: float, size: int, path: Path) -> int:
    """Return where the voxels begin; a file has four bytes after the header, and may have extensions."""
    if not (math.isfinite(offset) and size + 4 <= offset <= _MOST_BEFORE_VOXELS):
        raise InputError(
            f"{path}: vox_offset is {offset:g}, where the voxels begin in [{size + 4}, {_MOST_BEFORE_VOXELS}]"
        )
    return int(offset)
