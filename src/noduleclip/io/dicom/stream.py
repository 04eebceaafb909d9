"""The bytes of one frame, read from its file without the other frames."""

import io
import struct
import warnings
from typing import BinaryIO, Final

from pydicom import uid
from pydicom.encaps import get_frame

from noduleclip.errors import RejectCode, SliceError, shows_incompatibility
from noduleclip.io.dicom.bounded_file import LARGEST_HEADER_BYTES, open_bounded
from noduleclip.io.dicom.header import COPY_AGAIN, Header, find_limit_bytes, read_header

_PIXEL_DATA: Final = (0x7FE0, 0x0010)
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_NO_PIXELS: Final = "the file ends before its pixel data do"


def read_frame(header: Header, frame_bytes: int, max_pixels: int, *, compressed: bool) -> bytes:
    """Read the bytes of the frame that the header is of, still compressed.

    Args:
        header: Header of the frame, read with or without pixels.
        frame_bytes: Bytes of a frame that is not compressed.
        max_pixels: Largest slice that is wanted; bounds the bytes that are read.
        compressed: The pixel data are encapsulated.

    Raises:
        SliceError: The pixel data are absent, cut short or broken.
    """
    try:
        if header.pixels_at and header.dataset.file_meta.TransferSyntaxUID != uid.DeflatedExplicitVRLittleEndian:
            with open_bounded(header.path, find_limit_bytes(max_pixels), 0) as file:
                length = _seek_pixels(file, header)
                if compressed != (length == _UNDEFINED_LENGTH):
                    raise ValueError("encapsulated and native form are mixed up")
                return _read(file, length, header, frame_bytes, compressed=compressed)
        if header.pixels_at:
            whole = read_header(header.path, max_pixels, ("PixelData",), stop_before_pixels=False).value("PixelData")
        else:
            whole = header.value("PixelData")
        if not isinstance(whole, bytes) or not whole:
            # pydicom drops a compressed element without an end, so a cut file looks like one without pixels.
            code = RejectCode.TRUNCATED_PIXELS if compressed else RejectCode.NO_PIXEL_DATA
            raise header.reject(code, _NO_PIXELS, COPY_AGAIN)
        return _read(io.BytesIO(whole), len(whole), header, frame_bytes, compressed=compressed)
    except SliceError:
        raise
    except EOFError as error:
        raise _reject_cut(header, str(error)) from error
    except Exception as error:  # pydicom's parser on broken bytes raises many types
        if shows_incompatibility(error):
            raise
        fact = (
            f"its pixel data have no frame {header.frame + 1} that can be found: {str(error) or type(error).__name__}"
        )
        raise header.reject(RejectCode.DECODE_FAILED, fact, COPY_AGAIN) from error


def check_length(header: Header, frame_bytes: int, *, compressed: bool) -> None:
    """Check that the file has pixel data, and is long enough for a native frame, without reading them.

    Raises:
        SliceError: As `read_frame` does.
    """
    if not header.pixel_tag:
        code = RejectCode.TRUNCATED_PIXELS if compressed else RejectCode.NO_PIXEL_DATA
        raise header.reject(code, _NO_PIXELS, COPY_AGAIN)
    if compressed or header.dataset.file_meta.TransferSyntaxUID == uid.DeflatedExplicitVRLittleEndian:
        return
    with open_bounded(header.path, LARGEST_HEADER_BYTES, 0) as file:
        length = _seek_pixels(file, header)
        held = min(length, header.path.stat().st_size - file.tell()) - header.frame * frame_bytes
    if length != _UNDEFINED_LENGTH and held < frame_bytes:
        raise _reject_cut(header, f"{max(held, 0)} of {frame_bytes} bytes")


def _reject_cut(header: Header, detail: str) -> SliceError:
    fact = f"the pixel data are cut short, they end before those of frame {header.frame + 1} do"
    return header.reject(RejectCode.TRUNCATED_PIXELS, f"{fact} ({detail})" if detail else fact, COPY_AGAIN)


def _seek_pixels(file: BinaryIO, header: Header) -> int:
    """Go to the value of the pixel data, and return its length in bytes."""
    big_endian = header.dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian
    file.seek(header.pixels_at)
    head = file.read(8)
    if len(head) < 8 or struct.unpack(">HH" if big_endian else "<HH", head[:4]) != _PIXEL_DATA:
        raise header.reject(RejectCode.NO_PIXEL_DATA, _NO_PIXELS, COPY_AGAIN)
    length = file.read(4) if head[4:] in (b"OB\0\0", b"OW\0\0", b"UN\0\0") else head[4:]  # an implicit length is even
    length_bytes = int.from_bytes(length, "big" if big_endian else "little")
    if not length_bytes or (length_bytes != _UNDEFINED_LENGTH and file.tell() >= header.path.stat().st_size):
        raise header.reject(RejectCode.NO_PIXEL_DATA, _NO_PIXELS, COPY_AGAIN)
    return length_bytes


def _read(file: BinaryIO, length: int, header: Header, frame_bytes: int, *, compressed: bool) -> bytes:
    """Read a frame of the pixel data that start at the next byte.

    Source:
        DICOM PS3.5 A.4; PS3.3 C.7.6.3.1.8 (Extended Offset Table).
    """
    if not compressed:
        file.seek(header.frame * frame_bytes, 1)
        frame = file.read(frame_bytes)
        if len(frame) < frame_bytes or (header.frame + 1) * frame_bytes > length:
            raise EOFError(f"{len(frame)} of {frame_bytes} bytes")
        return frame
    table = header.value("ExtendedOffsetTable"), header.value("ExtendedOffsetTableLengths")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom warns of a frame without an end, and returns it
        stream = get_frame(
            _WholeReads(file),
            header.frame,
            number_of_frames=header.count("NumberOfFrames", absent=1) or 1,
            extended_offsets=table if all(isinstance(part, bytes) and part for part in table) else None,  # type: ignore[arg-type]
        )
    if len(stream) < 2:
        raise ValueError("its stream is empty")
    return stream


class _WholeReads:
    """A file whose reads return all the bytes asked for or raise EOFError; pydicom's parser takes fewer, too."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            raise ValueError("its offsets are not ascending")
        content = self._read(size)
        if len(content) < size:
            raise EOFError(f"{len(content)} of {size} bytes of a fragment")
        return content
