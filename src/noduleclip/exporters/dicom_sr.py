"""DICOM Structured Reports (`.dcm`): a Comprehensive SR by TID 1500 for each series, a measurement group a finding.

What readers measured and what the model estimates are told apart: an estimate has the derivation Estimated and names
the algorithm. The method of a diameter says which kind it is, by the codes of `io/dicom/diameter_codes.py`. Of the
patient a report has the PatientID of the CT, and nothing else of a person.

Source:
    DICOM PS3.16 TID 1500, 1410, 1419, 300, 310 and 4019; Fedorov et al., Medical Physics 2020, doi:10.1002/mp.14445,
    for the codes of ratings.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import highdicom as hd
from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    ComprehensiveSRStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    generate_uid,
)

from noduleclip import __version__
from noduleclip.config import MAX_PIXELS
from noduleclip.errors import RejectCode, SliceError
from noduleclip.exporters.file_names import number_files
from noduleclip.exporters.findings import Export, ExportFile, Finding, Source, group_by_series, label_series
from noduleclip.exporters.report_regions import make_region
from noduleclip.io.dicom.diameter_codes import SCHEME, SCHEME_NAME, code_kind
from noduleclip.io.dicom.header import LEAVE_OUT, read_header
from noduleclip.io.dicom.lidc_codes import ATTRIBUTES, LidcCode, code_rating, is_on_scale
from noduleclip.io.dicom.slice import no_warnings, read_patient_id

SUFFIX: Final = ".dcm"
_UIDS_OF: Final = "noduleclip report 1"
_NAME: Final = "noduleclip"
_SERIES_NUMBER: Final = 9900
_EMPTY: Final = (  # required by the standard, and may be empty
    *("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
    "ReferringPhysicianName",
)
_CLASSES: Final = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_DIGITS: Final = 4


def render(export: Export, path: Path) -> Iterator[ExportFile]:
    """Make a report for each series, none where there are no findings: a report belongs to a study.

    A finding whose slice lacks what a report must name is left out.
    """
    sound = []
    for finding in export.findings:
        fault = _find_fault(finding)
        if fault:
            reason = f"{finding.file.name}: {fault}, which a report has to name; {LEAVE_OUT}"
            export.on_left_out(finding, SliceError(RejectCode.BAD_HEADER, reason))
        else:
            sound.append(finding)
    groups = group_by_series(sound)
    files = number_files(path, SUFFIX, len(groups)) if groups else []
    for file, findings in zip(files, groups, strict=True):
        with no_warnings():
            content = make_report(findings, export.source, read_patient_id(findings[0].file))
        yield ExportFile(file, content, len(findings), label_series(findings) if len(groups) > 1 else "")


def is_own_report(path: Path) -> bool:
    """Return whether a file is a report that this module wrote."""
    try:
        with no_warnings():
            header = read_header(path, MAX_PIXELS, ("SOPClassUID", "Manufacturer"))
            return (header.text("SOPClassUID"), header.text("Manufacturer")) == (ComprehensiveSRStorage, _NAME)
    except SliceError:
        return False


def _find_fault(finding: Finding) -> str:
    """Return what a slice's header lacks that a report needs; empty where it has all."""
    needed = {
        "StudyInstanceUID": finding.study_uid,
        "SeriesInstanceUID": finding.series_uid,
        "SOPInstanceUID": finding.sop_uid,
        "SOPClassUID": finding.sop_class_uid,
    }
    missing = next((keyword for keyword, value in needed.items() if not value), "")
    if not missing and finding.sop_class_uid not in _CLASSES:
        return f"the header has the SOPClassUID {finding.sop_class_uid[:64]}, not one of CT"
    return f"the header has no {missing}" if missing else ""


def make_report(findings: Sequence[Finding], source: Source, patient_id: str) -> bytes:
    """Make the report on the findings of one series.

    UIDs follow from the content: a repeated export has the same ones, and differs in its time only.

    Args:
        findings: Findings on slices of one series, at least one.
        source: Where they come from.
        patient_id: PatientID of the CT.

    Returns:
        The bytes of the file, explicit VR little endian.
    """
    algorithm = sr.AlgorithmIdentification(
        name=_NAME,
        version=__version__,
        parameters=[f"model {source.model_id}", f"SHA-256 of its checkpoint {source.checkpoint_sha256}"],
        family=codes.DCM.ArtificialIntelligence,
    )
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=_make_uid("device", __version__, source.checkpoint_sha256),
        name=_NAME,
        manufacturer_name=_NAME,
        model_name=source.model_id or None,
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[_make_group(same, algorithm, source.estimate_kind) for same in _group_by_row(findings)],
    )
    text = content[0].to_json()
    images = {finding.sop_uid: finding for finding in findings}
    report = sr.ComprehensiveSR(
        evidence=[_make_evidence(finding, patient_id) for finding in images.values()],
        content=content[0],
        series_instance_uid=_make_uid("series", text),
        series_number=_SERIES_NUMBER,
        series_description=f"{_NAME}: findings",
        sop_instance_uid=_make_uid("report", text),
        instance_number=1,
        manufacturer=_NAME,
        manufacturer_model_name=_NAME,
        software_versions=__version__,
        is_complete=True,
        specific_character_set="ISO_IR 192",
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, SCHEME_NAME, responsible_organization=_NAME)],
    )
    file = io.BytesIO()
    report.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _make_uid(*parts: str) -> hd.UID:
    return hd.UID(generate_uid(entropy_srcs=[_UIDS_OF, *parts]))


