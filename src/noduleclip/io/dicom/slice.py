"""CT slices in Hounsfield units from DICOM files, or the reason why a file is none.

Messages quote no text of the header but the few coded values that explain a rejection; the patient's name is never
parsed.
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

from noduleclip.config import MAX_PIXELS
from noduleclip.io.crops import AIR_HU
from noduleclip.io.dicom.checks import CHECKED_TAGS, check_modality, check_plane, parse_padding
from noduleclip.io.dicom.codestream import PixelLayout
from noduleclip.io.dicom.frames import GROUP_TAGS, pick_frame, read_volume_header
from noduleclip.io.dicom.header import is_large, read_header
from noduleclip.io.dicom.pixels import decode_pixels
from noduleclip.io.dicom.stream import check_length

_HEADER_TAGS: Final = (
    *CHECKED_TAGS,
    *GROUP_TAGS,
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
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
        study_uid: StudyInstanceUID, empty when absent.
        series_uid: SeriesInstanceUID, empty when absent.
        sop_uid: SOPInstanceUID, empty when absent.
    """

    stored: NDArray[np.integer]
    slope: float
    intercept_hu: float
    padding: tuple[int, int] | None
    spacing_yx_mm: tuple[float, float] | None
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str

    @functools.cached_property
    def hu(self) -> NDArray[np.float32]:
        """(Y, X) Hounsfield units, at least -1024; padding outside the field of view is air."""
        return self.convert_rows(0, len(self.stored))

    def convert_rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Return (Y, X) Hounsfield units: those of `hu` in the rows `first` to `last` - 1, and air elsewhere.

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


def read_ct_slice(
    path: Path, *, frame: float | None = None, max_pixels: int = MAX_PIXELS, assume_hu: bool = False
) -> CtSlice:
    """Read one axial CT image as Hounsfield units.

    HU = stored value * RescaleSlope + RescaleIntercept; MONOCHROME1 concerns display and leaves them be.

    Args:
        path: The file.
        frame: Which frame of a multi-frame file, from 1; of such a file nothing else is read or decoded.
        max_pixels: Largest Rows x Columns that is decoded.
        assume_hu: Take the stored values as HU where slope and intercept are absent.

    Returns:
        The slice; its Hounsfield units have padding and everything below -1024 at -1024.

    Raises:
        SliceError: The file cannot be read, or is not such an image; `code` is one of `RejectCode`.

    Source:
        DICOM PS3.3 C.7.6.3 (Image Pixel), C.7.5.1.1.2 (Pixel Padding), C.8.2.1 (CT), C.11.1 (Modality LUT),
        C.7.6.16 (Multi-frame Functional Groups).
    """
    with no_warnings():
        if frame is not None or is_large(path):
            header = read_volume_header(path, max_pixels, _HEADER_TAGS)
        else:
            header = read_header(path, max_pixels, (*_HEADER_TAGS, "PixelData"), stop_before_pixels=False)
        check_modality(header)
        plane = pick_frame(header, frame)
        layout, scale, spacing_yx_mm = check_plane(plane, max_pixels, assume_hu=assume_hu)
        return CtSlice(
            stored=decode_pixels(plane, layout, max_pixels),
            slope=scale[0],
            intercept_hu=scale[1],
            padding=parse_padding(plane, layout),
            spacing_yx_mm=spacing_yx_mm,
            patient_id=plane.text("PatientID"),
            study_uid=plane.text("StudyInstanceUID"),
            series_uid=plane.text("SeriesInstanceUID"),
            sop_uid=plane.text("SOPInstanceUID"),
        )


def check_ct_slice(
    path: Path, *, frame: float | None = None, max_pixels: int = MAX_PIXELS, assume_hu: bool = False
) -> tuple[PixelLayout, tuple[float, float] | None]:
    """Make every check of `read_ct_slice` that needs no pixels: of the header, the decoder and the file's length.

    Args:
        path: The file.
        frame: As in `read_ct_slice`.
        max_pixels: As in `read_ct_slice`.
        assume_hu: As in `read_ct_slice`.

    Returns:
        How its pixels lie in the file, and the distance of rows, then of columns, in mm, None where it has none.

    Raises:
        SliceError: As `read_ct_slice` would, except for defects within the pixel data.
    """
    with no_warnings():
        header = read_header(path, max_pixels, _HEADER_TAGS)
        check_modality(header)
        plane = pick_frame(header, frame)
        layout, _, spacing_yx_mm = check_plane(plane, max_pixels, assume_hu=assume_hu)
        check_length(plane, layout.frame_bytes, compressed=bool(layout.plugin))
        if layout.empty_low_bits:  # rare, and only the pixels tell whether the header is right
            decode_pixels(plane, layout, max_pixels)
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
    with no_warnings():
        return read_header(path, MAX_PIXELS, ("PatientID",)).text("PatientID")


def read_sop_uid(path: Path) -> str:
    """Read the SOPInstanceUID of any DICOM file and nothing else, as `read_patient_id` does the PatientID."""
    with no_warnings():
        return read_header(path, MAX_PIXELS, ("SOPInstanceUID",)).text("SOPInstanceUID")


@contextmanager
def no_warnings() -> Iterator[None]:
    """Suppress the warnings of pydicom."""
    # pydicom warns of every odd value; those that matter are checked here and raised as a SliceError.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
