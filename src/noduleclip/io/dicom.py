"""One DICOM file to one CT slice in Hounsfield units, or one reason why not.

Knows DICOM and its compressions; knows nothing of regions, crops or tables. No text of the header reaches a
message but the few coded values that explain a rejection, and the patient's name is never parsed.
"""

import io
import math
import stat
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder

from noduleclip.errors import RejectCode, SliceError
from noduleclip.io.crops import AIR_HU

DEFAULT_MAX_PIXELS: Final = 4096 * 4096


@dataclass(frozen=True)
class CtSlice:
    """One axial image.

    Attributes:
        hu: (Y, X) Hounsfield units, at least -1024; padding outside the field of view is air.
        spacing_yx_mm: Distance of rows, then of columns, in mm; None when the header has none.
        patient_id: DICOM PatientID, empty when absent.
        series_uid: SeriesInstanceUID, empty when absent.
        sop_uid: SOPInstanceUID, empty when absent.
    """

    hu: NDArray[np.float32]
    spacing_yx_mm: tuple[float, float] | None
    patient_id: str
    series_uid: str
    sop_uid: str


# The first that is installed is the only one tried: GDCM ends the whole process on some broken JPEG, JPEG-LS
# and JPEG 2000 streams where the others raise, so it must never be the second try on a broken stream.
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
_PACKAGES: Final = {"gdcm": "python-gdcm", "pylibjpeg": "pylibjpeg pylibjpeg-openjpeg"}
_J2K: Final = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
_NATIVE: Final = (
    *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian),
    *(uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian),
)
_HEADER_TAGS: Final = (
    *("Modality", "SOPClassUID", "ImageType", "PatientID", "SeriesInstanceUID", "SOPInstanceUID"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleIntercept", "RescaleSlope", "RescaleType", "ModalityLUTSequence"),
)
_LARGEST_HEADER_BYTES: Final = 16 * 2**20
_COPY_AGAIN: Final = "copy or download it again"
_LEAVE_OUT: Final = "leave the file out"


def read_ct_slice(path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS, assume_hu: bool = False) -> CtSlice:
    """Read one single-frame CT image as Hounsfield units.

    HU = stored value * RescaleSlope + RescaleIntercept; MONOCHROME1 concerns display and leaves them be.

    Args:
        path: The file.
        max_pixels: Largest Rows x Columns that is decoded.
        assume_hu: Take the stored values as HU where slope and intercept are absent.

    Returns:
        The slice, padding and everything below -1024 HU set to -1024.

    Raises:
        SliceError: The file cannot be read, or is not such an image; `code` is one of `RejectCode`.

    Source:
        DICOM PS3.3 C.7.6.3 (Image Pixel), C.7.5.1.1.2 (Pixel Padding), C.8.2.1 (CT), C.11.1 (Modality LUT).
    """
    with _no_warnings():
        dataset = _open_dataset(path, max_pixels, (*_HEADER_TAGS, "PixelData"), stop_before_pixels=False)
        header = _Header(path, dataset)
        layout, scale, spacing_yx_mm = _check_header(header, max_pixels, assume_hu=assume_hu)
        return CtSlice(
            hu=_make_hu(header, _decode(header, layout), layout, *scale),
            spacing_yx_mm=spacing_yx_mm,
            patient_id=header.text("PatientID"),
            series_uid=header.text("SeriesInstanceUID"),
            sop_uid=header.text("SOPInstanceUID"),
        )


def check_ct_slice(path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS, assume_hu: bool = False) -> None:
    """Make every check of `read_ct_slice` that needs no pixels, a decoder for the compression included.

    Args:
        path: The file.
        max_pixels: As in `read_ct_slice`.
        assume_hu: As in `read_ct_slice`.

    Raises:
        SliceError: As `read_ct_slice` would, save for what is wrong with the pixel data.
    """
    with _no_warnings():
        header = _Header(path, _open_dataset(path, max_pixels, _HEADER_TAGS))
        _check_header(header, max_pixels, assume_hu=assume_hu)


def read_patient_id(path: Path) -> str:
    """Read the PatientID of any DICOM file and nothing else.

    Args:
        path: The file.

    Returns:
        The id without blanks around it, empty when absent.

    Raises:
        SliceError: The file cannot be read or is not DICOM.
    """
    with _no_warnings():
        return _Header(path, _open_dataset(path, DEFAULT_MAX_PIXELS, ("PatientID",))).text("PatientID")


@contextmanager
def _no_warnings() -> Iterator[None]:
    # pydicom warns of every odd value; what matters of them is checked here and told as a SliceError.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _InflatesTooFar(Exception):  # noqa: N818 - never leaves this module
    """A deflated file is larger than any slice."""


class _BoundedFile(io.BufferedReader):
    """A file that cannot make pydicom allocate more than it should.

    pydicom reads "all the rest" for one purpose only, to inflate it at once; it does so even for a header.
    """

    def __init__(self, path: Path, size_bytes: int, largest_inflated_bytes: int) -> None:
        super().__init__(io.FileIO(path))
        self._size_bytes = size_bytes
        self._largest_inflated_bytes = largest_inflated_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size >= 0:
            return super().read(min(size, self._size_bytes))
        rest = super().read()
        limit = self._largest_inflated_bytes
        if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(rest, limit + 1)) > limit:
            raise _InflatesTooFar
        return rest


