"""Pixel data as stored values: the choice of a decoder, checks of the compressed stream, and decoding."""

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from noduleclip.errors import RejectCode, shows_incompatibility
from noduleclip.io.dicom.gdcm_process import decode_apart
from noduleclip.io.dicom.header import COPY_AGAIN, EXPORT_AGAIN, LEAVE_OUT, Header
from noduleclip.io.dicom.stream import read_frame

# The first that is installed is the only one tried: GDCM fills what a broken stream lacks where others raise.
_DECODERS: Final[Mapping[str, tuple[str, ...]]] = {
    uid.RLELossless: ("pydicom",),
    uid.JPEGBaseline8Bit: ("pillow", "gdcm"),
    uid.JPEGExtended12Bit: ("gdcm",),
    uid.JPEGLossless: ("gdcm",),
    uid.JPEGLosslessSV1: ("gdcm",),
    uid.JPEGLSLossless: ("pyjpegls", "gdcm"),
    uid.JPEGLSNearLossless: ("pyjpegls", "gdcm"),
    uid.JPEG2000Lossless: ("pillow", "pylibjpeg", "gdcm"),
    uid.JPEG2000: ("pillow", "pylibjpeg", "gdcm"),
    uid.HTJ2KLossless: ("pylibjpeg",),
    uid.HTJ2KLosslessRPCL: ("pylibjpeg",),
    uid.HTJ2K: ("pylibjpeg",),
}
_OF_DCMDJPEG: Final = ("1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55")  # that it decodes, and Python does not
_PACKAGES: Final = {"gdcm": "python-gdcm", "pylibjpeg": "pylibjpeg pylibjpeg-openjpeg"}
_J2K: Final = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
_END: Final = b"\xff\xd9"
_MOST_STRAY_ZEROS: Final = 4
_PADDING: Final = b"\0\xff"  # behind an image of odd length: 0 by the standard, FF in the sample images of its WG-04
_NATIVE: Final = (
    *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian),
    *(uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian),
)


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


def choose_decoder(header: Header, syntax: uid.UID) -> str:
    """Choose the one decoder to try.

    Returns:
        pydicom's name of it; empty where pixels are not compressed.

    Raises:
        SliceError: No decoder of this transfer syntax is known or installed.
    """
    if syntax in _NATIVE:
        return ""
    if plugin := _find_installed(syntax):
        return plugin
    if syntax in _DECODERS:
        remedy = _name_remedy(syntax)
    elif syntax in _OF_DCMDJPEG:
        remedy = "decompress it first, for example with dcmdjpeg"
    else:
        remedy = EXPORT_AGAIN
    if syntax.name != syntax:
        name = f"{syntax.name} ({syntax})"
    else:
        name = (
            f"{syntax}, which is {'private' if syntax.is_private else 'unknown'}"
            if syntax.is_valid
            else repr(syntax[:64])
        )
    raise header.reject(RejectCode.NO_DECODER, f"no decoder for its transfer syntax {name}", remedy)


def list_decoders() -> dict[str, tuple[str, str]]:
    """Return the decoder of each supported compression ("" where none is installed), and how to install it."""
    return {uid.UID(syntax).name: (_find_installed(syntax), _name_remedy(syntax)) for syntax in _DECODERS}


def _find_installed(syntax: str) -> str:
    plugins = _DECODERS.get(syntax, ())
    available = get_decoder(syntax).available_plugins if plugins else ()
    return next((plugin for plugin in plugins if plugin in available), "")


def _name_remedy(syntax: str) -> str:
    first = _DECODERS[syntax][0]
    return f"pip install {_PACKAGES.get(first, first)}"


