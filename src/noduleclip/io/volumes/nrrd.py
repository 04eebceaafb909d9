"""Headers of NRRD files (.nrrd, .nhdr with its data beside it), parsed by pynrrd."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import InputError, UsageError, shows_incompatibility
from noduleclip.io.volumes.voxel_data import FileVolume, Packing, place_beside, read_start
from noduleclip.machine import install_command

_LONGEST_HEADER_BYTES: Final = 1 << 20
_END: Final = re.compile(rb"\n[ \t\r]*\n")
_TO_LPS: Final = {
    **dict.fromkeys(("lps", "left-posterior-superior"), (1.0, 1.0, 1.0)),
    **dict.fromkeys(("ras", "right-anterior-superior"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("las", "left-anterior-superior"), (1.0, -1.0, 1.0)),
}
_TYPES: Final = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(
        (
            *("longlong", "long long", "long long int", "signed long long", "signed long long int"),
            *("int64", "int64_t"),
        ),
        "i8",
    ),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_PACKINGS: Final = {
    "raw": Packing.RAW,
    **dict.fromkeys(("gzip", "gz"), Packing.GZIP),
    **dict.fromkeys(("bzip2", "bz2"), Packing.BZIP2),
}
_MM_OF_UNIT: Final = {
    "": 1.0, "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "m": 1000.0, "meter": 1000.0,
    "metre": 1000.0, "um": 0.001, "micron": 0.001,
}  # fmt: skip
_MOST_SKIPPED: Final = 64 << 20
_SEGMENT: Final = re.compile(r"Segment(\d{1,5})_LabelValue")
_LAYERS: Final = "list"
"""Kind of the axis along which segments of one label map after the other are stored."""

Header = Mapping[str, Any]


def read_nrrd_header(path: Path) -> FileVolume:
    """Read the header of a NRRD file.

    Raises:
        InputError: The file cannot be read, is no volume of numbers in three dimensions, lies at no place in a patient,
            or names data outside its folder.
        UsageError: pynrrd is missing.

    Source:
        Definition of NRRD file format, https://teem.sourceforge.net/nrrd/format.html; 3D Slicer's fields of segments.
    """
    try:
        import nrrd
    except ImportError as error:
        raise UsageError(f"reading {path} needs pynrrd: {install_command('volumes')}") from error
    start, _ = read_start(path, _LONGEST_HEADER_BYTES)
    if not start.startswith(b"NRRD"):
        raise InputError(f"{path}: is no NRRD file")
    end = _END.search(start)
    if end is None and len(start) == _LONGEST_HEADER_BYTES:
        raise InputError(f"{path}: its NRRD header does not end within {_LONGEST_HEADER_BYTES} bytes")
    lines = start[: end.start() if end else None].splitlines(keepends=True)
    try:
        header = nrrd.read_header(lines)
    except Exception as error:  # the library raises its own and unrelated types
        if shows_incompatibility(error):
            raise
        raise InputError(f"{path}: its NRRD header is broken ({str(error)[:200] or type(error).__name__})") from error
    spatial = _find_spatial_axes(header, path)
    sizes = [int(side) for side in header["sizes"]]
    layers = sizes[0] if 0 not in spatial else 1
    packing = _PACKINGS.get(str(header.get("encoding", "")).casefold())
    if packing is None:
        raise InputError(f"{path}: encoding is {str(header.get('encoding'))[:40]!r}; known are {', '.join(_PACKINGS)}")
    data_path, offset, skipped = _place_data(header, path, end.end() if end else None, packing)
    return FileVolume(
        path=path,
        shape_ijk=(sizes[spatial[0]], sizes[spatial[1]], sizes[spatial[2]]),
        affine_lps=_find_affine(header, spatial, path),
        dtype=_find_dtype(header, path),
        layers=layers,
        segment_names=_list_segments(header, layers, path),
        data_path=data_path,
        data_offset=offset,
        packing=packing,
        skipped=skipped,
    )


def _get(header: Header, *names: str) -> Any:
    """Return a field that has two spellings, or None."""
    return next((header[name] for name in names if name in header), None)


def _find_spatial_axes(header: Header, path: Path) -> list[int]:
    """Return the three axes that are of the patient; any other has one element, or is the first one, of layers."""
    sizes = [int(side) for side in header.get("sizes", ())]
    found = " x ".join(map(str, sizes))
    if len(sizes) != header.get("dimension", 0) or len(sizes) < 3:
        raise InputError(f"{path}: has {len(sizes)} axes ({found}) where dimension is {header.get('dimension')}; "
                         "a volume has three")  # fmt: skip
    directions = header.get("space directions")
    if directions is None:
        raise InputError(
            f"{path}: has no space directions, so where it lies is not known; save it with its place in the patient"
        )
    vectors = [None if one is None or np.isnan(one).all() else one for one in directions]
    spatial = [axis for axis, vector in enumerate(vectors) if vector is not None]
    if len(vectors) != len(sizes) or len(spatial) != 3 or any(len(directions[axis]) != 3 for axis in spatial):
        raise InputError(f"{path}: space directions are no three vectors of three numbers, one an axis")
    others = {axis: side for axis, side in enumerate(sizes) if axis not in spatial and side != 1}
    has_layers = header.get("kinds", [""])[0] == _LAYERS and any(map(_SEGMENT.fullmatch, header))
    if others and not (has_layers and list(others) == [0] and others[0] > 1):
        raise InputError(
            f"{path}: has {len(sizes)} axes ({found}), as of several volumes, or of vectors; save one volume of it"
        )
    return spatial


def _find_affine(header: Header, spatial: list[int], path: Path) -> NDArray[np.float64]:
    space = str(header.get("space", ""))
    signs = _TO_LPS.get(space.casefold())
    if signs is None:
        raise InputError(f"{path}: space is {space[:40]!r}; known are {', '.join(_TO_LPS)}")
    origin = header.get("space origin")
    if origin is None or len(origin) != 3:
        raise InputError(f"{path}: has no space origin, so where it lies is not known")
    affine = np.eye(4)
    affine[:3, :3] = np.array([header["space directions"][axis] for axis in spatial], np.float64).T
    affine[:3, 3] = origin
    units = [str(unit).casefold() for unit in header.get("space units", ())] or [""]
    if any(unit not in _MM_OF_UNIT for unit in units) or len(units) not in (1, 3):
        raise InputError(f"{path}: space units are {', '.join(units)[:40]}; lengths are in mm")
    to_mm = np.array([_MM_OF_UNIT[unit] for unit in units])
    affine[:3] *= (to_mm * signs)[:, None]
    return affine


def _find_dtype(header: Header, path: Path) -> np.dtype[np.generic]:
    kind = str(header.get("type", ""))
    if kind.casefold() not in _TYPES:
        raise InputError(f"{path}: type is {kind[:40]!r}; known are integers of 8 to 64 bits, float and double")
    dtype = np.dtype(_TYPES[kind.casefold()])
    endian = str(header.get("endian", ""))
    if endian.casefold() not in ("little", "big") and dtype.itemsize > 1:
        raise InputError(f"{path}: endian is {endian[:40]!r}, neither little nor big")
    return np.dtype((">" if endian.casefold() == "big" else "<") + _TYPES[kind.casefold()])


def _place_data(header: Header, path: Path, end: int | None, packing: Packing) -> tuple[Path, int | None, int]:
    """Return the file with the voxels, where in it they or their stream begin, and inflated bytes before them."""
    if _get(header, "line skip", "lineskip"):
        raise InputError(f"{path}: has a line skip; save it without")
    skipped = _get(header, "byte skip", "byteskip") or 0
    if (skipped != -1 and not 0 <= skipped <= _MOST_SKIPPED) or (skipped == -1 and packing is not Packing.RAW):
        raise InputError(f"{path}: byte skip is {skipped}, no number of bytes before the voxels")
    name = _get(header, "data file", "datafile")
    if name is None:
        if end is None:
            raise InputError(f"{path}: ends before its voxels; copy or download it again")
        return path, None if skipped == -1 else end, max(skipped, 0)
    if name.split(maxsplit=1)[:1] == ["LIST"] or "%" in name:
        raise InputError(f"{path}: its data lie in many files; convert it to one")
    data_path = place_beside(path, name.removeprefix("./"), "data file")
    return data_path, None if skipped == -1 else 0, max(skipped, 0)


def _list_segments(header: Header, layers: int, path: Path) -> dict[tuple[int, int], str]:
    """Return the names of segments by layer and label, as 3D Slicer writes them to a .seg.nrrd."""
    found = {}
    for field, value in header.items():
        match = _SEGMENT.fullmatch(field)
        if not match or not _is_number(value):
            continue
        layer = header.get(f"Segment{match[1]}_Layer", "0") if layers > 1 else "0"
        if not _is_number(layer) or int(layer) >= layers:
            raise InputError(f"{path}: Segment{match[1]}_Layer is {str(layer)[:40]!r}; it has {layers} layers, from 0")
        found[int(layer), int(value)] = str(header.get(f"Segment{match[1]}_Name", ""))
    return found


def _is_number(value: object) -> bool:
    return str(value).isdecimal() and len(str(value)) < 10
