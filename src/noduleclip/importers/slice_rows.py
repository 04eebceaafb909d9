"""The rows of one DICOM file in a catalogue: what its header says of its slices, or why it is rejected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

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
from noduleclip.importers.slice_names import name_slice
from noduleclip.io.dicom.checks import check_orientation, ends_before_modality, is_localizer, parse_spacing
from noduleclip.io.dicom.frames import GROUP_TAGS, MOST_FRAMES, pick_frame
from noduleclip.io.dicom.header import COPY_AGAIN, LEAVE_OUT, Header, read_header

_TAGS: Final = (
    *("Modality", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"),
    "FrameOfReferenceUID",
    *("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
    *("SliceThickness", "Manufacturer", "NumberOfFrames", "ImageType", "ConvolutionKernel"),
    *("SeriesDescription", "AcquisitionNumber", "InstanceNumber", *GROUP_TAGS),
)
_DICOM_SUFFIXES: Final = frozenset((".dcm", ".dicom", ".ima"))
_LONGEST_NAME: Final = 64  # of a LO


def read_slice_rows(file: tuple[str, int, int], max_pixels: int) -> list[dict[str, Any]]:
    """Read the header of a file into rows of the catalogue.

    Args:
        file: Path, size in bytes and time of modification in ns: the values of `FILE_VERSION`.
        max_pixels: Largest slice; bounds the memory that a broken file can take.

    Returns:
        A row, of a multi-frame CT one for each frame that is no localizer: values by column, those of `SLICE_COLUMNS`
        as far as they are known. The row of a file outside the collection has its version alone, that of a rejected
        one also the reason.
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
            return [row]
        frames = header.count("NumberOfFrames", absent=1)
        if frames > MOST_FRAMES:
            fact = f"a multi-frame CT of {frames:,} frames, and at most {MOST_FRAMES:,} are read"
            raise header.reject(RejectCode.TOO_LARGE, fact, "split it, for example with dcm4che's emf2sf")
        images = (pick_frame(header, frame) for frame in range(1, max(frames, 1) + 1))
        slices = [_describe_image(image, row, frames) for image in images if not is_localizer(image)]
        return slices or [row | {MODALITY: LOCALIZER}]
    except SliceError as error:
        if error.code is RejectCode.NOT_DICOM and path.suffix.lower() not in _DICOM_SUFFIXES:
            return [dict(zip(FILE_VERSION, file, strict=True))]
        return [make_reject_row(file, error.code, str(error))]


def _describe_image(header: Header, row: Mapping[str, Any], frames: int) -> dict[str, Any]:
    """Return the row of one image.

    Args:
        header: Of the image: of a multi-frame file that of the frame.
        row: Values of its file.
        frames: How many images the file has.

    Raises:
        SliceError: It is no axial slice with a place in the patient.
    """
    for name in (schema.SOP_UID, schema.SERIES_UID):
        if not row[name]:
            raise header.reject_missing(name)
    check_orientation(header)
    spacing = parse_spacing(header)
    position, orientation = header.numbers("ImagePositionPatient"), header.numbers("ImageOrientationPatient")
    if not position or len(position) != 3 or not orientation:
        which = f"of frame {header.frame + 1} of {frames}, " if frames > 1 else ""
        fact = f"{which}ImagePositionPatient or ImageOrientationPatient is missing: where it lies is not known"
        raise header.reject(RejectCode.BAD_HEADER, fact, LEAVE_OUT)
    if spacing is None:
        raise header.reject(RejectCode.NO_SPACING, "the header has no PixelSpacing", LEAVE_OUT)
    frame = header.frame + 1 if frames > 1 else None
    thickness = header.numbers("SliceThickness")
    acquisition = _read_number(header, "FrameAcquisitionNumber")
    return {
        **row,
        schema.SOP_UID: name_slice(row[schema.SOP_UID], frame or 1),
        schema.FRAME: frame,
        schema.SPACING_ROW: spacing[0],
        schema.SPACING_COL: spacing[1],
        **dict(zip((*POSITION, *ORIENTATION), (*position, *orientation), strict=True)),
        ROWS: header.count("Rows"),
        COLUMNS: header.count("Columns"),
        schema.SLICE_THICKNESS: thickness[0] if thickness else None,
        schema.MANUFACTURER: header.text("Manufacturer") or None,
        KERNEL: header.text("ConvolutionKernel"),
        SERIES_DESCRIPTION: _read_name(header, "SeriesDescription"),
        IMAGE_TYPE: header.text("FrameType") or header.text("ImageType"),
        ACQUISITION: _read_number(header, "AcquisitionNumber") if acquisition is None else acquisition,
        INSTANCE: frame or _read_number(header, "InstanceNumber"),
    }


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


def make_reject_row(file: tuple[str, int, int], code: RejectCode, reason: str) -> dict[str, Any]:
    """Return the row of a file that cannot be used."""
    return {
        **dict(zip(FILE_VERSION, file, strict=True)),
        schema.REJECT_CODE: str(code),
        schema.REJECT_REASON: reason,
    }
