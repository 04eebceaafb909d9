"""The bytes of one frame, read from its file without the other frames.

Knows how pixel data lie in a file, native or encapsulated in fragments; knows nothing of how they are compressed.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from pydicom import uid
from pydicom.encaps import parse_basic_offsets

from noduleclip.errors import RejectCode, SliceError, shows_incompatibility
from noduleclip.io.dicom.header import COPY_AGAIN, Header, find_limit_bytes, open_bounded, read_header

_PIXEL_DATA: Final = (0x7FE0, 0x0010)
_ITEM: Final = (0xFFFE, 0xE000)
_DELIMITER: Final = (0xFFFE, 0xE0DD)
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_MOST_FRAGMENTS: Final = 1 << 20  # of a file; a frame has one as a rule
_END_OF_IMAGE: Final = b"\xff\xd9"


@dataclass(frozen=True)
class _Fragment:
    """A piece of a compressed frame: where its bytes start in the file, and how many they are."""

    at: int
    length: int


def read_frame(header: Header, frame_bytes: int, max_pixels: int, *, compressed: bool) -> bytes:
    """Read the bytes of the frame that the header is of, still compressed.

    Args:
        header: Header that was read without pixels.
        frame_bytes: Bytes of a frame that is not compressed.
        max_pixels: Largest slice that is wanted; it bounds what is read.
        compressed: The pixel data are encapsulated.

    Raises:
        SliceError: The pixel data are absent, cut short or broken.
    """
    try:
        if header.dataset.file_meta.TransferSyntaxUID == uid.DeflatedExplicitVRLittleEndian:
            whole = read_header(header.path, max_pixels, ("PixelData",), stop_before_pixels=False).value("PixelData")
            if not isinstance(whole, bytes):
                raise EOFError
            return _read_native(io.BytesIO(whole), len(whole), frame_bytes, header.frame)
        with open_bounded(header.path, find_limit_bytes(max_pixels), 0) as file:
            length = _seek_pixels(file, header)
            if compressed != (length == _UNDEFINED_LENGTH):
                raise ValueError("encapsulated and native form are mixed up")
            return (
                _read_encapsulated(file, header)
                if compressed
                else _read_native(file, length, frame_bytes, header.frame)
            )
    except SliceError:
        raise
    except EOFError as error:
        fact = f"the pixel data end before those of frame {header.frame + 1} do"
        raise header.reject(RejectCode.TRUNCATED_PIXELS, fact, COPY_AGAIN) from error
    except Exception as error:  # what a parser on broken bytes runs into
        if shows_incompatibility(error):
            raise
        fact = (
            f"its pixel data have no frame {header.frame + 1} that can be found: {str(error) or type(error).__name__}"
        )
        raise header.reject(RejectCode.DECODE_FAILED, fact, COPY_AGAIN) from error


def _seek_pixels(file: BinaryIO, header: Header) -> int:
    """Go to the value of the pixel data, and give its length in bytes."""
    big_endian = header.dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
    file.seek(header.pixels_at)
    if _read_tag(file, big_endian=big_endian) != _PIXEL_DATA:
        raise header.reject(RejectCode.NO_PIXEL_DATA, "the file ends before its pixel data do", COPY_AGAIN)
    head = file.read(4)
    if head in (b"OB\0\0", b"OW\0\0", b"UN\0\0"):  # else an implicit length, which is even
        head = file.read(4)
    return int.from_bytes(head, "big" if big_endian else "little")


def _read_native(file: BinaryIO, length: int, frame_bytes: int, index: int) -> bytes:
    """Read a frame of pixel data of `length` bytes, the first of which is the next one."""
    file.seek(index * frame_bytes, 1)
    frame = file.read(frame_bytes)
    if len(frame) < frame_bytes or (index + 1) * frame_bytes > length:
        raise EOFError
    return frame


def _read_encapsulated(file: BinaryIO, header: Header) -> bytes:
    """Read a frame's stream of the encapsulated data that start at the next byte.

    Source:
        DICOM PS3.5 A.4; PS3.3 C.7.6.3.1.8 (Extended Offset Table).
    """
    index, frames = header.frame, header.count("NumberOfFrames", absent=1)
    offsets = parse_basic_offsets(file)
    extended = header.value("ExtendedOffsetTable")
    if isinstance(extended, bytes) and extended:
        offsets = [int.from_bytes(extended[at : at + 8], "little") for at in range(0, len(extended), 8)]
    if offsets and index >= len(offsets):
        raise ValueError(f"the table of offsets has {len(offsets)} frames")
    first = file.tell()
    end = None
    if offsets:
        file.seek(first + offsets[index])
        end = first + offsets[index + 1] if index + 1 < len(offsets) else None
    fragments = list(_walk_fragments(file, end))
    if not offsets:
        fragments = _choose_fragments(file, fragments, index, frames)
    parts = []
    for fragment in fragments:
        file.seek(fragment.at)
        parts.append(file.read(fragment.length))
        if len(parts[-1]) < fragment.length:
            raise EOFError("a fragment is cut short")
    stream = b"".join(parts)
    if len(stream) < 2:
        raise ValueError("its stream is empty")
    return stream


def _walk_fragments(file: BinaryIO, end: int | None) -> Iterator[_Fragment]:
    """Find the fragments from here to `end`, else to the delimiter, reading none."""
    for _ in range(_MOST_FRAGMENTS):
        if end is not None and file.tell() >= end:
            return
        tag = _read_tag(file, big_endian=False)
        if tag == _DELIMITER:
            return
        head = file.read(4)
        if tag is None or len(head) < 4:
            raise EOFError("the fragments have no end")
        length = int.from_bytes(head, "little")
        if tag != _ITEM or length == _UNDEFINED_LENGTH:
            raise ValueError("its fragments are broken")
        yield _Fragment(file.tell(), length)
        file.seek(length, 1)
    raise ValueError("its fragments are without number")


def _choose_fragments(file: BinaryIO, fragments: list[_Fragment], index: int, frames: int) -> list[_Fragment]:
    """Choose a frame's fragments where no table of offsets says which: a frame ends with the mark of its stream."""
    if len(fragments) == frames:
        return [fragments[index]]
    if frames == 1:
        return fragments
    if len(fragments) < frames:
        raise EOFError(f"{len(fragments)} fragments of {frames} frames")
    chosen = []
    for fragment in fragments:
        if index == 0:
            chosen.append(fragment)
        ending = min(fragment.length, 10)
        file.seek(fragment.at + fragment.length - ending)
        if _END_OF_IMAGE in file.read(ending):
            index -= 1
            if index < 0:
                return chosen
    raise ValueError("its fragments do not tell where a frame ends")


def _read_tag(file: BinaryIO, *, big_endian: bool) -> tuple[int, int] | None:
    """Read group and element; None at the end of the file."""
    tag = file.read(4)
    if len(tag) < 4:
        return None
    group, element = struct.unpack(">HH" if big_endian else "<HH", tag)
    return group, element
