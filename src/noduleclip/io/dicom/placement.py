"""Where a CT slice lies in its patient, and which image it is: the header alone, no pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noduleclip.config import MAX_PIXELS
from noduleclip.errors import RejectCode
from noduleclip.io.dicom.checks import check_modality, check_orientation, parse_spacing
from noduleclip.io.dicom.frames import GROUP_TAGS, pick_frame, read_volume_header
from noduleclip.io.dicom.header import LEAVE_OUT
from noduleclip.io.dicom.slice import no_warnings
from noduleclip.io.slice_plane import SlicePlane

_TAGS: Final = (
    *("Modality", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"),
    *("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "ImageType"),
    *("NumberOfFrames", *GROUP_TAGS),
)


@dataclass(frozen=True)
class Placement:
    """Place and identity of one axial CT image.

    Attributes:
        plane: Its geometry; of a multi-frame file that of the frame.
        study_uid: StudyInstanceUID; this and the others are empty where the header has none.
        series_uid: SeriesInstanceUID.
        sop_uid: SOPInstanceUID.
        sop_class_uid: SOPClassUID.
        frame_of_reference_uid: FrameOfReferenceUID.
    """

    plane: SlicePlane
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    frame_of_reference_uid: str


def read_placement(
    path: Path, *, frame: float | None = None, spacing_yx_mm: tuple[float, float] | None = None
) -> Placement:
    """Read where a slice lies.

    Args:
        path: The file.
        frame: Which frame of a multi-frame file, from 1.
        spacing_yx_mm: Distance of rows, then of columns, for a header that has none.

    Raises:
        SliceError: The file cannot be read, is no axial CT image, or has no position, orientation or pixel spacing.

    Source:
        DICOM PS3.3 C.7.6.2 (Image Plane), C.7.6.16 (Multi-frame Functional Groups).
    """
    with no_warnings():
        header = read_volume_header(path, MAX_PIXELS, _TAGS)
        check_modality(header)
        image = pick_frame(header, frame)
        check_orientation(image)
        position = image.numbers("ImagePositionPatient")
        orientation = image.numbers("ImageOrientationPatient")
        spacing = parse_spacing(image) or spacing_yx_mm
        if not position:
            raise image.reject_missing("ImagePositionPatient")
        if not orientation:
            raise image.reject_missing("ImageOrientationPatient")
        if len(position) != 3:
            fact = f"ImagePositionPatient has {len(position)} numbers, three are needed"
            raise image.reject(RejectCode.BAD_HEADER, fact, LEAVE_OUT)
        if spacing is None:
            raise image.reject(RejectCode.NO_SPACING, "no PixelSpacing in the header and none in the index", LEAVE_OUT)
        shape_yx = (image.count("Rows"), image.count("Columns"))
        return Placement(
            plane=SlicePlane((position[0], position[1], position[2]), tuple(orientation), spacing, shape_yx),
            study_uid=image.text("StudyInstanceUID"),
            series_uid=image.text("SeriesInstanceUID"),
            sop_uid=image.text("SOPInstanceUID"),
            sop_class_uid=image.text("SOPClassUID"),
            frame_of_reference_uid=image.text("FrameOfReferenceUID"),
        )
