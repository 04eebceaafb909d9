"""Content items of measurement groups: names, lengths in mm, and what measurements are."""

import math
from typing import Final

import pydicom

from noduleclip.importers.report_regions import ON_IMAGE
from noduleclip.io.dicom.diameter_codes import MEASUREMENT_METHOD, parse_kind

_DERIVATION: Final = "121401"
_ESTIMATED: Final = ("414135002", "R-10260", "121427")  # SCT, SRT before it, and DCM
_MM_OF: Final = {"mm": 1.0, "cm": 10.0}


def find_name(item: pydicom.Dataset) -> str:
    """Return the Code Value of an item's concept name; empty where it has none."""
    codes = item.get("ConceptNameCodeSequence")
    return str(codes[0].get("CodeValue", "")).strip() if codes else ""


def holds_line(item: pydicom.Dataset) -> bool:
    """Return whether a measurement is inferred from a line of two points."""
    return any(
        str(child.get("GraphicType", "")) == "POLYLINE"
        and len(child.GraphicData) == (4 if child.ValueType == ON_IMAGE else 6)
        for child in item.get("ContentSequence") or ()
    )


def is_estimate(item: pydicom.Dataset) -> bool:
    """Return whether a measurement has the derivation Estimated."""
    return any(
        find_name(child) == _DERIVATION and str(child.ConceptCodeSequence[0].get("CodeValue", "")).strip() in _ESTIMATED
        for child in item.get("ContentSequence") or ()
    )


def find_kind(item: pydicom.Dataset) -> str:
    """Return the kind of a diameter that its method says; empty where it says none that is known."""
    methods = (it for it in item.get("ContentSequence") or () if find_name(it) in MEASUREMENT_METHOD)
    codes = (code for method in methods for code in method.get("ConceptCodeSequence") or ())
    kinds = (parse_kind(str(it.get("CodeValue")), str(it.get("CodingSchemeDesignator"))) for it in codes)
    return next((kind for kind in kinds if kind), "")


def describe_size(item: pydicom.Dataset) -> str:
    """Return name, number and unit of a measurement that is called a diameter; empty for others."""
    name = str(item.ConceptNameCodeSequence[0].get("CodeMeaning", ""))[:40]
    if "diameter" not in name.casefold():
        return ""
    for value in item.get("MeasuredValueSequence") or ():
        unit = str(value.MeasurementUnitsCodeSequence[0].CodeValue)[:16]
        return f"{name} of {str(value.get('NumericValue', ''))[:16]} in unit {unit!r}"
    return f"{name} without a value"


def parse_number(item: pydicom.Dataset) -> float:
    """Return a measured number without regard to its unit; NaN where there is none."""
    for value in item.get("MeasuredValueSequence") or ():
        if value.get("NumericValue") not in (None, ""):
            return float(value.NumericValue)
    return math.nan


def parse_mm(item: pydicom.Dataset) -> float:
    """Return a measured length in mm; NaN where it has no value or another unit."""
    for value in item.get("MeasuredValueSequence") or ():
        if value.get("NumericValue") in (None, ""):
            continue
        unit = str(value.MeasurementUnitsCodeSequence[0].CodeValue).strip()
        number = float(value.NumericValue)
        if unit in _MM_OF and math.isfinite(number):
            return number * _MM_OF[unit]
    return math.nan
