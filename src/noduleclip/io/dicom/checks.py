"""Checks that a header is that of an axial CT slice in Hounsfield units.

Messages quote no text of the header but the few coded values that explain a rejection.
"""

import math
import re
from typing import Final

from pydicom import Dataset, uid
from pydicom.datadict import keyword_for_tag
from pydicom.tag import Tag

from noduleclip.config import MAX_SPACING_MM, MIN_SPACING_MM
from noduleclip.errors import RejectCode, SliceError
from noduleclip.io.dicom.bounded_file import FLOAT_PIXEL_TAGS
from noduleclip.io.dicom.codestream import PixelLayout
from noduleclip.io.dicom.header import COPY_AGAIN, EXPORT_AGAIN, LEAVE_OUT, Header
from noduleclip.io.dicom.pixels import choose_decoder

CHECKED_TAGS: Final = (
    *("Modality", "SOPClassUID", "ImageType", "ImageOrientationPatient"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleIntercept", "RescaleSlope", "RescaleType", "ModalityLUTSequence"),
)
_LOCALIZERS: Final = ("LOCALIZER", "TOPOGRAM", "SCOUT", "SURVIEW")
# GE writes "Houndsfield Unit" in reformatted series; HU_MOD, a defined term, is another unit.
_HOUNSFIELD: Final = re.compile("hus?|(hu)?houn[ds]*e?f(ie|ei|i|e)ld(s?units?)?(hu)?")
CT_CLASSES: Final = (uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage)
_LARGEST_TILT_DEGREES: Final = 35  # a gantry tilts up to 30
_LARGEST_SKEW: Final = 0.1


def check_modality(header: Header) -> None:
    """Reject other modalities than CT.

    Raises:
        SliceError: It is another modality or a secondary capture, or names none.
    """
    modality = header.text("Modality")
    if not modality:
        raise _reject_without_modality(header)
    if modality != "CT":
        raise header.reject(RejectCode.NOT_CT, f"Modality is {modality[:16]!r}, not CT", LEAVE_OUT)
    if header.text("SOPClassUID").startswith(uid.SecondaryCaptureImageStorage):
        raise header.reject(RejectCode.NOT_CT, "a secondary capture, not a CT slice", LEAVE_OUT)


def _reject_without_modality(header: Header) -> SliceError:
    if ends_before_modality(header):
        return header.reject(RejectCode.TRUNCATED_HEADER, "the header has no Modality", COPY_AGAIN)
    sop_class = _read_media_class(header) or header.text("SOPClassUID")
    if sop_class == uid.MediaStorageDirectoryStorage:
        return header.reject(RejectCode.NOT_CT, "a DICOMDIR, which lists files and is no image", LEAVE_OUT)
    if (name := uid.UID(sop_class).name) != sop_class and sop_class not in CT_CLASSES:
        return header.reject(RejectCode.NOT_CT, f"its SOP class is {name}, not CT", LEAVE_OUT)
    return header.reject(RejectCode.BAD_HEADER, "the header has no Modality", LEAVE_OUT)


def ends_before_modality(header: Header) -> bool:
    """Return whether a file without Modality was cut short; directories and hanging protocols have none either.

    Elements are in the order of their tags, so a file with one behind Modality was written without it.
    """
    if header.pixel_tag or max(header.dataset.keys(), default=0) > Tag("Modality"):
        return False
    declared, sop_class = _read_media_class(header), header.text("SOPClassUID")
    if not sop_class:
        return declared != uid.MediaStorageDirectoryStorage
    return sop_class in CT_CLASSES or sop_class != (declared or sop_class)


def _read_media_class(header: Header) -> str:
    """Return the SOP class that the file meta information names; empty where it names none."""
    return Header(header.path, getattr(header.dataset, "file_meta", Dataset())).text("MediaStorageSOPClassUID")


def check_plane(
    header: Header, max_pixels: int, *, assume_hu: bool
) -> tuple[PixelLayout, tuple[float, float], tuple[float, float] | None]:
    """Check the header of one plane; return what is needed to convert its pixels to Hounsfield units.

    Args:
        header: Header of the plane, values of its functional groups included.
        max_pixels: Largest Rows x Columns.
        assume_hu: Take the stored values as HU where slope and intercept are absent.

    Returns:
        The layout; slope in HU per stored unit and intercept in HU; distance of rows, then of columns, in mm, or None.

    Raises:
        SliceError: It is no axial slice in grey values that are HU.
    """
    _check_kind(header)
    check_orientation(header)
    layout = _parse_layout(header, max_pixels)
    return layout, _parse_rescale(header, assume_hu=assume_hu), parse_spacing(header)


def is_localizer(header: Header) -> bool:
    """Return whether an image is a localizer, by its type."""
    image_type = (header.text("FrameType") or header.text("ImageType")).upper()
    return any(name in image_type for name in _LOCALIZERS)


def _check_kind(header: Header) -> None:
    """Reject localizers and colour."""
    if is_localizer(header):
        raise header.reject(RejectCode.LOCALIZER, "a localizer, not an axial slice", LEAVE_OUT)
    grey, samples = header.text("PhotometricInterpretation"), header.count("SamplesPerPixel", absent=1)
    if not grey:
        raise header.reject_missing("PhotometricInterpretation")
    if samples != 1 or grey not in ("MONOCHROME1", "MONOCHROME2"):
        fact = f"{samples} samples a pixel as {grey[:16]!r}, not grey values"
        raise header.reject(RejectCode.COLOUR, fact, LEAVE_OUT)


def check_orientation(header: Header) -> None:
    """Reject planes that are not axial; axial ones may be flipped or rotated.

    Source:
        DICOM PS3.3 C.7.6.2.1.1: direction of a row, then of a column; z is the patient's long axis.
    """
    cosines = header.numbers("ImageOrientationPatient")
    if not cosines:
        return
    fact = f"ImageOrientationPatient is {_listed(cosines)}, where two directions at right angles are needed"
    if len(cosines) != 6:
        raise header.reject(RejectCode.BAD_HEADER, fact, LEAVE_OUT)
    (rx, ry, rz), (cx, cy, cz) = cosines[:3], cosines[3:]
    lengths = math.hypot(rx, ry, rz) * math.hypot(cx, cy, cz)
    if not 0 < lengths < math.inf or abs(rx * cx + ry * cy + rz * cz) > _LARGEST_SKEW * lengths:
        raise header.reject(RejectCode.BAD_HEADER, fact, LEAVE_OUT)
    normal = {"a sagittal": ry * cz - rz * cy, "a coronal": rz * cx - rx * cz, "an axial": rx * cy - ry * cx}
    tilts = {name: math.degrees(math.acos(min(abs(part) / lengths, 1))) for name, part in normal.items()}
    if tilts["an axial"] > _LARGEST_TILT_DEGREES:
        plane = next((name for name, tilt in tilts.items() if tilt <= _LARGEST_TILT_DEGREES), "an oblique")
        fact = f"{plane} plane, {tilts['an axial']:.0f} degrees from the axial one, not an axial slice"
        raise header.reject(RejectCode.NOT_AXIAL, fact, LEAVE_OUT)


def _parse_layout(header: Header, max_pixels: int) -> PixelLayout:
    rows, columns = header.count("Rows"), header.count("Columns")
    if rows * columns > max_pixels:
        fact = f"{rows} x {columns} pixels, more than the limit of {max_pixels}"
        raise header.reject(RejectCode.TOO_LARGE, fact, LEAVE_OUT)
    if header.pixel_tag in FLOAT_PIXEL_TAGS:
        fact = f"its pixels are {keyword_for_tag(header.pixel_tag)}, floating-point numbers, not the integers of CT"
        raise header.reject(
            RejectCode.BAD_HEADER, fact, "convert it to integers with RescaleSlope and RescaleIntercept"
        )
    allocated, stored = header.count("BitsAllocated"), header.count("BitsStored")
    signed = header.count("PixelRepresentation")
    bits_fit = allocated in (8, 16, 32) and 1 <= stored <= allocated and signed in (0, 1)
    if min(rows, columns) < 1 or not bits_fit:
        fact = f"no image has {rows} x {columns} pixels of {stored} in {allocated} bits, sign {signed}"
        raise header.reject(RejectCode.BAD_HEADER, fact, LEAVE_OUT)
    high_bit = header.count("HighBit", absent=stored - 1)
    syntax = uid.UID(str(header.dataset.file_meta.get("TransferSyntaxUID") or ""))
    if not syntax:
        fact = "its file meta information has no TransferSyntaxUID, so the coding of its pixels is not known"
        raise header.reject(RejectCode.BAD_HEADER, fact, EXPORT_AGAIN)
    layout = PixelLayout(
        rows, columns, allocated, stored, high_bit, bool(signed), syntax, choose_decoder(header, syntax)
    )
    _check_high_bit(header, layout)
    return layout


def _check_high_bit(header: Header, layout: PixelLayout) -> None:
    """Reject a HighBit that contradicts the other bits; a JPEG stream has no bits below its values.

    Source:
        DICOM PS3.3 C.7.6.3.1 (HighBit is BitsStored - 1); older files align their values to the left.
    """
    aligned_right = layout.high_bit == layout.bits_stored - 1
    aligned_left = layout.bits_stored <= layout.high_bit < layout.bits_allocated
    if aligned_right or (aligned_left and layout.plugin in ("", "pydicom")):
        return
    fact = f"HighBit is {layout.high_bit}, where BitsStored of {layout.bits_stored} makes it {layout.bits_stored - 1}"
    raise header.reject(RejectCode.BAD_HEADER, fact, LEAVE_OUT)


def _parse_rescale(header: Header, *, assume_hu: bool) -> tuple[float, float]:
    """Slope in HU per stored unit, and intercept in HU.

    Source:
        DICOM PS3.3 C.11.1.1: a Modality LUT Sequence takes the place of slope and intercept.
    """
    if "ModalityLUTSequence" in header.dataset:
        fact = "a Modality LUT takes the place of RescaleSlope"
        raise header.reject(RejectCode.MODALITY_LUT, fact, "convert it to RescaleSlope and RescaleIntercept")
    unit = header.text("RescaleType")
    if unit and not _HOUNSFIELD.fullmatch(re.sub("[^a-z]", "", unit.lower())):
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


def parse_spacing(header: Header) -> tuple[float, float] | None:
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
    return "\\".join(f"{number:g}" for number in numbers[:6]) or "empty"


def parse_padding(header: Header, layout: PixelLayout) -> tuple[int, int] | None:
    """Return the lowest and highest stored value that means "outside the field of view", or None.

    Raises:
        SliceError: They are no numbers.
    """
    padding = header.numbers("PixelPaddingValue")
    if not padding:
        return None
    limit = header.numbers("PixelPaddingRangeLimit") or padding
    low, high = sorted(_as_stored(int(bound), layout) for bound in (padding[0], limit[0]))
    return low, high


def _as_stored(value: int, layout: PixelLayout) -> int:
    """Return a padding value in the representation of the pixels: LIDC has -2000 written as unsigned 63536."""
    value %= 1 << layout.bits_allocated
    return value - (1 << layout.bits_allocated) if layout.signed and value >> (layout.bits_allocated - 1) else value
