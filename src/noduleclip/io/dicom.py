"""One DICOM file to one CT slice in Hounsfield units, or one reason why not.

Knows what makes a slice fit for use; knows nothing of regions, crops or tables. No text of the header reaches a
message but the few coded values that explain a rejection, and the patient's name is never parsed.
"""

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from noduleclip.config import MAX_PIXELS, MAX_SPACING_MM, MIN_SPACING_MM
from noduleclip.errors import RejectCode
from noduleclip.io.crops import AIR_HU
from noduleclip.io.dicom_header import COPY_AGAIN, LEAVE_OUT, Header, read_header
from noduleclip.io.dicom_pixels import PixelLayout, choose_decoder, decode_pixels

_HEADER_TAGS: Final = (
    *("Modality", "SOPClassUID", "ImageType", "PatientID", "SeriesInstanceUID", "SOPInstanceUID"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleIntercept", "RescaleSlope", "RescaleType", "ModalityLUTSequence"),
)


@dataclass(frozen=True)
class CtSlice:
    """One axial image.

    Attributes:
        stored: (Y, X) values as the file has them.
        slope: Hounsfield units of one stored unit.
        intercept_hu: Hounsfield units of a stored 0.
        padding: Lowest and highest stored value that means "outside the field of view", or None.
        spacing_yx_mm: Distance of rows, then of columns, in mm; None when the header has none.
        patient_id: DICOM PatientID, empty when absent.
        series_uid: SeriesInstanceUID, empty when absent.
        sop_uid: SOPInstanceUID, empty when absent.
    """

    stored: NDArray[np.integer]
    slope: float
    intercept_hu: float
    padding: tuple[int, int] | None
    spacing_yx_mm: tuple[float, float] | None
    patient_id: str
    series_uid: str
    sop_uid: str

    @functools.cached_property
    def hu(self) -> NDArray[np.float32]:
        """(Y, X) Hounsfield units, at least -1024; padding outside the field of view is air."""
        return self.convert_rows(0, len(self.stored))

    def convert_rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Give (Y, X) Hounsfield units, as `hu` has them in the rows from `first` to before `last`, and air elsewhere.

        A nodule lies on few rows of a slice, and the whole conversion takes longer than reading the file.
        """
        hu = np.full(self.stored.shape, AIR_HU, np.float32)
        some, stored = hu[first:last], self.stored[first:last]
        np.multiply(stored, np.float32(self.slope), out=some, casting="unsafe")
        some += np.float32(self.intercept_hu)
        np.maximum(some, np.float32(AIR_HU), out=some)
        if self.padding:
            some[(stored >= self.padding[0]) & (stored <= self.padding[1])] = AIR_HU
        return hu


def read_ct_slice(path: Path, *, max_pixels: int = MAX_PIXELS, assume_hu: bool = False) -> CtSlice:
    """Read one single-frame CT image as Hounsfield units.

    HU = stored value * RescaleSlope + RescaleIntercept; MONOCHROME1 concerns display and leaves them be.

    Args:
        path: The file.
        max_pixels: Largest Rows x Columns that is decoded.
        assume_hu: Take the stored values as HU where slope and intercept are absent.

    Returns:
        The slice; its Hounsfield units have padding and everything below -1024 at -1024.

    Raises:
        SliceError: The file cannot be read, or is not such an image; `code` is one of `RejectCode`.

    Source:
        DICOM PS3.3 C.7.6.3 (Image Pixel), C.7.5.1.1.2 (Pixel Padding), C.8.2.1 (CT), C.11.1 (Modality LUT).
    """
    with _no_warnings():
        header = read_header(path, max_pixels, (*_HEADER_TAGS, "PixelData"), stop_before_pixels=False)
        layout, scale, spacing_yx_mm = _check_header(header, max_pixels, assume_hu=assume_hu)
        return CtSlice(
            stored=decode_pixels(header, layout),
            slope=scale[0],
            intercept_hu=scale[1],
            padding=_parse_padding(header, layout),
            spacing_yx_mm=spacing_yx_mm,
            patient_id=header.text("PatientID"),
            series_uid=header.text("SeriesInstanceUID"),
            sop_uid=header.text("SOPInstanceUID"),
        )


def check_ct_slice(
    path: Path, *, max_pixels: int = MAX_PIXELS, assume_hu: bool = False
) -> tuple[PixelLayout, tuple[float, float] | None]:
    """Make every check of `read_ct_slice` that needs no pixels, a decoder for the compression included.

    Args:
        path: The file.
        max_pixels: As in `read_ct_slice`.
        assume_hu: As in `read_ct_slice`.

    Returns:
        How its pixels lie in the file, and the distance of rows, then of columns, in mm, None where it has none.

    Raises:
        SliceError: As `read_ct_slice` would, save for what is wrong with the pixel data.
    """
    with _no_warnings():
        layout, _, spacing_yx_mm = _check_header(
            read_header(path, max_pixels, _HEADER_TAGS), max_pixels, assume_hu=assume_hu
        )
        return layout, spacing_yx_mm


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
        return read_header(path, MAX_PIXELS, ("PatientID",)).text("PatientID")


@contextmanager
def _no_warnings() -> Iterator[None]:
    # pydicom warns of every odd value; what matters of them is checked here and told as a SliceError.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_header(
    header: Header, max_pixels: int, *, assume_hu: bool
) -> tuple[PixelLayout, tuple[float, float], tuple[float, float] | None]:
    """Give the layout, (slope, intercept) and spacing of one plane of CT, or reject."""
    _check_kind(header)
    layout = _parse_layout(header, max_pixels)
    return layout, _parse_rescale(header, assume_hu=assume_hu), _parse_spacing(header)


def _check_kind(header: Header) -> None:
    """Reject what is not one plane of CT in grey."""
    modality = header.text("Modality")
    if not modality:
        raise header.reject(RejectCode.TRUNCATED_HEADER, "the header has no Modality", COPY_AGAIN)
    if modality != "CT":
        raise header.reject(RejectCode.NOT_CT, f"Modality is {modality[:16]!r}, not CT", LEAVE_OUT)
    if header.text("SOPClassUID").startswith(uid.SecondaryCaptureImageStorage):
        raise header.reject(RejectCode.NOT_CT, "a secondary capture, not a CT slice", LEAVE_OUT)
    if "LOCALIZER" in header.text("ImageType").upper():
        raise header.reject(RejectCode.LOCALIZER, "a localizer, not an axial slice", LEAVE_OUT)
    frames = header.count("NumberOfFrames", absent=1)
    if frames > 1:
        fact = f"it holds {frames} frames, and only single slices are read"
        raise header.reject(RejectCode.MULTI_FRAME, fact, "split it into one file a slice")
    grey, samples = header.text("PhotometricInterpretation"), header.count("SamplesPerPixel", absent=1)
    if not grey:
        fact = "the header has no PhotometricInterpretation"
        raise header.reject(RejectCode.TRUNCATED_HEADER, fact, COPY_AGAIN)
    if samples != 1 or grey not in ("MONOCHROME1", "MONOCHROME2"):
        fact = f"{samples} samples a pixel as {grey[:16]!r}, not grey values"
        raise header.reject(RejectCode.COLOUR, fact, LEAVE_OUT)


def _parse_layout(header: Header, max_pixels: int) -> PixelLayout:
    rows, columns = header.count("Rows"), header.count("Columns")
    if rows * columns > max_pixels:
        fact = f"{rows} x {columns} pixels, more than the limit of {max_pixels}"
        raise header.reject(RejectCode.TOO_LARGE, fact, LEAVE_OUT)
    allocated, stored = header.count("BitsAllocated"), header.count("BitsStored")
    signed = header.count("PixelRepresentation")
    bits_fit = allocated in (8, 16, 32) and 1 <= stored <= allocated and signed in (0, 1)
    if min(rows, columns) < 1 or not bits_fit:
        fact = f"no image has {rows} x {columns} pixels of {stored} in {allocated} bits, sign {signed}"
        raise header.reject(RejectCode.BAD_HEADER, fact, COPY_AGAIN)
    syntax = uid.UID(str(header.dataset.file_meta.get("TransferSyntaxUID") or ""))
    if not syntax:
        raise header.reject(RejectCode.TRUNCATED_HEADER, "the header names no transfer syntax", COPY_AGAIN)
    return PixelLayout(rows, columns, allocated, stored, bool(signed), syntax, choose_decoder(header, syntax))


def _parse_rescale(header: Header, *, assume_hu: bool) -> tuple[float, float]:
    """Slope in HU per stored unit, and intercept in HU.

    Source:
        DICOM PS3.3 C.11.1.1: a Modality LUT Sequence takes the place of slope and intercept.
    """
    if "ModalityLUTSequence" in header.dataset:
        fact = "a Modality LUT takes the place of RescaleSlope"
        raise header.reject(RejectCode.MODALITY_LUT, fact, "convert it to RescaleSlope and RescaleIntercept")
    unit = header.text("RescaleType")
    if unit.upper() not in ("", "HU"):
        raise header.reject(RejectCode.NOT_HU, f"RescaleType is {unit[:16]!r}, not HU", LEAVE_OUT)
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


def _parse_spacing(header: Header) -> tuple[float, float] | None:
    """Distance of rows, then of columns, in mm.

    Source:
        DICOM PS3.3 10.7.1.3, the distance of rows comes first. ImagerPixelSpacing is measured at the
        detector, not in the patient, and never stands in.
    """
    spacing_mm = header.numbers("PixelSpacing", RejectCode.BAD_SPACING)
    if not spacing_mm:
        return None
    if len(spacing_mm) != 2 or not all(MIN_SPACING_MM <= side <= MAX_SPACING_MM for side in spacing_mm):
        limits = f"[{MIN_SPACING_MM:g}, {MAX_SPACING_MM:g}] mm"
        fact = f"PixelSpacing is {_listed(spacing_mm)}, where two numbers in {limits} are needed"
        raise header.reject(RejectCode.BAD_SPACING, fact, LEAVE_OUT)
    return spacing_mm[0], spacing_mm[1]


def _listed(numbers: list[float]) -> str:
    return "\\".join(f"{number:g}" for number in numbers[:4]) or "empty"


def _parse_padding(header: Header, layout: PixelLayout) -> tuple[int, int] | None:
    padding = header.numbers("PixelPaddingValue")
    if not padding:
        return None
    limit = header.numbers("PixelPaddingRangeLimit") or padding
    low, high = sorted(_as_stored(int(bound), layout) for bound in (padding[0], limit[0]))
    return low, high


def _as_stored(value: int, layout: PixelLayout) -> int:
    """Read a padding value in the pixels' own representation: LIDC has -2000 written as unsigned 63536."""
    value %= 1 << layout.bits_allocated
    return value - (1 << layout.bits_allocated) if layout.signed and value >> (layout.bits_allocated - 1) else value
