"""Checks of compressed streams before they are decoded, and how the pixels of a file lie."""

import re
from dataclasses import dataclass
from typing import Final

from pydicom import uid

END_OF_IMAGE: Final = b"\xff\xd9"
FILL_BYTES: Final = b"\0\xff"  # behind an image of odd length: 0 by the standard, FF in the sample images of its WG-04
_J2K: Final = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)


@dataclass(frozen=True)
class PixelLayout:
    """How the pixels lie in the file.

    Attributes:
        rows: Y.
        columns: X.
        bits_allocated: 8, 16 or 32 bits that a stored value occupies.
        bits_stored: Bits of them that hold the value.
        high_bit: Highest of these bits, from 0; above `bits_stored` - 1 in values that are left-aligned.
        signed: The value is two's complement.
        syntax: Transfer syntax.
        plugin: pydicom's name of the decoder; empty for pixels that are not compressed.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    syntax: uid.UID
    plugin: str

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame that is not compressed."""
        return self.rows * self.columns * self.bits_allocated // 8

    @property
    def empty_low_bits(self) -> int:
        """Bits below the value in left-aligned pixels."""
        return self.high_bit + 1 - self.bits_stored


def check_stream(stream: bytes, layout: PixelLayout) -> None:
    """Raise ValueError for a stream that would make a decoder allocate without bound, not return, or invent pixels.

    Source:
        ITU-T T.81 B.2.2 (JPEG frame header), T.87 C.2.2 (JPEG-LS), T.800 A.5.1 (JPEG 2000 SIZ marker).
    """
    if layout.syntax == uid.RLELossless:
        return
    if layout.syntax in uid.JPEGLSTransferSyntaxes and not stream.rstrip(FILL_BYTES).endswith(END_OF_IMAGE):
        raise ValueError("the compressed stream has no end")  # pyjpegls waits for it for ever
    if layout.syntax in _J2K:
        at = stream.find(b"\xff\x4f\xff\x51") + 8
        right, bottom, left, top = (int.from_bytes(stream[i : i + 4]) for i in range(at, at + 16, 4))
        found = (bottom - top, right - left, int.from_bytes(stream[at + 32 : at + 34]))
    else:
        frame = _find_frame_header(stream)
        if layout.plugin == "gdcm" and layout.syntax not in uid.JPEGLSTransferSyntaxes:
            _check_scan(stream, _find_scan(stream, frame), layout)
        at = frame + 5
        found = (int.from_bytes(stream[at : at + 2]), int.from_bytes(stream[at + 2 : at + 4]), stream[at + 4])
    if found != (layout.rows, layout.columns, 1):
        raise ValueError(f"rows, columns and samples are {found} in the compressed stream")


def _find_frame_header(stream: bytes) -> int:
    """Offset of the SOF marker of a JPEG or JPEG-LS stream."""
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return at
        at += 1 if marker == 0xFF else 2 + int.from_bytes(stream[at + 2 : at + 4])
    raise ValueError("the compressed stream has no frame header")


def _find_scan(stream: bytes, at: int) -> int:
    """Offset of the coded data of a JPEG stream's scan."""
    while stream[at : at + 2] != b"\xff\xda":
        if at + 4 > len(stream) or stream[at] != 0xFF:
            raise ValueError("the compressed stream has bytes between its segments, or no scan")
        at += 1 if stream[at + 1] == 0xFF else 2 + int.from_bytes(stream[at + 2 : at + 4])
    return at + 2 + int.from_bytes(stream[at + 2 : at + 4])


def _check_scan(stream: bytes, at: int, layout: PixelLayout) -> None:
    """Raise ValueError for coded data that end early, which GDCM completes with grey.

    Source:
        ITU-T T.81 B.1.1.5: a marker in them is followed by neither 0 nor the numbers of a restart. Of a lossless
        sample there is a bit at least, of a block of 64 coefficients two.
    """
    samples = layout.rows * layout.columns
    least_bits = samples // 32 if layout.syntax == uid.JPEGExtended12Bit else samples
    marker = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search(stream, at)
    end = marker.start() if marker else len(stream)
    ends_early = marker is not None and marker.group() == END_OF_IMAGE and stream[end + 2 :].strip(FILL_BYTES)
    if 8 * (end - at) < least_bits or ends_early:
        raise ValueError("the compressed stream ends before its pixels do")