def decode_pixels(header: Header, layout: PixelLayout, max_pixels: int) -> NDArray[np.integer]:
    """Decode the pixel data of the frame that the header is of.

    Args:
        header: The header, with or without the pixel data.
        layout: How they lie.
        max_pixels: Largest slice that is wanted; bounds the bytes that are read.

    Returns:
        (Y, X) stored values, padding included, before slope and intercept.

    Raises:
        SliceError: The pixel data are absent, cut short or broken.
    """
    if header.pixels_at and layout.bits_allocated == 8 and layout.syntax == uid.ExplicitVRBigEndian:
        fact = "8-bit big endian pixels of many frames, that may be swapped across frames"
        raise header.reject(RejectCode.NO_DECODER, fact, "convert it, for example with dcmconv +te")
    stream = read_frame(header, layout.frame_bytes, max_pixels, compressed=bool(layout.plugin))
    try:
        if layout.plugin:
            _check_stream(stream, layout)
        stored = decode_apart(_decode, stream, layout) if layout.plugin == "gdcm" else _decode(stream, layout)
        if stored.shape != (layout.rows, layout.columns):
            raise ValueError(f"decoded to {stored.shape}")
    except Exception as error:  # decoders written in C raise many types
        if shows_incompatibility(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()[:120]
        fact = f"its pixel data ({layout.syntax.name}) cannot be decoded: {reason}"
        raise header.reject(RejectCode.DECODE_FAILED, fact, COPY_AGAIN) from error
    return _align(header, stored, layout) if layout.empty_low_bits else stored


def _align(header: Header, stored: NDArray[np.integer], layout: PixelLayout) -> NDArray[np.integer]:
    """Shift left-aligned values, (Y, X), to the low bits, and drop the unused bits above them.

    Raises:
        SliceError: Bits below the values are set: the header contradicts the pixels.

    Source:
        DICOM PS3.5 8.1.1 (Pixel data encoding).
    """
    if np.any(stored & ((1 << layout.empty_low_bits) - 1)):
        fact = f"HighBit is {layout.high_bit} and BitsStored {layout.bits_stored}, but the bits below these are set"
        raise header.reject(RejectCode.BAD_HEADER, fact, LEAVE_OUT)
    aligned: NDArray[np.integer] = stored << (layout.bits_allocated - 1 - layout.high_bit)
    return aligned >> (layout.bits_allocated - layout.bits_stored)


def _decode(stream: bytes, layout: PixelLayout) -> NDArray[np.integer]:
    """Decode the bytes of one frame, (Y, X)."""
    if layout.syntax == uid.JPEGExtended12Bit and layout.bits_stored > 8:
        return _decode_jpeg_12bit(stream, layout)
    if layout.plugin == "pyjpegls":
        return _decode_jpeg_ls(stream, layout)
    return _decode_by_pydicom(stream, layout)


def _decode_jpeg_ls(stream: bytes, layout: PixelLayout) -> NDArray[np.integer]:
    """Decode JPEG-LS, (Y, X), also where the encoder wrote zeros between the coded data and the end marker.

    CharLS refuses these (team-charls/charls#437). The last coded byte may be a zero itself, so they are dropped one by
    one until it finds the marker right behind the last pixel.
    """
    coded = stream.rstrip(_PADDING).removesuffix(_END)
    zeros = len(coded) - len(coded.rstrip(b"\0"))
    for dropped in range(min(zeros, _MOST_STRAY_ZEROS)):
        with contextlib.suppress(Exception):
            return _decode_by_pydicom(coded[: len(coded) - dropped] + _END, layout)
    return _decode_by_pydicom(coded[: len(coded) - min(zeros, _MOST_STRAY_ZEROS)] + _END, layout)


def _decode_by_pydicom(stream: bytes, layout: PixelLayout) -> NDArray[np.integer]:
    """Decode the bytes of one frame by pydicom's decoder of the layout, (Y, X)."""
    description: Any = {  # Any: pydicom declares each of its keyword arguments as all of them
        "rows": layout.rows,
        "columns": layout.columns,
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": layout.bits_allocated,
        "bits_stored": layout.bits_allocated if layout.empty_low_bits else layout.bits_stored,
        "pixel_representation": int(layout.signed),
        "pixel_keyword": "PixelData",
        "pixel_vr": "OB" if layout.plugin else "OW",
    }
    source = encapsulate([stream]) if layout.plugin else stream
    stored, _ = get_decoder(layout.syntax).as_array(source, decoding_plugin=layout.plugin, **description)
    return stored


def _check_stream(stream: bytes, layout: PixelLayout) -> None:
    """Raise ValueError for a stream that would make a decoder allocate without bound, not return, or invent pixels.

    Source:
        ITU-T T.81 B.2.2 (JPEG frame header), T.87 C.2.2 (JPEG-LS), T.800 A.5.1 (JPEG 2000 SIZ marker).
    """
    if layout.syntax == uid.RLELossless:
        return
    if layout.syntax in uid.JPEGLSTransferSyntaxes and not stream.rstrip(_PADDING).endswith(_END):
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
    ends_early = marker is not None and marker.group() == _END and stream[end + 2 :].strip(_PADDING)
    if 8 * (end - at) < least_bits or ends_early:
        raise ValueError("the compressed stream ends before its pixels do")


def _decode_jpeg_12bit(stream: bytes, layout: PixelLayout) -> NDArray[np.integer]:
    """Decode JPEG Extended of 12 bits, (Y, X), which GDCM can do and pydicom's plugin refuses to ask.

    GDCM picks its 8, 12 or 16-bit library by the bits allocated: given 12, it uses the right one at once
    instead of complaining on stderr and trying again (tfmoraes/python-gdcm#35).
    """
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    grey = gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(grey)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(layout.syntax))))
    image.SetPixelFormat(gdcm.PixelFormat(1, 12, 12, 11, int(layout.signed)))
    text = image.GetBuffer()
    if text is None:
        raise ValueError("GDCM gave no pixels")
    stored = np.frombuffer(text.encode("utf-8", "surrogateescape"), "<u2")
    signed_if_so = (stored << 4).view("<i2") >> 4 if layout.signed else stored
    return signed_if_so.reshape(layout.rows, layout.columns)