def _open_dataset(
    path: Path, max_pixels: int, tags: Sequence[str], *, stop_before_pixels: bool = True
) -> pydicom.FileDataset:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _rejection(path, RejectCode.UNREADABLE_FILE, "not a regular file", "name a DICOM file")
        if status.st_size == 0:
            raise _rejection(path, RejectCode.EMPTY_FILE, "the file is empty", _COPY_AGAIN)
        limit_bytes = 4 * max_pixels + _LARGEST_HEADER_BYTES
        with _BoundedFile(path, status.st_size, limit_bytes) as file:
            # What is larger than a slice stays in the file, such as the pixels of a volume in many frames.
            return pydicom.dcmread(file, limit_bytes, stop_before_pixels, specific_tags=list(tags))
    except SliceError:
        raise
    except Exception as error:  # a parser on broken bytes raises whatever it runs into
        code, fact, remedy = _explain_unread(error, max_pixels)
        if code is RejectCode.TRUNCATED_HEADER and not stop_before_pixels:
            _open_dataset(path, max_pixels, tags)  # raises where the header itself is broken
            code, fact = RejectCode.TRUNCATED_PIXELS, "the pixel data are cut short"
        raise _rejection(path, code, fact, remedy) from error


def _explain_unread(error: Exception, max_pixels: int) -> tuple[RejectCode, str, str]:
    match error:
        case FileNotFoundError() | NotADirectoryError():
            return RejectCode.MISSING_FILE, "no such file", "check the path and the DICOM root"
        case OSError() if error.errno is not None:  # pydicom raises some of its own, without a number
            return RejectCode.UNREADABLE_FILE, f"cannot be read ({error.strerror})", "check its permissions"
        case InvalidDicomError():
            return RejectCode.NOT_DICOM, "not DICOM: it has no DICM prefix", _LEAVE_OUT
        case _InflatesTooFar():
            fact = f"deflated, it inflates beyond any slice of {max_pixels} pixels"
            return RejectCode.TOO_LARGE, fact, "raise --max-pixels if it is genuine"
        case _:
            fact = f"the header cannot be parsed ({type(error).__name__})"
            return RejectCode.TRUNCATED_HEADER, fact, _COPY_AGAIN


def _rejection(path: Path, code: RejectCode, fact: str, remedy: str) -> SliceError:
    return SliceError(code, f"{path}: {fact}; {remedy}")


