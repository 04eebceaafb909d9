"""CT slices in Hounsfield units that were no DICOM, written as derived DICOM."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from noduleclip.io.artefacts import replacing

_UIDS_OF: Final = "noduleclip derived CT 1"


def make_derived_uid(key: str, part: object) -> str:
    """Return the UID of a part of a derived series, such as the number of a slice; always the same."""
    # pydicom joins the sources: without the line break, slice 10 of "s1" would be slice 0 of "s11".
    return str(generate_uid(entropy_srcs=[_UIDS_OF, f"{key}\n", str(part)]))


def make_derived_slice(
    hu: NDArray[np.int16],
    *,
    key: str,
    index: int,
    patient_id: str,
    position_mm: Sequence[float],
    orientation: Sequence[float],
    spacing_yx_mm: tuple[float, float],
    spacing_z_mm: float,
) -> bytes:
    """Make a CT slice as a DICOM file, explicit VR little endian, stored values = HU.

    Args:
        hu: (Y, X) Hounsfield units.
        key: Name of the series; the same key gives the same UIDs.
        index: Slice within it, 0-based.
        patient_id: Patient.
        position_mm: (x, y, z) of the middle of the first pixel, LPS.
        orientation: Directions of a row and of a column, LPS, six numbers.
        spacing_yx_mm: Distance of rows, then of columns.
        spacing_z_mm: Distance of slices.

    Returns:
        The bytes of the file, always the same for the same arguments.

    Source:
        DICOM PS3.3 C.7.6.2 (Image Plane), C.8.2.1 (CT Image); pixel data of a derived image, C.7.6.1.1.2.
    """
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, make_derived_uid(key, index)
    data.StudyInstanceUID, data.SeriesInstanceUID = make_derived_uid(key, "study"), make_derived_uid(key, "series")
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = make_derived_uid(key, "frame of reference"), ""
    data.Modality, data.Manufacturer = "CT", ""
    data.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    data.DerivationDescription = "written from an image file that was no DICOM"
    data.PatientID, data.PatientName = patient_id, ""
    data.PatientBirthDate = data.PatientSex = data.StudyDate = data.StudyTime = ""
    data.AccessionNumber = data.ReferringPhysicianName = data.StudyID = ""
    data.SeriesNumber, data.AcquisitionNumber, data.InstanceNumber = 1, None, index + 1
    data.KVP = None
    data.PixelSpacing = [_decimal(side) for side in spacing_yx_mm]
    data.SpacingBetweenSlices = _decimal(spacing_z_mm)
    data.SliceThickness = None
    data.ImagePositionPatient = [_decimal(part) for part in position_mm]
    data.ImageOrientationPatient = [_decimal(part) for part in orientation]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = hu.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = "1", "0", "HU"
    data.PixelData = hu.astype("<i2").tobytes()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def keep_file(path: Path, content: bytes) -> bool:
    """Write a file whole or not at all; leave one alone that has these bytes already. Return whether it was written."""
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return False
    with replacing(path, size_bytes=len(content), flush=False) as temporary:
        temporary.write_bytes(content)
    return True


def _decimal(number: float) -> str:
    """Return a number as DICOM's decimal string, of at most 16 characters."""
    return next(text for digits in range(16, 0, -1) if len(text := f"{number + 0.0:.{digits}g}") <= 16)
