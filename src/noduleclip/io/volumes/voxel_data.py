"""Voxels in a file, raw or compressed as one stream: read plane by plane, with one of them and a chunk in memory.

Sizes and file names in a header are checked before anything is opened or allocated.
"""

import bz2
import os
import stat
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import InputError
from noduleclip.io.volumes.volume import StoredVolume

GZIP_MAGIC: Final = b"\x1f\x8b"
_CHUNK_BYTES: Final = 1 << 20
_MOST_INFLATED: Final = 1032  # bytes of a byte of deflated data: https://zlib.net/zlib_tech.html
_PACKED: Final = (".gz", ".bz2", ".xz", ".zip", ".zst")


class Packing(StrEnum):
    """How the voxels are stored."""

    RAW = "raw"
    ZLIB = "zlib"
    GZIP = "gzip"
    BZIP2 = "bzip2"


_WINDOW_BITS: Final = {Packing.ZLIB: 15, Packing.GZIP: 31}


@dataclass(frozen=True, kw_only=True)
class FileVolume(StoredVolume):
    """A volume whose voxels are one block of a file.

    Attributes:
        data_path: File of the voxels, in the folder of the header.
        data_offset: Bytes of that file before them or their stream; None = they are its end.
        packing: How they are stored.
        skipped: Inflated bytes before the first voxel.
        slope_intercept: Of the file, applied to what is read; None = it has none.
    """

    data_path: Path
    data_offset: int | None
    packing: Packing = Packing.RAW
    skipped: int = 0
    slope_intercept: tuple[float, float] | None = None

    @property
    def is_mask(self) -> bool:
        """Whether its values have 8 bits that no slope makes CT of."""
        return super().is_mask and self.slope_intercept is None

    @property
    def is_sequential(self) -> bool:
        """Whether a plane is reached through all planes before it."""
        return self.packing is not Packing.RAW

    @property
    def plane_bytes(self) -> int:
        """Bytes of a plane in all layers, inflated."""
        return self.shape_ijk[0] * self.shape_ijk[1] * self.layers * self.dtype.itemsize

    def read_planes(self, wanted: Collection[int]) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Read planes of the slowest axis, in ascending order; of raw data no others."""
        chosen = sorted(set(wanted))
        columns, rows, _ = self.shape_ijk
        shape = (rows, columns) if self.layers == 1 else (rows, columns, self.layers)
        try:
            with open_regular(self.data_path) as file:
                self._check_length(file, chosen)
                planes = _read_raw(file, self, chosen) if self.packing is Packing.RAW else _inflate(file, self, chosen)
                for content, index in zip(planes, chosen, strict=False):
                    if len(content) < self.plane_bytes:
                        raise self._ends_before(index)
                    yield index, self._scale(np.frombuffer(content, self.dtype).reshape(shape))
        except FileNotFoundError as error:
            advice = find_misnamed(self.data_path)
            raise InputError(f"{self.path}: its data, {self.data_path.name}, are not beside it{advice}") from error
        except OSError as error:
            raise InputError(f"{self.data_path}: cannot be read ({error.strerror or error})") from error

    def _scale(self, plane: NDArray[np.generic]) -> NDArray[np.generic]:
        if self.slope_intercept is None:
            return plane
        slope, intercept = self.slope_intercept
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(plane.astype(np.float64) * slope + intercept)

    def _ends_before(self, index: int) -> InputError:
        return InputError(f"{self.data_path}: ends before slice {index}; copy or download it again")

    def _check_length(self, file: BinaryIO, chosen: Collection[int]) -> None:
        """Refuse a deflated file that is too short for its planes whatever it holds, before it is inflated."""
        if not chosen or self.packing not in _WINDOW_BITS:
            return
        claimed = self.skipped + (max(chosen) + 1) * self.plane_bytes
        if claimed > _MOST_INFLATED * os.fstat(file.fileno()).st_size + _CHUNK_BYTES:
            refuse_gzip(file, self)
            raise self._ends_before(max(chosen))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file; a pipe would block, and a device may have no end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path}: is no regular file")
    return path.open("rb")


def read_start(path: Path, length: int, *, unpack: bool = False) -> tuple[bytes, Packing]:
    """Read the first bytes of a file.

    Args:
        path: The file.
        length: Number of bytes.
        unpack: Inflate them where the file is a gzip file.

    Returns:
        The bytes, fewer if the file is shorter, and whether they were inflated.

    Raises:
        InputError: The file cannot be read or inflated.
    """
    try:
        with open_regular(path) as file:
            start = file.read(length)
            if not unpack or start[: len(GZIP_MAGIC)] != GZIP_MAGIC:
                return start, Packing.RAW
            file.seek(0)
            found = b""
            for piece in _inflate_pieces(file, Packing.GZIP, length):
                found += piece
                if len(found) >= length:
                    break
            return found[:length], Packing.GZIP
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except zlib.error as error:
        raise InputError(f"{path}: the compressed data are broken ({error})") from error


def place_beside(path: Path, name: str, field: str) -> Path:
    """Return the path of the data that a header names.

    Args:
        path: The header.
        name: File name in the header; one with a folder in it would let a header read any file of the machine.
        field: Name of the field, for messages.

    Raises:
        InputError: It does not lie in the folder of the header.
    """
    if not name or name in (".", "..") or any(mark in name for mark in "/\\:\0"):
        raise InputError(f"{path}: {field} is {name[:40]!r}; only a file in the same folder is read")
    data_path = path.parent / name
    try:
        if data_path.resolve().is_relative_to(path.parent.resolve()):
            return data_path
    except (OSError, RuntimeError) as error:  # a loop of links
        raise InputError(f"{path}: its data, {name[:40]!r}, cannot be read (a loop of links)") from error
    raise InputError(f"{path}: its data, {name[:40]!r}, are a link out of its folder; put the file itself there")


def find_misnamed(data_path: Path) -> str:
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


def refuse_gzip(file: BinaryIO, volume: FileVolume) -> None:
    """Refuse data that are a gzip file, where the header says that they are something else."""
    if volume.packing is Packing.GZIP:
        return
    file.seek(volume.data_offset or 0)
    if file.read(len(GZIP_MAGIC)) == GZIP_MAGIC:
        raise InputError(f"{volume.data_path}: is a gzip file, where its header says {volume.packing}; unpack it")


def _read_raw(file: BinaryIO, volume: FileVolume, chosen: Collection[int]) -> Iterator[bytes]:
    """Yield planes of raw data."""
    start = volume.data_offset
    if start is None:
        start = max(0, os.fstat(file.fileno()).st_size - volume.shape_ijk[2] * volume.plane_bytes)
    for index in chosen:
        file.seek(start + volume.skipped + index * volume.plane_bytes)
        content = file.read(volume.plane_bytes)
        if len(content) < volume.plane_bytes:
            refuse_gzip(file, volume)
        yield content


def _inflate(file: BinaryIO, volume: FileVolume, chosen: Collection[int]) -> Iterator[bytes]:
    """Yield planes of compressed data; where they end early, what is left of the plane."""
    file.seek(volume.data_offset or 0)
    pieces = _inflate_pieces(file, volume.packing, _CHUNK_BYTES)
    waiting, held, place = volume.skipped, bytearray(), 0
    wanted = set(chosen)
    try:
        for index in range(max(chosen, default=-1) + 1):
            while len(held) < waiting + volume.plane_bytes:
                piece = next(pieces, None)
                if piece is None:
                    break
                held += piece
                passed = min(waiting, len(held))
                del held[:passed]
                waiting -= passed
            if index in wanted:
                yield bytes(held[: volume.plane_bytes])
            elif len(held) < volume.plane_bytes:
                yield b""  # the next of the chosen planes is not there
                return
            del held[: volume.plane_bytes]
            place = index
        if place == volume.shape_ijk[2] - 1:
            next(pieces, None)  # to the end of the stream, where its checksum is
    except (zlib.error, ValueError) as error:
        refuse_gzip(file, volume)
        raise InputError(f"{volume.data_path}: the compressed data are broken ({error})") from error


def _inflate_pieces(file: BinaryIO, packing: Packing, length: int) -> Iterator[bytes]:
    """Yield inflated bytes, up to a number of them at a time; they end where the file does, cut short or not.

    Raises:
        zlib.error: A deflated stream is broken.
        ValueError: A stream of bzip2 is broken.
    """
    if packing is Packing.BZIP2:
        yield from _inflate_bzip2(file, length)
        return
    stream, waiting, at_end = zlib.decompressobj(_WINDOW_BITS[packing]), b"", False
    while True:
        if stream.eof:
            # A gzip file may be several streams in a row, padded by zeros.
            waiting = stream.unused_data.lstrip(b"\0") if packing is Packing.GZIP else b""
            if packing is not Packing.GZIP or not (waiting or (waiting := file.read(_CHUNK_BYTES).lstrip(b"\0"))):
                return
            if waiting[:2] != GZIP_MAGIC[: len(waiting)]:
                return  # what follows is no more data
            stream = zlib.decompressobj(_WINDOW_BITS[packing])
        if not waiting:
            waiting = file.read(_CHUNK_BYTES)
            at_end = not waiting
        piece = stream.decompress(waiting, length)
        waiting = stream.unconsumed_tail
        if piece:
            yield piece
        elif at_end and not stream.eof:
            return


def _inflate_bzip2(file: BinaryIO, length: int) -> Iterator[bytes]:
    with bz2.BZ2File(file) as stream:
        while True:
            try:
                piece = stream.read(length)
            except EOFError:
                return
            except OSError as error:
                if error.strerror is not None:
                    raise
                raise ValueError(str(error)) from error
            if not piece:
                return
            yield piece