@dataclass(frozen=True)
class _Header:
    """Header values by keyword; a conversion that fails is a rejection."""

    path: Path
    dataset: pydicom.FileDataset

    def reject(self, code: RejectCode, fact: str, remedy: str) -> SliceError:
        return _rejection(self.path, code, fact, remedy)

    def value(self, keyword: str, code: RejectCode = RejectCode.BAD_HEADER) -> object:
        try:
            return self.dataset.get(keyword)
        except Exception as error:  # pydicom converts on access, and each type fails in its own way
            raise self.reject(code, f"the value of {keyword} is malformed", _COPY_AGAIN) from error

    def text(self, keyword: str) -> str:
        value = self.value(keyword)
        return "" if value is None else str(value).strip()

    def numbers(self, keyword: str, code: RejectCode = RejectCode.BAD_HEADER) -> list[float] | None:
        """All values, finite; an empty list where the element is empty, None where it is absent."""
        if keyword not in self.dataset:
            return None
        value = self.value(keyword, code)
        items = list(value) if isinstance(value, MultiValue) else [value]
        try:
            numbers = [float(str(item)) for item in items if item not in (None, "")]
        except ValueError as error:
            raise self.reject(code, f"{keyword} is no number", _COPY_AGAIN) from error
        if not all(map(math.isfinite, numbers)):
            raise self.reject(code, f"{keyword} is not finite", _LEAVE_OUT)
        return numbers

    def count(self, keyword: str, absent: int | None = None) -> int:
        numbers = self.numbers(keyword) or ([] if absent is None else [absent])
        if not numbers:
            raise self.reject(RejectCode.TRUNCATED_HEADER, f"the header has no {keyword}", _COPY_AGAIN)
        return int(numbers[0])


