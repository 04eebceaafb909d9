"""Headers of MetaImage files (.mhd with .raw or .zraw, .mha), such as LUNA16's CT."""

import math
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.config import MAX_PIXELS, MAX_SPACING_MM, MIN_SPACING_MM
from noduleclip.errors import InputError
from noduleclip.io.volumes.volume import MOST_SLICES
from noduleclip.io.volumes.voxel_data import FileVolume, Packing, place_beside, read_start

LOCAL: Final = "LOCAL"
_LONGEST_HEADER_BYTES: Final = 64 * 1024
_LARGEST_OFFSET_MM: Final = 1e5
_LARGEST_SKEW: Final = 1e-3
_TYPES: Final = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def read_meta_header(path: Path, max_pixels: int = MAX_PIXELS) -> FileVolume:
    """Read the header of a MetaImage.

    Args:
        path: The .mhd or .mha.
        max_pixels: Largest slice, in pixels.

    Raises:
        InputError: The file cannot be read, is no MetaImage of three dimensions, or names data outside its folder.

    Source:
        ITK, MetaImageIO: the numbers of TransformMatrix are the directions of the axes, one after the other.
    """
    fields, end = _read_fields(path)
    _refuse(fields, "NDims", "3", path)
    _refuse(fields, "ElementNumberOfChannels", "1", path)
    size = [int(number) for number in _numbers(fields, "DimSize", 3, path)]
    if not (all(side >= 1 for side in size) and size[0] * size[1] <= max_pixels and size[2] <= MOST_SLICES):
        raise InputError(
            f"{path}: DimSize is {fields['DimSize'][:40]!r}; slices have up to {max_pixels} pixels (--max-pixels), and "
            f"a series up to {MOST_SLICES} of them"
        )
    spacing = _numbers(fields, "ElementSpacing", 3, path)
    if not all(MIN_SPACING_MM <= side <= MAX_SPACING_MM for side in spacing):
        raise InputError(
            f"{path}: ElementSpacing is {fields['ElementSpacing'][:40]!r}, where three numbers in "
            f"[{MIN_SPACING_MM:g}, {MAX_SPACING_MM:g}] mm are needed"
        )
    origin_name = next((name for name in ("Offset", "Origin", "Position") if name in fields), "Offset")
    origin = _numbers(fields, origin_name, 3, path)
    if not all(abs(part) <= _LARGEST_OFFSET_MM for part in origin):
        raise InputError(f"{path}: {origin_name} is {fields[origin_name][:40]!r}, no place in mm")
    data_path, offset = _place_data(fields, path, end)
    affine = np.eye(4)
    affine[:3, :3] = _parse_axes(fields, path).T * spacing
    affine[:3, 3] = origin
    return FileVolume(
        path=path,
        shape_ijk=(size[0], size[1], size[2]),
        affine_lps=affine,
        dtype=_parse_dtype(fields, path),
        data_path=data_path,
        data_offset=offset,
        packing=Packing.ZLIB if _is_true(fields, "CompressedData", path) else Packing.RAW,
    )


def _read_fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a header, and where it ends."""
    start, _ = read_start(path, _LONGEST_HEADER_BYTES)
    fields: dict[str, str] = {}
    end = 0
    for line in start.splitlines(keepends=True):
        end += len(line)
        name, equals, value = line.decode("utf-8", "replace").partition("=")
        if not equals:
            if line.strip():
                break
            continue
        fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":
            return fields, end
    raise InputError(f"{path}: is no MetaImage; its header of NAME = VALUE lines does not end in ElementDataFile")


def _refuse(fields: dict[str, str], name: str, allowed: str, path: Path) -> None:
    found = fields.get(name, allowed)
    if found != allowed:
        raise InputError(f"{path}: {name} is {found[:40]!r}, only {allowed} can be read")


def _numbers(fields: dict[str, str], name: str, count: int, path: Path) -> list[float]:
    if name not in fields:
        raise InputError(f"{path}: the header has no {name}")
    try:
        numbers = [float(part) for part in fields[name].split()]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError(f"{path}: {name} is {fields[name][:40]!r}, where {count} numbers are needed")
    return numbers


def _is_true(fields: dict[str, str], name: str, path: Path) -> bool:
    text = fields.get(name, "False").casefold()
    if text not in ("true", "false", "t", "f", "1", "0"):
        raise InputError(f"{path}: {name} is {text[:40]!r}, neither True nor False")
    return text in ("true", "t", "1")


def _parse_axes(fields: dict[str, str], path: Path) -> NDArray[np.float64]:
    name = next((name for name in ("TransformMatrix", "Orientation", "Rotation") if name in fields), None)
    axes = np.eye(3) if name is None else np.array(_numbers(fields, name, 9, path)).reshape(3, 3)
    if np.abs(axes).max() > 2 or not np.allclose(axes @ axes.T, np.eye(3), atol=_LARGEST_SKEW):
        raise InputError(f"{path}: {name} is {fields[str(name)][:80]!r}, not three directions at right angles")
    return axes


def _parse_dtype(fields: dict[str, str], path: Path) -> np.dtype[np.generic]:
    kind = fields.get("ElementType", "")
    if kind not in _TYPES:
        raise InputError(f"{path}: ElementType is {kind[:40]!r}; known are {', '.join(_TYPES)}")
    _refuse(fields, "BinaryData", "True", path)
    name = next((n for n in ("ElementByteOrderMSB", "BinaryDataByteOrderMSB") if n in fields), "ElementByteOrderMSB")
    return np.dtype((">" if _is_true(fields, name, path) else "<") + _TYPES[kind])


def _place_data(fields: dict[str, str], path: Path, end: int) -> tuple[Path, int | None]:
    """Return the file with the voxels and where in it they begin."""
    name = fields["ElementDataFile"]
    if name.upper() == LOCAL:
        return path, end
    if name.split(maxsplit=1)[:1] == ["LIST"] or "%" in name:
        raise InputError(f"{path}: its data lie in many files; convert it to one")
    data_path = place_beside(path, name, "ElementDataFile")
    skipped = _numbers(fields, "HeaderSize", 1, path)[0] if "HeaderSize" in fields else 0.0
    if skipped != -1 and not 0 <= skipped < 2**40:
        raise InputError(f"{path}: HeaderSize is {fields['HeaderSize'][:40]!r}, no number of bytes")
    return data_path, None if skipped == -1 else int(skipped)
