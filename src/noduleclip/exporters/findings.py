"""What all exporters take: the hits of a search, or described nodules, each with its place in the patient.

An exporter is a module with a function `render`: an `Export` in, the content of files out. It is registered by the
ending of its files in `exporters/formats.py`; `workflows/export.py` finds the slices, makes the findings, and writes.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import SliceError
from noduleclip.io.outlines import compute_mean_outline
from noduleclip.io.slice_plane import SlicePlane

SCORES: Final = (
    schema.SCORE, schema.PROBABILITY, schema.LIKENESS, schema.RULE, schema.SIMILARITY, schema.COSINE,
    schema.DETECTION_SCORE,
)  # fmt: skip
"""Columns that say how well a row fits, the one that ranks first."""


@dataclass(frozen=True)
class Question:
    """What was asked.

    Attributes:
        text: The sentence, or how the nodules were chosen.
        reading: How it was understood, in one line.
    """

    text: str
    reading: str


@dataclass(frozen=True)
class Source:
    """What the findings come from.

    Attributes:
        questions: What was asked; one for each sentence.
        model_id: Model that made the embeddings and the estimates.
        checkpoint_sha256: Hash of its checkpoint.
        estimate_kind: What its estimated diameters are: the kind that it was trained on; empty where nobody knows.
    """

    questions: tuple[Question, ...]
    model_id: str
    checkpoint_sha256: str
    estimate_kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A hit, or a described nodule, on the slice that represents it.

    Attributes:
        rank: Place among the hits of its question, or among the described nodules, from 1.
        query: What was asked; empty for a described nodule.
        row: Row of the index, 0-based; None where there is no index.
        patient_id: Patient, as the table names it; this and the next are empty where it names none.
        nodule_id: Nodule within its patient.
        study_uid: StudyInstanceUID of the slice's header; this and the next four are empty where it has none.
        series_uid: SeriesInstanceUID.
        sop_uid: SOPInstanceUID.
        sop_class_uid: SOPClassUID.
        frame_of_reference_uid: FrameOfReferenceUID.
        dicom_path: File of the slice, as the table has it.
        file: The same file, found.
        frame: Frame of a multi-frame file, from 1; None for other files.
        plane: Where the slice lies.
        center_px: (x, y) of the centroid where it is known, else of the middle of the box; pixel centres at integers.
        box_px: First column, first row, last column, last row, inclusive; None where there is no box.
        outlines_px: (V, 2) columns and rows of each reader's outline on the slice.
        measured_mm: Diameter in the table, the mean over readers; None where there is none.
        diameter_kind: What that diameter is; empty where the table names no kind.
        estimated_mm: Diameter that the image shows; None where the index has no estimates.
        low_mm: 10 % of readers are expected to measure less than this.
        high_mm: 10 % of readers are expected to measure more than this.
        volume_mm3: Volume of the mask; None where there is none.
        ratings: Ratings in the table, by attribute; those without a value are left out.
        estimated_ratings: Ratings that the image shows, by attribute.
        scores: Scores by column, those of `SCORES` that there are.
        satisfies: Whether diameter and ratings are those asked for; None where that is not known.
        description: What the image shows, in words; empty where there are no estimates.
        readers: How many readers outlined the nodule; None where that is not known.
        reader_diameters_mm: What each reader on the slice measured, None for one who did not.
        reader_ratings: What each of them rated, by attribute, in the same order.
        extra: Further columns of the table that were kept, as text; those without a value are left out.
    """

    rank: int
    query: str
    row: int | None
    patient_id: str
    nodule_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    frame_of_reference_uid: str
    dicom_path: str
    file: Path
    frame: int | None
    plane: SlicePlane
    center_px: tuple[float, float]
    box_px: tuple[float, float, float, float] | None
    outlines_px: tuple[NDArray[np.float64], ...]
    measured_mm: float | None
    diameter_kind: str
    estimated_mm: float | None
    low_mm: float | None
    high_mm: float | None
    volume_mm3: float | None
    ratings: Mapping[str, float]
    estimated_ratings: Mapping[str, float]
    scores: Mapping[str, float]
    satisfies: bool | None
    description: str
    readers: int | None
    reader_diameters_mm: tuple[float | None, ...]
    reader_ratings: Mapping[str, tuple[float | None, ...]]
    extra: Mapping[str, str]

    @property
    def diameter_mm(self) -> float | None:
        """The measured diameter, else the estimated one, in mm."""
        return self.estimated_mm if self.measured_mm is None else self.measured_mm

    @property
    def is_estimated(self) -> bool:
        """Whether `diameter_mm` is an estimate."""
        return self.measured_mm is None and self.estimated_mm is not None

    @property
    def size(self) -> str:
        """The diameter in words: "8.2 mm" if measured, "~8.2 mm" if estimated, else empty."""
        return "" if self.diameter_mm is None else f"{'~' if self.is_estimated else ''}{self.diameter_mm:.1f} mm"

    @property
    def name(self) -> str:
        """Rank and size: "1: 8.2 mm"."""
        return f"{self.rank}: {self.size}" if self.size else str(self.rank)

    @functools.cached_property
    def center_mm(self) -> NDArray[np.float64]:
        """(3,) the centre in mm, LPS."""
        return np.asarray(self.plane.to_patient(np.array([self.center_px]))[0], np.float64)

    @functools.cached_property
    def mean_outline_px(self) -> list[NDArray[np.float64]]:
        """(V, 2) curves around what at least half of the readers outlined, usually one; none without outlines."""
        return compute_mean_outline(self.outlines_px)


@dataclass(frozen=True)
class Export:
    """What is exported.

    Attributes:
        table: All columns of the hits or of the described nodules.
        source: What they come from.
        findings: Those whose slice was found, in the order of the table; none for a format that needs no place.
        on_left_out: Called with a finding that an exporter leaves out because of its slice, and with the reason.
    """

    table: pl.DataFrame
    source: Source
    findings: tuple[Finding, ...] = ()
    on_left_out: Callable[[Finding, SliceError], None] = lambda _finding, _error: None


@dataclass(frozen=True)
class ExportFile:
    """A file of an export.

    Attributes:
        path: Where it goes.
        content: Its bytes.
        count: Findings or rows in it; None for a file that belongs to another one, such as a picture.
        label: Whose findings these are, where an export has several files; empty where it has one.
    """

    path: Path
    content: bytes
    count: int | None = None
    label: str = ""


def group_by_series(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Group findings by series, the series with the best rank first; slices without a series go by their folder."""
    groups: dict[str, list[Finding]] = {}
    for finding in sorted(findings, key=lambda one: one.rank):  # stable: of equal ranks the first question's
        groups.setdefault(finding.series_uid or str(finding.file.parent), []).append(finding)
    return list(groups.values())


def label_series(findings: Sequence[Finding]) -> str:
    """Return whose findings a group of `group_by_series` are."""
    return f"patient {findings[0].patient_id}" if findings and findings[0].patient_id else ""
