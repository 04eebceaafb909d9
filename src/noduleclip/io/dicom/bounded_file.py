"""Files that limit what pydicom reads of them, counts what it parses, and inflate no further than a slice."""

import io
import os
import zlib
from pathlib import Path
from typing import BinaryIO, Final

from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

LARGEST_HEADER_BYTES: Final = 8 * 2**20
MOST_ITEMS: Final = 1 << 16  # of sequences: pydicom makes a data set of each; 3,000 frames with 20 groups have 63,000
_MOST_READS: Final = 1 << 19  # two or three for an element or an item
MOST_SEPARATORS: Final = 1 << 18  # in all values: pydicom takes 20 us for each number; 3,000 frames have 60,000
ITEM_BYTES: Final = 8
SEPARATOR: Final = b"\\"
_CHARACTER_SET_TAGS: Final = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")
_META_GROUP: Final = b"\x02\x00"
ITEM_TAGS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # little and big endian
FLOAT_PIXEL_TAGS: Final = (0x7FE00008, 0x7FE00009)
PIXEL_TAGS: Final = (*FLOAT_PIXEL_TAGS, 0x7FE00010)


class InflatesTooFar(Exception):  # noqa: N818 - becomes a SliceError
    """A deflated file is larger than any slice."""


class ReadsTooFar(Exception):  # noqa: N818 - becomes a SliceError
    """More of a file was read than any slice has."""


class TooManyParts(Exception):  # noqa: N818 - becomes a SliceError
    """A header has more elements, or more items of sequences, than that of any image."""


class _PartCount:
    """Counts what pydicom reads of a header: it makes one read of 8 bytes for each item, and up to three an element."""

    def __init__(self) -> None:
        self._items, self._reads, self._separators = 0, 0, 0
        self._element = b""

    def add(self, content: bytes) -> None:
        """Count a read.

        Raises:
            TooManyParts: There were too many of them.
        """
        self._reads += 1
        if self._reads > _MOST_READS:
            raise TooManyParts(f"more elements than can be read in {_MOST_READS:,} steps")
        if self._element[:4] in _CHARACTER_SET_TAGS or self._element[:2] == _META_GROUP:
            self._separators += content.count(SEPARATOR)  # pydicom converts these at once
            if self._separators > MOST_SEPARATORS:
                raise TooManyParts(f"over {MOST_SEPARATORS:,} values")
        if len(content) == ITEM_BYTES:
            self._element = content
            if content[:4] in ITEM_TAGS:
                self._items += 1
                if self._items > MOST_ITEMS:
                    raise TooManyParts(f"over {MOST_ITEMS:,} items of sequences")


class _CountedBytes(io.BytesIO):
    """Bytes of a file whose parts are counted as pydicom reads them."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._parts = _PartCount()

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self._parts.add(content)
        return content


class _BoundedFile(io.BufferedReader):
    """A file that cannot make pydicom allocate more than it should.

    pydicom reads "all the rest" for one purpose only, to inflate it at once; it does so even for a header.
    """

    def __init__(self, path: Path, limit_bytes: int, largest_inflated_bytes: int) -> None:
        super().__init__(io.FileIO(str(path)))
        self._size_bytes = os.fstat(self.fileno()).st_size
        self._left_bytes = limit_bytes
        self._parts = _PartCount()
        self._largest_inflated_bytes = largest_inflated_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size >= 0:
            content = super().read(min(size, self._left_bytes))
            self._parts.add(content)
            self._left_bytes -= len(content)
            if len(content) < size and self.tell() < self._size_bytes:
                raise ReadsTooFar("it is longer than any slice")
            return content
        limit = self._largest_inflated_bytes
        rest = super().read(limit + 1)
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(rest, limit + 1)
        if max(len(rest), len(inflated)) > limit:
            raise InflatesTooFar
        # pydicom parses inflated data from memory, where no reads are counted: they are parsed here first.
        read_dataset(
            _CountedBytes(inflated),
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=lambda tag, _vr, _length: tag in PIXEL_TAGS,
            specific_tags=[Tag("PatientID")],
        )
        return rest


def open_bounded(path: Path, limit_bytes: int, largest_inflated_bytes: int, *, in_memory: bool = False) -> BinaryIO:
    """Open a file of which no more than `limit_bytes` can be read, and that inflates no further than it should.

    One that is read whole anyway is read at once: pydicom makes a hundred small reads of a slice.
    """
    if in_memory:
        content = path.read_bytes()
        if str(DeflatedExplicitVRLittleEndian).encode() not in content:
            return io.BytesIO(content) if len(content) < ITEM_BYTES * MOST_ITEMS else _CountedBytes(content)
    return _BoundedFile(path, limit_bytes, largest_inflated_bytes)
