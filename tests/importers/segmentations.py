"""Segmentations and reports of the standardised LIDC annotations, made with highdicom on a phantom's slices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from noduleclip import schema

NAMES = {
    schema.SUBTLETY: ("C45992", "NCIt", "Subtlety score"),
    schema.CALCIFICATION: ("C3672", "NCIt", "Calcification"),
    schema.TEXTURE: ("C41144", "NCIt", "Texture"),
    schema.MALIGNANCY: ("RID36042", "RadLex", "Malignancy"),
    schema.MARGIN: ("C25563", "NCIt", "Margin"),
}
VALUES = {
    (schema.SUBTLETY, 4): ("104", "99LIDCQIICR", "4 out of 5 (Moderately obvious)"),
    (schema.CALCIFICATION, 6): ("RID28473", "RadLex", "Absent"),
    (schema.CALCIFICATION, 3): ("RID5741", "RadLex", "Solid appearance"),
    (schema.TEXTURE, 5): ("RID50151", "RadLex", "solid pulmonary nodule"),
    (schema.MALIGNANCY, 2): ("902", "99LIDCQIICR", "2 out of 5 (Moderately Unlikely for Cancer)"),
    (schema.MARGIN, 2): ("002", "99LIDCQIICR", "2 out of 5"),
}


@dataclass(frozen=True)
class ReaderFinding:
    """What one reader made of a nodule."""

    mask: NDArray[np.bool_]
    label: str = "Nodule 1 - Annotation IL057_127364"
    tracking_uid: str = "2.25.1234567890"
    diameter_mm: float = 7.25
    ratings: Mapping[str, int] = field(default_factory=lambda: {schema.MALIGNANCY: 2, schema.CALCIFICATION: 6})


def read_slices(paths: Sequence[Path]) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in paths]


def write_seg(path: Path, slices: Sequence[pydicom.Dataset], readings: Sequence[ReaderFinding]) -> Any:
    """Write the (Z, Y, X) masks of some readings of a series as one segmentation."""
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=reading.label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Nodule,
            algorithm_type="MANUAL",
            tracking_uid=reading.tracking_uid,
            tracking_id=reading.label,
        )
        for number, reading in enumerate(readings, 1)
    ]
    seg = hd.seg.Segmentation(
        source_images=slices,
        pixel_array=np.stack([reading.mask for reading in readings], axis=-1).astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=100,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="tests",
        manufacturer_model_name="tests",
        software_versions="1",
        device_serial_number="1",
    )
    seg.save_as(path)
    return seg


def write_sr(path: Path, slices: Sequence[pydicom.Dataset], seg: Any, readings: Sequence[ReaderFinding]) -> None:
    """Write the diameters and ratings of some readings, which refer to the segments in their order."""
    groups = [
        hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(uid=reading.tracking_uid, identifier=reading.label),
            referenced_segment=hd.sr.ReferencedSegment(
                sop_class_uid=seg.SOPClassUID,
                sop_instance_uid=seg.SOPInstanceUID,
                segment_number=number,
                source_series=hd.sr.SourceSeriesForSegmentation(slices[0].SeriesInstanceUID),
            ),
            finding_type=codes.SCT.Nodule,
            measurements=[
                hd.sr.Measurement(codes.SCT.Volume, 123.0, codes.UCUM.CubicMillimeter),
                hd.sr.Measurement(codes.SCT.Diameter, reading.diameter_mm, codes.UCUM.Millimeter),
            ],
            qualitative_evaluations=[
                hd.sr.QualitativeEvaluation(CodedConcept(*NAMES[name]), CodedConcept(*VALUES[name, rating]))
                for name, rating in reading.ratings.items()
            ],
        )
        for number, reading in enumerate(readings, 1)
    ]
    observer = hd.sr.ObserverContext(codes.DCM.Person, hd.sr.PersonObserverIdentifyingAttributes("Nobody^Real"))
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
    )
    hd.sr.Comprehensive3DSR(
        evidence=[*slices, seg],
        content=report[0],
        series_instance_uid=hd.UID(),
        series_number=101,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="tests",
    ).save_as(path)
