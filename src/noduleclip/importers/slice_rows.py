"""The row of one DICOM file in a catalogue: what its header says of the slice, or why it is rejected."""

from pathlib import Path
from typing import Any, Final

from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from noduleclip import schema
from noduleclip.errors import RejectCode, SliceError, make_encodable
from noduleclip.importers.slice_columns import (
    ACQUISITION,
    COLUMNS,
    FILE_VERSION,
    FRAME_OF_REFERENCE,
    IMAGE_TYPE,
    INSTANCE,
    KERNEL,
    LOCALIZER,
    MODALITY,
    ORIENTATION,
    POSITION,
    ROWS,
    SERIES_DESCRIPTION,
    STUDY_UID,
)
from noduleclip.io.dicom.checks import check_orientation, ends_before_modality, is_localizer, parse_spacing
from noduleclip.io.dicom.header import COPY_AGAIN, Header, read_header

_TAGS: Final = (
    *("Modality", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"),
    "FrameOfReferenceUID",
    *("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
    *("SliceThickness", "Manufacturer", "NumberOfFrames", "ImageType", "ConvolutionKernel"),
    *("SeriesDescription", "AcquisitionNumber", "InstanceNumber"),
)
_DICOM_SUFFIXES: Final = frozenset((".dcm", ".dicom", ".ima"))
_MULTI_FRAME_CLASSES: Final = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_LONGEST_NAME: Final = 64  # of a LO


def read_slice_row(file: tuple[str, int, int], max_pixels: int) -> dict[str, Any]:
    """Read the header of a file into a row of the catalogue.

    Args:
        file: Path, size in bytes and time of modification in ns: the values of `FILE_VERSION`.
        max_pixels: Largest slice; bounds the memory that a broken file can take.

    Returns:
        Values by column, those of `SLICE_COLUMNS` as far as they are known: of a file outside the collection its
        version alone, of a rejected one also the reason.
    """
    path = Path(file[0])
    try:
        header = read_header(path, max_pixels, _TAGS)
        modality = header.text("Modality")
        row: dict[str, Any] = {
            **dict(zip(FILE_VERSION, file, strict=True)),
            MODALITY: modality[:16],
            schema.SOP_UID: header.text("SOPInstanceUID"),
            schema.SERIES_UID: header.text("SeriesInstanceUID"),
            STUDY_UID: header.text("StudyInstanceUID"),
            FRAME_OF_REFERENCE: header.text("FrameOfReferenceUID") or None,
            schema.PATIENT_ID: header.text("PatientID"),
        }
        if not modality and ends_before_modality(header):
            fact = "it is cut short: the header has no Modality"
            raise header.reject(RejectCode.TRUNCATED_HEADER, fact, COPY_AGAIN)
        if modality != "CT":
            return row
        if is_localizer(header):
            return row | {MODALITY: LOCALIZER}
        for name in (schema.SOP_UID, schema.SERIES_UID):
            if not row[name]:
                raise header.reject_missing(name)
        _check_single_slice(header)
        check_orientation(header)
        spacing = parse_spacing(header)
        position, orientation = header.numbers("ImagePositionPatient"), header.numbers("ImageOrientationPatient")
        if not position or len(position) != 3 or not orientation:
            fact = "ImagePositionPatient or ImageOrientationPatient is missing: where it lies is not known"
            raise header.reject(RejectCode.BAD_HEADER, fact, "leave the file out")
        if spacing is None:
            raise header.reject(RejectCode.NO_SPACING, "the header has no PixelSpacing", "leave the file out")
        row |= {schema.SPACING_ROW: spacing[0], schema.SPACING_COL: spacing[1]}
        row |= dict(zip((*POSITION, *ORIENTATION), (*position, *orientation), strict=True))
        thickness = header.numbers("SliceThickness")
        row |= {ROWS: header.count("Rows"), COLUMNS: header.count("Columns")}
        row |= {schema.SLICE_THICKNESS: thickness[0] if thickness else None, KERNEL: header.text("ConvolutionKernel")}
        row |= {SERIES_DESCRIPTION: _read_name(header, "SeriesDescription"), IMAGE_TYPE: header.text("ImageType")}
        row |= {
            ACQUISITION: _read_number(header, "AcquisitionNumber"),
            INSTANCE: _read_number(header, "InstanceNumber"),
        }
        return row | {schema.MANUFACTURER: header.text("Manufacturer") or None}
    except SliceError as error:
        if error.code is RejectCode.NOT_DICOM and path.suffix.lower() not in _DICOM_SUFFIXES:
            return dict(zip(FILE_VERSION, file, strict=True))
        return make_reject_row(file, error.code, str(error))


def _read_name(header: Header, keyword: str) -> str:
    """Return a text that only tells series apart; empty where it is missing or malformed."""
    try:
        return make_encodable(header.text(keyword))[:_LONGEST_NAME]
    except SliceError:
        return ""


def _read_number(header: Header, keyword: str) -> int | None:
    """Return a number that only orders slices; None where it is missing or malformed."""
    try:
        numbers = header.numbers(keyword)
    except SliceError:
        return None
    return int(numbers[0]) if numbers and abs(numbers[0]) < 1 << 53 else None


def _check_single_slice(header: Header) -> None:
    """Reject files of frames, whose positions are in functional groups."""
    frames = header.count("NumberOfFrames", absent=1)
    if frames > 1 or header.text("SOPClassUID") in _MULTI_FRAME_CLASSES:
        fact = f"a multi-frame CT ({frames} in this file), and prepare reads files of one slice"
        remedy = "split it into single slices, for example with dcm4che's emf2sf"
        raise header.reject(RejectCode.MULTI_FRAME, fact, remedy)


def make_reject_row(file: tuple[str, int, int], code: RejectCode, reason: str) -> dict[str, Any]:
    """Return the row of a file that cannot be used."""
    return {
        **dict(zip(FILE_VERSION, file, strict=True)),
        schema.REJECT_CODE: str(code),
        schema.REJECT_REASON: reason,
    }
