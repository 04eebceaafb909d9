"""MetaImage files (.mhd with .raw or .zraw, .mha), such as LUNA16's CT.

Only the requested planes are read. Sizes and file names in a header are checked before anything is opened or
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
from noduleclip.io.volumes.volume import MOST_SLICES, StoredVolume

LOCAL: Final = "LOCAL"
_LONGEST_HEADER_BYTES: Final = 64 * 1024
_LARGEST_OFFSET_MM: Final = 1e5
_LARGEST_SKEW: Final = 1e-3
_CHUNK_BYTES: Final = 1 << 20
_TYPES: Final = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
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


@dataclass(frozen=True)
class MetaImage(StoredVolume):
    """A header, checked.

    Attributes:
        data_path: File of the voxels, in the folder of the header.
        data_offset: Where they begin in it; None = they are its end.
        compressed: Deflated as one zlib stream.
    """

    data_path: Path
    data_offset: int | None
    compressed: bool

    @property
    def plane_bytes(self) -> int:
        """Bytes of a plane, inflated."""
        return self.shape_ijk[0] * self.shape_ijk[1] * self.dtype.itemsize

    def read_planes(self, wanted: Collection[int]) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Read planes of the slowest axis, in ascending order; of raw data no others."""
        try:
            with _open_file(self.data_path) as file:
                source = _inflate(file, self) if self.compressed else None
                for index in sorted(set(wanted)):
                    if source is None:
                        file.seek(_start(file, self) + index * self.plane_bytes)
                        content = file.read(self.plane_bytes)
                    else:
                        content = next((part for number, part in source if number == index), b"")
                    if len(content) < self.plane_bytes:
                        _refuse_gzip(file, self)
                        raise InputError(f"{self.data_path}: ends before slice {index}; copy or download it again")
                    yield index, np.frombuffer(content, self.dtype).reshape(self.shape_ijk[1], self.shape_ijk[0])
        except FileNotFoundError as error:
            advice = _find_misnamed(self.data_path)
            raise InputError(f"{self.path}: its data, {self.data_path.name}, are not beside it{advice}") from error
        except OSError as error:
            raise InputError(f"{self.data_path}: cannot be read ({error.strerror})") from error


def read_meta_header(path: Path, max_pixels: int = MAX_PIXELS) -> MetaImage:
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
    return MetaImage(
        path=path,
        shape_ijk=(size[0], size[1], size[2]),
        affine_lps=affine,
        dtype=_parse_dtype(fields, path),
        data_path=data_path,
        data_offset=offset,
        compressed=_is_true(fields, "CompressedData", path),
    )


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
    return max(0, os.fstat(file.fileno()).st_size - image.shape_ijk[2] * image.plane_bytes)


def _inflate(file: BinaryIO, image: MetaImage) -> Iterator[tuple[int, bytes]]:
    """Yield the slices of a deflated image in order, with one of them and a chunk in memory."""
    file.seek(image.data_offset or 0)
    stream, held, index = zlib.decompressobj(), bytearray(), 0
    try:
        while not stream.eof and index < image.shape_ijk[2]:
            chunk = stream.unconsumed_tail or file.read(_CHUNK_BYTES)
            if not chunk:
                return
            held += stream.decompress(chunk, image.plane_bytes + _CHUNK_BYTES - len(held))
            while len(held) >= image.plane_bytes and index < image.shape_ijk[2]:
                yield index, bytes(held[: image.plane_bytes])
                del held[: image.plane_bytes]
                index += 1
    except zlib.error as error:
        _refuse_gzip(file, image)
        raise InputError(f"{image.data_path}: the compressed data are broken ({error})") from error