def _make_evidence(finding: Finding, patient_id: str) -> Dataset:
    """Return what a report takes over from the header of a slice."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = finding.sop_class_uid, finding.sop_uid
    image.StudyInstanceUID, image.SeriesInstanceUID = finding.study_uid, finding.series_uid
    image.PatientID = patient_id
    for keyword in _EMPTY:
        setattr(image, keyword, "")
    return image


def _group_by_row(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Group the findings of one row of the index, which several questions found; others stand alone."""
    groups: dict[tuple[int | None, int], list[Finding]] = {}
    for number, finding in enumerate(findings):
        groups.setdefault((finding.row, number if finding.row is None else 0), []).append(finding)
    return list(groups.values())


def _make_group(
    same: Sequence[Finding], algorithm: sr.AlgorithmIdentification, estimate_kind: str
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """Make the measurement group of the findings of one nodule (TID 1410)."""
    finding = same[0]
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_make_tracking(finding),
        referenced_region=make_region(finding),
        finding_type=codes.SCT.Nodule,
        finding_sites=[sr.FindingSite(codes.SCT.Lung)],
        measurements=[*_make_measured(finding), *_make_estimates(finding, algorithm, estimate_kind)] or None,
        qualitative_evaluations=[
            sr.QualitativeEvaluation(_concept(ATTRIBUTES[name]), _concept(code_rating(name, int(rating))))
            for name, rating in _on_scale(finding.ratings)
            if rating.is_integer()
        ],
    )
    for text in _describe(same):
        comment = sr.TextContentItem(codes.DCM.Comment, text, relationship_type=sr.RelationshipTypeValues.CONTAINS)
        group[0].ContentSequence.append(comment)
    return group


def _make_tracking(finding: Finding) -> sr.TrackingIdentifier:
    """Name what is tracked: the nodule of the patient where the table names it, else the place."""
    if finding.nodule_id:
        uid = _make_uid("nodule", finding.patient_id, finding.nodule_id)
        return sr.TrackingIdentifier(uid, f"nodule {finding.nodule_id}")
    place = [f"{part:.2f}" for part in finding.center_px]
    return sr.TrackingIdentifier(_make_uid("place", finding.sop_uid, str(finding.frame), *place), finding.name)


def _make_measured(finding: Finding) -> Iterator[sr.Measurement]:
    """Yield what the table has: the diameter, the volume, and means of ratings, which have no code."""
    mean = codes.SCT.Mean if (finding.readers or 0) > 1 else None
    if finding.measured_mm is not None:
        size_mm = round(finding.measured_mm, _DIGITS)
        kind = code_kind(finding.diameter_kind)
        yield sr.Measurement(codes.SCT.Diameter, size_mm, codes.UCUM.Millimeter, derivation=mean, method=kind)
    if finding.volume_mm3 is not None:
        yield sr.Measurement(
            codes.SCT.Volume, round(finding.volume_mm3, _DIGITS), codes.UCUM.CubicMillimeter, derivation=mean
        )
    for name, rating in _on_scale(finding.ratings):
        if not rating.is_integer():
            number = round(rating, _DIGITS)
            yield sr.Measurement(_concept(ATTRIBUTES[name]), number, codes.UCUM.NoUnits, derivation=codes.SCT.Mean)


def _make_estimates(finding: Finding, algorithm: sr.AlgorithmIdentification, kind: str) -> Iterator[sr.Measurement]:
    """Yield what the image shows: the diameter with its interval, and ratings as numbers."""
    if finding.estimated_mm is not None:
        yield sr.Measurement(
            codes.SCT.Diameter,
            round(finding.estimated_mm, _DIGITS),
            codes.UCUM.Millimeter,
            derivation=codes.SCT.Estimated,
            method=code_kind(kind),
            algorithm_id=algorithm,
            properties=_make_interval(finding.estimated_mm, finding.low_mm, finding.high_mm),
        )
    for name, rating in _on_scale(finding.estimated_ratings):
        yield sr.Measurement(
            _concept(ATTRIBUTES[name]),
            round(rating, _DIGITS),
            codes.UCUM.NoUnits,
            derivation=codes.SCT.Estimated,
            algorithm_id=sr.AlgorithmIdentification(_NAME, __version__),  # in full it would be half of the report
        )


def _make_interval(size_mm: float, low_mm: float | None, high_mm: float | None) -> sr.MeasurementProperties | None:
    """Return how far an interval reaches above and below an estimate; None where there is no interval."""
    if low_mm is None or high_mm is None or not low_mm <= size_mm <= high_mm:
        return None
    properties = sr.MeasurementProperties(
        upper_measurement_uncertainty=round(high_mm - size_mm, _DIGITS),
        lower_measurement_uncertainty=round(size_mm - low_mm, _DIGITS),
    )
    unit = sr.CodedConcept.from_code(codes.UCUM.Millimeter)  # highdicom writes "no units"
    for item in properties:
        item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence = [unit]
    return properties


def _describe(same: Sequence[Finding]) -> Iterator[str]:
    """Yield why it was found, for each question, and what its image shows in words."""
    for finding in same:
        parts = [finding.query, f"rank {finding.rank}"]
        parts += [f"{name} {value:.3f}" for name, value in list(finding.scores.items())[:1]]
        yield "; ".join(part for part in parts if part)
    if same[0].description:
        yield f"Estimated by {_NAME}: {same[0].description}"


def _on_scale(ratings: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(name, float(rating)) for name, rating in ratings.items() if is_on_scale(name, rating)]


def _concept(code: LidcCode) -> sr.CodedConcept:
    return sr.CodedConcept(code.value, code.scheme, code.meaning)