@dataclass(frozen=True)
class _Layout:
    """How the pixels lie in the file.

    Attributes:
        rows: Y.
        columns: X.
        bits_allocated: 8, 16 or 32 bits that a stored value occupies.
        bits_stored: Bits of them that hold the value.
        signed: The value is two's complement.
        syntax: Transfer syntax.
        plugin: pydicom's name of the decoder; empty for pixels that are not compressed.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    syntax: uid.UID
    plugin: str


def _check_header(
    header: _Header, max_pixels: int, *, assume_hu: bool
) -> tuple[_Layout, tuple[float, float], tuple[float, float] | None]:
    """Give the layout, (slope, intercept) and spacing of one plane of CT, or reject."""
    _check_kind(header)
    layout = _parse_layout(header, max_pixels)
    return layout, _parse_rescale(header, assume_hu=assume_hu), _parse_spacing(header)


def _check_kind(header: _Header) -> None:
    """Reject what is not one plane of CT in grey."""
    modality = header.text("Modality")
    if not modality:
        raise header.reject(RejectCode.TRUNCATED_HEADER, "the header has no Modality", _COPY_AGAIN)
    if modality != "CT":
        raise header.reject(RejectCode.NOT_CT, f"Modality is {modality[:16]!r}, not CT", _LEAVE_OUT)
    if header.text("SOPClassUID").startswith(uid.SecondaryCaptureImageStorage):
        raise header.reject(RejectCode.NOT_CT, "a secondary capture, not a CT slice", _LEAVE_OUT)
    if "LOCALIZER" in header.text("ImageType").upper():
        raise header.reject(RejectCode.LOCALIZER, "a localizer, not an axial slice", _LEAVE_OUT)
    frames = header.count("NumberOfFrames", absent=1)
    if frames > 1:
        fact = f"it holds {frames} frames, and only single slices are read"
        raise header.reject(RejectCode.MULTI_FRAME, fact, "split it into one file a slice")
    grey, samples = header.text("PhotometricInterpretation"), header.count("SamplesPerPixel", absent=1)
    if not grey:
        fact = "the header has no PhotometricInterpretation"
        raise header.reject(RejectCode.TRUNCATED_HEADER, fact, _COPY_AGAIN)
    if samples != 1 or grey not in ("MONOCHROME1", "MONOCHROME2"):
        fact = f"{samples} samples a pixel as {grey[:16]!r}, not grey values"
        raise header.reject(RejectCode.COLOUR, fact, _LEAVE_OUT)


def _parse_layout(header: _Header, max_pixels: int) -> _Layout:
    rows, columns = header.count("Rows"), header.count("Columns")
    if rows * columns > max_pixels:
        fact = f"{rows} x {columns} pixels, more than the limit of {max_pixels}"
        raise header.reject(RejectCode.TOO_LARGE, fact, "raise --max-pixels if it is genuine")
    allocated, stored = header.count("BitsAllocated"), header.count("BitsStored")
    signed = header.count("PixelRepresentation")
    bits_fit = allocated in (8, 16, 32) and 1 <= stored <= allocated and signed in (0, 1)
    if min(rows, columns) < 1 or not bits_fit:
        fact = f"no image has {rows} x {columns} pixels of {stored} in {allocated} bits, sign {signed}"
        raise header.reject(RejectCode.BAD_HEADER, fact, _COPY_AGAIN)
    syntax = uid.UID(str(header.dataset.file_meta.get("TransferSyntaxUID") or ""))
    if not syntax:
        raise header.reject(RejectCode.TRUNCATED_HEADER, "the header names no transfer syntax", _COPY_AGAIN)
    return _Layout(rows, columns, allocated, stored, bool(signed), syntax, _choose_decoder(header, syntax))


def _choose_decoder(header: _Header, syntax: uid.UID) -> str:
    """Name the one decoder to try; empty where pixels are not compressed."""
    if syntax in _NATIVE:
        return ""
    plugins = _DECODERS.get(syntax, ())
    available = get_decoder(syntax).available_plugins if plugins else ()
    for plugin in plugins:
        if plugin in available:
            return plugin
    name = f"{syntax.name} ({syntax})" if syntax.is_valid else repr(syntax[:64])
    remedy = "decompress it first, for example with dcmdjpeg"
    if plugins:
        remedy = f"pip install {_PACKAGES.get(plugins[0], plugins[0])}"
    raise header.reject(RejectCode.NO_DECODER, f"no decoder for its transfer syntax {name}", remedy)


def _parse_rescale(header: _Header, *, assume_hu: bool) -> tuple[float, float]:
    """Slope in HU per stored unit, and intercept in HU.

    Source:
        DICOM PS3.3 C.11.1.1: a Modality LUT Sequence takes the place of slope and intercept.
    """
    if "ModalityLUTSequence" in header.dataset:
        fact = "a Modality LUT takes the place of RescaleSlope"
        raise header.reject(RejectCode.MODALITY_LUT, fact, "convert it to RescaleSlope and RescaleIntercept")
    unit = header.text("RescaleType")
    if unit.upper() not in ("", "HU"):
        raise header.reject(RejectCode.NOT_HU, f"RescaleType is {unit[:16]!r}, not HU", _LEAVE_OUT)
    slopes = header.numbers("RescaleSlope", RejectCode.BAD_RESCALE)
    intercepts = header.numbers("RescaleIntercept", RejectCode.BAD_RESCALE)
    if (slopes is None or intercepts is None) and not assume_hu:
        fact = f"no Rescale{'Slope' if slopes is None else 'Intercept'}: the values are not Hounsfield units"
        raise header.reject(RejectCode.NO_RESCALE, fact, "pass --assume-hu if they are")
    slopes = [1.0] if slopes is None else slopes
    intercepts = [0.0] if intercepts is None else intercepts
    if len(slopes) != 1 or len(intercepts) != 1 or not 0 < slopes[0] <= 1e4 or abs(intercepts[0]) > 1e6:
        fact = f"RescaleSlope is {_listed(slopes)} and RescaleIntercept {_listed(intercepts)}"
        raise header.reject(RejectCode.BAD_RESCALE, fact, "one positive slope and one intercept are needed")
    return slopes[0], intercepts[0]


def _parse_spacing(header: _Header) -> tuple[float, float] | None:
    """Distance of rows, then of columns, in mm.

    Source:
        DICOM PS3.3 10.7.1.3, the distance of rows comes first. ImagerPixelSpacing is measured at the
        detector, not in the patient, and never stands in.
    """
    spacing_mm = header.numbers("PixelSpacing", RejectCode.BAD_SPACING)
    if not spacing_mm:
        return None
    if len(spacing_mm) != 2 or not all(0.01 <= side <= 10 for side in spacing_mm):
        fact = f"PixelSpacing is {_listed(spacing_mm)}, where two numbers in [0.01, 10] mm are needed"
        raise header.reject(RejectCode.BAD_SPACING, fact, _LEAVE_OUT)
    return spacing_mm[0], spacing_mm[1]


def _listed(numbers: list[float]) -> str:
    return "\\".join(f"{number:g}" for number in numbers[:4]) or "empty"


def _decode(header: _Header, layout: _Layout) -> NDArray[np.integer]:
    """Stored values (Y, X)."""
    pixel_bytes = header.value("PixelData")
    if not isinstance(pixel_bytes, bytes) or not pixel_bytes:
        # pydicom drops a compressed element without an end, so a cut file looks like one without pixels.
        code = RejectCode.TRUNCATED_PIXELS if layout.plugin else RejectCode.NO_PIXEL_DATA
        raise header.reject(code, "the file ends before its pixel data do", _COPY_AGAIN)
    expected = layout.rows * layout.columns * layout.bits_allocated // 8
    if not layout.plugin and len(pixel_bytes) < expected:
        fact = f"the pixel data are cut short, {len(pixel_bytes)} of {expected} bytes"
        raise header.reject(RejectCode.TRUNCATED_PIXELS, fact, _COPY_AGAIN)
    try:
        if layout.plugin:
            stream = next(generate_frames(pixel_bytes, number_of_frames=1))
            _check_stream(stream, layout)
            if layout.syntax == uid.JPEGExtended12Bit and layout.bits_stored > 8:
                return _decode_jpeg_12bit(stream, layout)
        stored, _ = get_decoder(layout.syntax).as_array(header.dataset, decoding_plugin=layout.plugin)
        if stored.shape != (layout.rows, layout.columns):
            raise ValueError(f"decoded to {stored.shape}")
    except Exception as error:  # decoders written in C raise what they like
        reason = (str(error).splitlines() or [type(error).__name__])[-1].strip()[:120]
        fact = f"its pixel data ({layout.syntax.name}) cannot be decoded: {reason}"
        raise header.reject(RejectCode.DECODE_FAILED, fact, _COPY_AGAIN) from error
    return stored


def _check_stream(stream: bytes, layout: _Layout) -> None:
    """Raise ValueError for a stream that would make a decoder allocate without bound, loop or abort.

    Source:
        ITU-T T.81 B.2.2 (JPEG frame header), T.87 C.2.2 (JPEG-LS), T.800 A.5.1 (JPEG 2000 SIZ marker).
    """
    if layout.syntax == uid.RLELossless:
        return
    if layout.syntax in uid.JPEGLSTransferSyntaxes and not stream.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ValueError("the compressed stream has no end")  # pyjpegls waits for it for ever
    if layout.syntax in _J2K:
        at = stream.find(b"\xff\x4f\xff\x51") + 8
        right, bottom, left, top = (int.from_bytes(stream[i : i + 4]) for i in range(at, at + 16, 4))
        found = (bottom - top, right - left, int.from_bytes(stream[at + 32 : at + 34]))
    else:
        at = _find_frame_header(stream) + 5
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


def _decode_jpeg_12bit(stream: bytes, layout: _Layout) -> NDArray[np.integer]:
    """Decode JPEG Extended of 12 bits, (Y, X), which GDCM can do and pydicom's plugin refuses to ask.

    GDCM picks its 8, 12 or 16-bit library by the bits allocated: told 12, it takes the right one at once
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


def _make_hu(
    header: _Header, stored: NDArray[np.integer], layout: _Layout, slope: float, intercept_hu: float
) -> NDArray[np.float32]:
    """(Y, X) Hounsfield units of stored values, padding and all below air at -1024."""
    hu: NDArray[np.float32] = stored.astype(np.float32)
    hu *= np.float32(slope)
    hu += np.float32(intercept_hu)
    np.maximum(hu, np.float32(AIR_HU), out=hu)
    padding = header.numbers("PixelPaddingValue")
    if padding:
        limit = header.numbers("PixelPaddingRangeLimit") or padding
        low, high = sorted(_as_stored(int(bound), layout) for bound in (padding[0], limit[0]))
        hu[(stored >= low) & (stored <= high)] = AIR_HU
    return hu


def _as_stored(value: int, layout: _Layout) -> int:
    """Read a padding value in the pixels' own representation: LIDC has -2000 written as unsigned 63536."""
    value %= 1 << layout.bits_allocated
    return value - (1 << layout.bits_allocated) if layout.signed and value >> (layout.bits_allocated - 1) else value
