"""MetaImage files (.mhd with .raw or .zraw, .mha), such as LUNA16's CT: slices and their positions in the patient.

Only the requested slices are read. Sizes and file names in a header are checked before anything is opened or
allocated.
"""

import math
import os
import stat
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.config import MAX_PIXELS, MAX_SPACING_MM, MIN_SPACING_MM
from noduleclip.errors import InputError

LOCAL: Final = "LOCAL"
_LONGEST_HEADER_BYTES: Final = 64 * 1024
_LARGEST_OFFSET_MM: Final = 1e5
_LARGEST_SKEW: Final = 1e-3
_MOST_SLICES: Final = 10_000
_CHUNK_BYTES: Final = 1 << 20
_TYPES: Final = {
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_PACKED: Final = (".gz", ".bz2", ".xz", ".zip", ".zst")
_GZIP: Final = b"\x1f\x8b"
_MASK_TYPES: Final = ("MET_UCHAR", "MET_CHAR")


class NotCtError(InputError):
    """A MetaImage of 8-bit values: a mask, such as those of LUNA16's lungs that bear the names of the CT."""


@dataclass(frozen=True)
class MetaImage:
    """A header, checked.

    Attributes:
        path: The file of the header.
        size_xyz: Columns, rows and slices.
        spacing_xyz_mm: Distance of columns, of rows and of slices.
        origin_mm: (x, y, z) of the middle of the first voxel in the patient's coordinates (LPS).
        axes: (3, 3) unit vectors in the patient's coordinates, one a row: along a row of pixels, along a column, from
            slice to slice.
        dtype: Type of a voxel, with its byte order.
        data_path: File of the voxels, in the folder of the header.
        data_offset: Where they begin in it; None = they are its end.
        compressed: Deflated as one zlib stream.
    """

    path: Path
    size_xyz: tuple[int, int, int]
    spacing_xyz_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    axes: NDArray[np.float64]
    dtype: np.dtype[np.generic]
    data_path: Path
    data_offset: int | None
    compressed: bool

    @property
    def slice_bytes(self) -> int:
        """Bytes of a slice, inflated."""
        return self.size_xyz[0] * self.size_xyz[1] * self.dtype.itemsize

    def position_mm(self, index: int) -> tuple[float, float, float]:
        """Return (x, y, z) in LPS of the middle of the first pixel of a slice, 0-based.

        Source:
            ITK, MetaImageIO: the numbers of TransformMatrix are the directions of the axes, one after the other.
        """
        x, y, z = np.array(self.origin_mm) + index * self.spacing_xyz_mm[2] * self.axes[2]
        return float(x), float(y), float(z)


def read_meta_header(path: Path, max_pixels: int = MAX_PIXELS) -> MetaImage:
    """Read the header of a MetaImage.

    Args:
        path: The .mhd or .mha.
        max_pixels: Largest slice, in pixels.

    Raises:
        InputError: The file cannot be read, is no MetaImage of three dimensions, or names data outside its folder;
            `NotCtError` where its voxels have 8 bits.
    """
    fields, end = _read_fields(path)
    _refuse(fields, "NDims", "3", path)
    _refuse(fields, "ElementNumberOfChannels", "1", path)
    size = [int(number) for number in _numbers(fields, "DimSize", 3, path)]
    if not (all(side >= 1 for side in size) and size[0] * size[1] <= max_pixels and size[2] <= _MOST_SLICES):
        raise InputError(
            f"{path}: DimSize is {fields['DimSize'][:40]!r}; slices have up to {max_pixels} pixels (--max-pixels), and "
            f"a series up to {_MOST_SLICES} of them"
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
    return MetaImage(
        path=path,
        size_xyz=(size[0], size[1], size[2]),
        spacing_xyz_mm=(spacing[0], spacing[1], spacing[2]),
        origin_mm=(origin[0], origin[1], origin[2]),
        axes=_parse_axes(fields, path),
        dtype=_parse_dtype(fields, path),
        data_path=data_path,
        data_offset=offset,
        compressed=_is_true(fields, "CompressedData", path),
    )


def read_meta_slices(image: MetaImage, wanted: Collection[int]) -> Iterator[tuple[int, NDArray[np.int16]]]:
    """Read some slices, in ascending order.

    Args:
        image: The header from `read_meta_header`.
        wanted: Which slices, 0-based, each within the image.

    Yields:
        The index of a slice and its (Y, X) values, rounded and clipped to 16 bits.

    Raises:
        InputError: The data are missing, cut short or broken.
    """
    try:
        with _open_file(image.data_path) as file:
            source = _inflate(file, image) if image.compressed else None
            for index in sorted(set(wanted)):
                if source is None:
                    file.seek(_start(file, image) + index * image.slice_bytes)
                    content = file.read(image.slice_bytes)
                else:
                    content = next((part for number, part in source if number == index), b"")
                if len(content) < image.slice_bytes:
                    _refuse_gzip(file, image)
                    raise InputError(f"{image.data_path}: ends before slice {index}; copy or download it again")
                yield index, _to_int16(content, image)
    except FileNotFoundError as error:
        advice = _find_misnamed(image.data_path)
        raise InputError(f"{image.path}: its data, {image.data_path.name}, are not beside it{advice}") from error
    except OSError as error:
        raise InputError(f"{image.data_path}: cannot be read ({error.strerror})") from error


def _refuse_gzip(file: BinaryIO, image: MetaImage) -> None:
    file.seek(image.data_offset or 0)
    if file.read(len(_GZIP)) == _GZIP:
        raise InputError(f"{image.data_path}: is a gzip file; unpack it, and set CompressedData to False")


def _find_misnamed(data_path: Path) -> str:
    """Return the end of a message: the file in the folder that missing data are in, by its name."""
    name = data_path.name.casefold()
    try:
        with os.scandir(data_path.parent) as entries:
            others = sorted(entry.name for entry in entries if entry.name.casefold().startswith(name))
    except OSError:
        return "; copy or download them again"
    for other in others:
        if other.casefold() == name:
            return f"; rename {other}, which is"
        if other.casefold().removeprefix(name) in _PACKED:
            return f"; unpack {other}, which is"
    return "; copy or download them again"


def _open_file(path: Path) -> BinaryIO:
    """Open a regular file; a pipe would block, and a device may have no end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path}: is no regular file")
    return path.open("rb")


def _read_fields(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields of a header, and where it ends."""
    try:
        with _open_file(path) as file:
            start = file.read(_LONGEST_HEADER_BYTES)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
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
    if kind in _MASK_TYPES:
        raise NotCtError(f"{path}: ElementType is {kind}: values of 8 bits are a mask, no CT")
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
    # A name with a folder in it would let a header read any file of the machine.
    if not name or name in (".", "..") or any(mark in name for mark in "/\\:\0"):
        raise InputError(f"{path}: ElementDataFile is {name[:40]!r}; only a file in the same folder is read")
    skipped = _numbers(fields, "HeaderSize", 1, path)[0] if "HeaderSize" in fields else 0.0
    if skipped != -1 and not 0 <= skipped < 2**40:
        raise InputError(f"{path}: HeaderSize is {fields['HeaderSize'][:40]!r}, no number of bytes")
    _refuse_outside(path.parent / name, path)
    return path.parent / name, None if skipped == -1 else int(skipped)


def _refuse_outside(data_path: Path, path: Path) -> None:
    """Refuse data that a link beside the header leads to, out of its folder."""
    try:
        if data_path.resolve().is_relative_to(path.parent.resolve()):
            return
    except (OSError, RuntimeError) as error:  # a loop of links
        raise InputError(f"{path}: its data, {data_path.name[:40]!r}, cannot be read (a loop of links)") from error
    raise InputError(
        f"{path}: its data, {data_path.name[:40]!r}, are a link out of its folder; put the file itself there"
    )


def _start(file: BinaryIO, image: MetaImage) -> int:
    if image.data_offset is not None:
        return image.data_offset
    return max(0, os.fstat(file.fileno()).st_size - image.size_xyz[2] * image.slice_bytes)


def _inflate(file: BinaryIO, image: MetaImage) -> Iterator[tuple[int, bytes]]:
    """Yield the slices of a deflated image in order, with one of them and a chunk in memory."""
    file.seek(image.data_offset or 0)
    stream, held, index = zlib.decompressobj(), bytearray(), 0
    try:
        while not stream.eof and index < image.size_xyz[2]:
            chunk = stream.unconsumed_tail or file.read(_CHUNK_BYTES)
            if not chunk:
                return
            held += stream.decompress(chunk, image.slice_bytes + _CHUNK_BYTES - len(held))
            while len(held) >= image.slice_bytes and index < image.size_xyz[2]:
                yield index, bytes(held[: image.slice_bytes])
                del held[: image.slice_bytes]
                index += 1
    except zlib.error as error:
        _refuse_gzip(file, image)
        raise InputError(f"{image.data_path}: the compressed data are broken ({error})") from error


def _to_int16(content: bytes, image: MetaImage) -> NDArray[np.int16]:
    columns, rows, _ = image.size_xyz
    values = np.frombuffer(content, image.dtype).reshape(rows, columns)
    if values.dtype.kind == "f":
        values = np.rint(np.nan_to_num(values, nan=-1024.0))
    limits = np.iinfo(np.int16)
    return np.clip(values, limits.min, limits.max).astype(np.int16)
