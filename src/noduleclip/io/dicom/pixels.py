"""Pixel data as stored values: the choice of a decoder, and decoding."""

import contextlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from noduleclip.errors import RejectCode, shows_incompatibility
from noduleclip.io.dicom.codestream import END_OF_IMAGE, FILL_BYTES, PixelLayout, check_stream
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
_MOST_STRAY_ZEROS: Final = 4
_NATIVE: Final = (
    *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian),
    *(uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian),
)


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
            check_stream(stream, layout)
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
    coded = stream.rstrip(FILL_BYTES).removesuffix(END_OF_IMAGE)
    zeros = min(len(coded) - len(coded.rstrip(b"\0")), _MOST_STRAY_ZEROS)
    for dropped in range(zeros):
        with contextlib.suppress(Exception):
            return _decode_by_pydicom(coded[: len(coded) - dropped] + END_OF_IMAGE, layout)
    return _decode_by_pydicom(coded[: len(coded) - zeros] + END_OF_IMAGE, layout)


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
