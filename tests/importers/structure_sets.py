"""RT Structure Sets of known contours in mm, as planning systems write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

RTSTRUCT = UID("1.2.840.10008.5.1.4.1.1.481.3")
Curve = tuple[pydicom.Dataset, NDArray[np.float64]]
"""A slice, and (V, 2) vertices (x, y) in its pixels."""


def to_patient(slice_: pydicom.Dataset, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places in mm: PS3.3 C.7.6.2.1-1."""
    row_mm, column_mm = map(float, slice_.PixelSpacing)
    along_row, along_column = np.array(slice_.ImageOrientationPatient, float).reshape(2, 3)
    x, y = points_px.T[..., None]
    first = np.array(slice_.ImagePositionPatient, np.float64)
    return np.asarray(first + x * column_mm * along_row + y * row_mm * along_column, np.float64)


def make_contour(curve: Curve, *, kind: str = "CLOSED_PLANAR", names_slice: bool = True) -> Dataset:
    slice_, points_px = curve
    contour = Dataset()
    if names_slice:
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = slice_.SOPClassUID, slice_.SOPInstanceUID
        contour.ContourImageSequence = Items([image])
    contour.ContourGeometricType = kind
    contour.NumberOfContourPoints = len(points_px)
    contour.ContourData = [f"{part:.4f}" for part in to_patient(slice_, points_px).ravel()]
    return contour


def make_structure_set(
    slices: Sequence[pydicom.Dataset],
    rois: Mapping[str, Sequence[Dataset]],
    *,
    names_series: bool = True,
    implicit: bool = False,
) -> FileDataset:
    """Make a structure set of a series: contours by the name of the ROI; of one with no contours the item is absent."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTSTRUCT, generate_uid()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = RTSTRUCT, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientID = "RTSTRUCT", slices[0].PatientID
    data.StudyInstanceUID, data.SeriesInstanceUID = slices[0].StudyInstanceUID, generate_uid()
    if names_series:
        series, study, frame = Dataset(), Dataset(), Dataset()
        series.SeriesInstanceUID = slices[0].SeriesInstanceUID
        study.RTReferencedSeriesSequence = Items([series])
        frame.RTReferencedStudySequence = Items([study])
        data.ReferencedFrameOfReferenceSequence = Items([frame])
    defined, drawn = [], []
    for number, (name, contours) in enumerate(rois.items(), 1):
        roi = Dataset()
        roi.ROINumber, roi.ROIName = number, name
        defined.append(roi)
        if contours:
            item = Dataset()
            item.ReferencedROINumber, item.ContourSequence = number, Items(contours)
            drawn.append(item)
    data.StructureSetROISequence, data.ROIContourSequence = Items(defined), Items(drawn)
    return data


def write_structure_set(path: Path, data: FileDataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path)
    return path
