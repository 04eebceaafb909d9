"""Reports whose groups carry their own regions: by highdicom as TID 1410 and 1411, and as Cornerstone3D writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from importers.segmentations import NAMES, VALUES

LONG_AXIS, SHORT_AXIS = ("G-A185", "SRT", "Long Axis"), ("G-A186", "SRT", "Short Axis")
LENGTH, AREA = ("G-D7FE", "SRT", "Length"), ("G-D7FE", "SRT", "AREA")
PERIMETER, CENTER = ("131191004", "SCT", "Perimeter"), ("111010", "DCM", "Center")
MM, MM2, NONE = ("mm", "UCUM", "millimeter"), ("mm2", "UCUM", "SquareMilliMeter"), ("1", "UCUM", "no units")


@dataclass(frozen=True)
class Drawn:
    """A measurement group with one region or more on slices, or in space.

    Attributes:
        graphic: Graphic Type.
        points: Its points, one array for each slice, in pixels as DICOM counts them; in mm for a region in space.
        slices: Slices of these; of a region in space the first gives the frame of reference.
        diameter_mm: Reported diameter.
        derivation: How the diameter was found.
        ratings: Reported ratings.
        tracking_uid: Tracking UID.
        in_space: Whether the region is one in space.
    """

    graphic: str
    points: Sequence[NDArray[np.float64]]
    slices: Sequence[Dataset]
    diameter_mm: float | None = None
    derivation: Any = None
    ratings: Mapping[str, int] = field(default_factory=dict)
    tracking_uid: str = ""
    in_space: bool = False


def make_group(drawn: Drawn) -> Any:
    """Return a group as highdicom writes it: planar for one region, volumetric for several."""
    regions: list[Any] = []
    for points, image in zip(drawn.points, drawn.slices, strict=True):
        if not drawn.in_space:
            source = hd.sr.SourceImageForRegion.from_source_image(image)
            regions.append(hd.sr.ImageRegion(drawn.graphic, points, source))
        elif drawn.graphic != "ELLIPSOID":
            regions.append(hd.sr.ImageRegion3D(drawn.graphic, points, image.FrameOfReferenceUID))
    common: dict[str, Any] = {
        "tracking_identifier": hd.sr.TrackingIdentifier(uid=drawn.tracking_uid or hd.UID(), identifier="nodule"),
        "finding_type": codes.SCT.Nodule,
        "measurements": [
            hd.sr.Measurement(codes.SCT.Diameter, drawn.diameter_mm, codes.UCUM.Millimeter, derivation=drawn.derivation)
        ]
        if drawn.diameter_mm is not None
        else None,
        "qualitative_evaluations": [
            hd.sr.QualitativeEvaluation(CodedConcept(*NAMES[name]), CodedConcept(*VALUES[name, rating]))
            for name, rating in drawn.ratings.items()
        ],
    }
    if drawn.graphic == "ELLIPSOID":
        surface = hd.sr.VolumeSurface(
            drawn.graphic,
            drawn.points[0],
            drawn.slices[0].FrameOfReferenceUID,
            source_series=hd.sr.SourceSeriesForSegmentation(drawn.slices[0].SeriesInstanceUID),
        )
        return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_volume_surface=surface, **common)
    if len(regions) == 1:
        return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=regions[0], **common)
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_regions=regions, **common)


def write_regions(path: Path, evidence: Sequence[Dataset], groups: Sequence[Drawn]) -> Path:
    """Write groups as one report."""
    observer = hd.sr.ObserverContext(codes.DCM.Person, hd.sr.PersonObserverIdentifyingAttributes("Nobody^Real"))
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[make_group(group) for group in groups],
    )
    hd.sr.Comprehensive3DSR(
        evidence=evidence, content=report[0], series_instance_uid=hd.UID(), series_number=101,
        sop_instance_uid=hd.UID(), instance_number=1, manufacturer="tests",
    ).save_as(path)  # fmt: skip
    return path


def _code(value: str, scheme: str, meaning: str) -> pydicom.Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return pydicom.Sequence([item])


def make_number(
    name: tuple[str, str, str],
    number: float | None,
    unit: tuple[str, str, str],
    graphic: str = "",
    points: Sequence[Sequence[float]] = (),
    image: Dataset | None = None,
) -> Dataset:
    """Return a measurement as Cornerstone3D writes it: its region is what it is inferred from, without a name."""
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", "NUM", _code(*name)
    if number is not None:
        value = Dataset()
        value.NumericValue, value.MeasurementUnitsCodeSequence = str(number)[:16], _code(*unit)
        item.MeasuredValueSequence = [value]
    if graphic:
        region = Dataset()
        region.RelationshipType, region.ValueType = "INFERRED FROM", "SCOORD"
        region.GraphicType, region.GraphicData = graphic, [value for point in points for value in point]
        if image is not None:
            source, reference = Dataset(), Dataset()
            reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
                image.SOPClassUID,
                image.SOPInstanceUID,
            )
            source.RelationshipType, source.ValueType = "SELECTED FROM", "IMAGE"
            source.ReferencedSOPSequence = [reference]
            region.ContentSequence = [source]
        item.ContentSequence = [region]
    return item


def write_cornerstone(path: Path, image: Dataset, groups: Sequence[Sequence[Dataset]]) -> Path:
    """Write groups of measurements as Cornerstone3D's export has them (TID 1501, without a region of the group)."""
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = pydicom.uid.EnhancedSRStorage, hd.UID()
    data.StudyInstanceUID, data.SeriesInstanceUID = image.StudyInstanceUID, hd.UID()
    data.Modality, data.PatientID, data.ValueType = "SR", image.PatientID, "CONTAINER"
    data.ConceptNameCodeSequence = _code("126000", "DCM", "Imaging Measurement Report")
    measurements = Dataset()
    measurements.RelationshipType, measurements.ValueType = "CONTAINS", "CONTAINER"
    measurements.ConceptNameCodeSequence = _code("126010", "DCM", "Imaging Measurements")
    measurements.ContentSequence = []
    for numbers in groups:
        group, identifier = Dataset(), Dataset()
        group.RelationshipType, group.ValueType = "CONTAINS", "CONTAINER"
        group.ConceptNameCodeSequence = _code("125007", "DCM", "Measurement Group")
        identifier.RelationshipType, identifier.ValueType = "HAS OBS CONTEXT", "TEXT"
        identifier.ConceptNameCodeSequence = _code("112039", "DCM", "Tracking Identifier")
        identifier.TextValue = "Cornerstone3DTools@^0.1.0:Length"
        group.ContentSequence = [identifier, *numbers]
        measurements.ContentSequence.append(group)
    data.ContentSequence = [measurements]
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.save_as(path, enforce_file_format=True)
    return path
