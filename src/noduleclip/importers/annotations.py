"""What readers leave in a collection: outlines drawn on slices, or a place and a diameter. Knows no format."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema

LAST_RATING: Final = dict.fromkeys(schema.RATING_COLUMNS, 5) | {
    schema.CALCIFICATION: 6,
    schema.INTERNAL_STRUCTURE: 4,
}
"""The highest rating of each attribute that a reader of LIDC may give."""
LIDC_NAMES: Final = {
    name: "internalStructure" if name == schema.INTERNAL_STRUCTURE else name for name in schema.RATING_COLUMNS
}
"""What LIDC, and pylidc after it, call each attribute."""
ODD_RATINGS: Final = "ratings off their scale, taken as missing"
"""What a report calls the others."""


@dataclass(frozen=True)
class Contour:
    """One curve of an outline on one slice.

    Attributes:
        points_px: (V, 2) vertices (x, y), DICOM column and row, 0-based, without the first one again at the end.
        z_mm: Position of the slice along the patient's axis (LPS, mm) as the source says it; NaN where it does not.
        sop_uid: SOP Instance UID of the slice; empty where the source does not say it.
        includes: False where the curve bounds a hole.
    """

    points_px: NDArray[np.float64]
    z_mm: float
    sop_uid: str = ""
    includes: bool = True

    @property
    def slice_key(self) -> float | str | None:
        """Return the key of a slice in its series: SOP Instance UID, else position; None where neither is known."""
        return self.sop_uid or (round(self.z_mm, 3) if math.isfinite(self.z_mm) else None)


@dataclass(frozen=True)
class Outline:
    """One reader's outline of one nodule, over all its slices.

    Attributes:
        series_uid: Series Instance UID of the CT.
        reader: Who drew it: a number within its source where readers are anonymous.
        name: What that reader called the nodule; says nothing of other readers' names.
        contours: Its curves, at least one.
        ratings: What the reader rated, by column name; without what was not rated.
        patient_id: Patient, where the source says it; else empty, and the DICOM header serves.
        nodule_id: Nodule within its patient, where the source groups readers itself; else empty.
    """

    series_uid: str
    reader: str
    name: str
    contours: tuple[Contour, ...]
    ratings: Mapping[str, int] = field(default_factory=dict)
    patient_id: str = ""
    nodule_id: str = ""

    def count_curves(self) -> int:
        """Count the curves that have a diameter: neither holes nor points."""
        return sum(contour.includes and len(contour.points_px) > 1 for contour in self.contours)


@dataclass(frozen=True)
class Sphere:
    """One reader's place and diameter of one nodule, without an outline.

    Attributes:
        series_uid: Series Instance UID of the CT.
        center_mm: (x, y, z) in the patient's coordinates (LPS), mm.
        diameter_mm: Diameter.
        reader: As in `Outline`; empty where the source does not say it.
        name: As in `Outline`.
        ratings: As in `Outline`.
        patient_id: As in `Outline`.
        nodule_id: As in `Outline`.
    """

    series_uid: str
    center_mm: tuple[float, float, float]
    diameter_mm: float
    reader: str = ""
    name: str = ""
    ratings: Mapping[str, int] = field(default_factory=dict)
    patient_id: str = ""
    nodule_id: str = ""
