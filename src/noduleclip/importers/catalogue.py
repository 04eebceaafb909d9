"""The CT slices of a collection and their positions in the patient."""

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.patients import fold_id
from noduleclip.io.slice_plane import SLACK_MM, SlicePlane

PATH: Final = "path"
MODALITY: Final = "modality"
LOCALIZER: Final = "CT localizer"
"""In the column of modalities: an overview, which lies where slices do."""
KERNEL: Final = "kernel"
STUDY_UID: Final = "study_uid"
FRAME_OF_REFERENCE: Final = "frame_of_reference_uid"
POSITION: Final = ("position_x_mm", "position_y_mm", "position_z_mm")
ORIENTATION: Final = ("row_x", "row_y", "row_z", "column_x", "column_y", "column_z")
ROWS: Final = "rows"
COLUMNS: Final = "columns"
GEOMETRY: Final = (*POSITION, *ORIENTATION, schema.SPACING_ROW, schema.SPACING_COL, ROWS, COLUMNS)
SIZE_BYTES: Final = "size_bytes"
MODIFIED_NS: Final = "modified_ns"
FILE_VERSION: Final = (PATH, SIZE_BYTES, MODIFIED_NS)
SLICE_COLUMNS: Final = {
    PATH: pl.String,
    SIZE_BYTES: pl.Int64,
    MODIFIED_NS: pl.Int64,
    MODALITY: pl.String,  # null where the file is no readable DICOM
    schema.SOP_UID: pl.String,
    schema.SERIES_UID: pl.String,
    STUDY_UID: pl.String,
    FRAME_OF_REFERENCE: pl.String,
    schema.PATIENT_ID: pl.String,
    schema.SPACING_ROW: pl.Float64,
    schema.SPACING_COL: pl.Float64,
    **dict.fromkeys((*POSITION, *ORIENTATION), pl.Float64),
    ROWS: pl.Int64,
    COLUMNS: pl.Int64,
    schema.SLICE_THICKNESS: pl.Float64,
    schema.MANUFACTURER: pl.String,
    KERNEL: pl.String,
    schema.REJECT_CODE: pl.String,
    schema.REJECT_REASON: pl.String,
}
_SAME_PLACE_MM: Final = 0.01


def _as_plane(row: Sequence[float]) -> SlicePlane:
    """Make the plane of a slice of its values in the order of `GEOMETRY`."""
    return SlicePlane((row[0], row[1], row[2]), tuple(row[3:9]), (row[9], row[10]), (int(row[11]), int(row[12])))


def make_planes(frame: pl.DataFrame) -> tuple[SlicePlane, ...]:
    """Return where the slices in rows of a catalogue lie."""
    return tuple(map(_as_plane, frame.select(GEOMETRY).iter_rows()))


@dataclass(frozen=True)
class SeriesSlices:
    """The slices of one series, upwards.

    Attributes:
        frame: Rows of the catalogue, ascending along the normal of the planes; of those at one place the first by path.
        heights_mm: (N,) positions along that normal.
        shadowed: Further rows of the catalogue, at the place of a slice in `frame`; their UID alone leads to them.
    """

    frame: pl.DataFrame
    heights_mm: NDArray[np.float64]
    shadowed: pl.DataFrame

    @functools.cached_property
    def patients(self) -> list[str]:
        """The patients that the headers of its slices name, sorted."""
        names = [*self.frame[schema.PATIENT_ID], *self.shadowed[schema.PATIENT_ID]]
        return sorted({fold_id(name): name for name in names if name and name.strip()}.values())

    @functools.cached_property
    def kernels(self) -> list[str]:
        """The reconstruction kernels of its slices, sorted."""
        return sorted({name for name in (*self.frame[KERNEL], *self.shadowed[KERNEL]) if name})

    @property
    def gap_mm(self) -> float:
        """The median distance of neighbouring slices; NaN where there is one slice."""
        gaps_mm = np.diff(self.heights_mm)
        return float(np.median(gaps_mm)) if len(gaps_mm) else math.nan

    @property
    def largest_gap_mm(self) -> float:
        """The largest distance of neighbouring slices; NaN where there is one slice."""
        return float(np.diff(self.heights_mm).max()) if len(self.heights_mm) > 1 else math.nan

    @functools.cached_property
    def planes(self) -> tuple[SlicePlane, ...]:
        """Where each slice lies."""
        return make_planes(self.frame)

    def find_height(self, z_mm: float) -> int | None:
        """Find the slice at a height as a table gives it, the z of its first pixel (LPS).

        Returns:
            Its number; None where none lies nearer than half the distance of slices.
        """
        away_mm = np.abs(self.frame[POSITION[2]].to_numpy() - z_mm)
        nearest = int(np.argmin(away_mm))
        reach_mm = (self.gap_mm / 2 if len(away_mm) > 1 else 0.0) + SLACK_MM
        return nearest if away_mm[nearest] <= reach_mm else None


@dataclass(frozen=True)
class Catalogue:
    """The DICOM files of a collection.

    Attributes:
        root: The folder.
        slices: One row per CT slice with a place in its patient, sorted by series and path; of slices with one SOP
            Instance UID the first.
        others: One row per DICOM file of another modality, such as segmentations, reports and chest X-rays; of those
            with one SOP Instance UID the first.
        rejects: One row per file that is no usable DICOM, and per folder that cannot be opened, with code and reason.
        copies: Files left out because another one has their SOP Instance UID.
        not_dicom: Files that are not DICOM.
        was_read: Whether the files were read; else the slices are those that a source describes, maybe not all.
        paths_from: Folder that relative paths start from, where it is not `root`.
    """

    root: Path
    slices: pl.DataFrame
    others: pl.DataFrame
    rejects: pl.DataFrame
    copies: int
    not_dicom: int
    was_read: bool = True
    paths_from: Path | None = None
    _opened: dict[str, SeriesSlices] = field(default_factory=dict)

    @property
    def start(self) -> Path:
        """The folder that relative paths start from, for `--dicom-root`."""
        return self.paths_from or self.root

    @functools.cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        """First row and number of rows of each series."""
        lengths = self.slices.group_by(schema.SERIES_UID, maintain_order=True).len().rows()
        starts = np.cumsum([0, *(length for _, length in lengths)]).tolist()
        return {uid: (start, length) for (uid, length), start in zip(lengths, starts, strict=False)}

    @functools.cached_property
    def _series_of_sop(self) -> dict[str, int]:
        return dict(zip(self.slices[schema.SOP_UID], range(self.slices.height), strict=True))

    def series_uids(self) -> list[str]:
        """Return the series that have slices."""
        return list(self._places)

    def find_series(self, series_uid: str) -> SeriesSlices | None:
        """Return the slices of a series; None where there are none."""
        if series_uid not in self._places:
            return None
        if series_uid not in self._opened:
            self._opened.clear()  # callers go series by series
            self._opened[series_uid] = _order(self.slices.slice(*self._places[series_uid]))
        return self._opened[series_uid]

    @functools.cached_property
    def _series_of_frame(self) -> dict[str, list[str]]:
        pairs = self.slices.select(FRAME_OF_REFERENCE, schema.SERIES_UID).unique(maintain_order=True).drop_nulls()
        found: dict[str, list[str]] = {}
        for frame_uid, series_uid in pairs.iter_rows():
            found.setdefault(frame_uid, []).append(series_uid)
        return found

    def find_frame_of_reference(self, uid: str) -> list[str]:
        """Return the series with slices in a frame of reference, sorted."""
        return sorted(self._series_of_frame.get(uid, ()))

    def find_sop(self, sop_uid: str) -> dict[str, Any] | None:
        """Return the row of a slice; None where there is none."""
        row = self._series_of_sop.get(sop_uid)
        return None if row is None else self.slices.row(row, named=True)

    def find_plane(self, sop_uid: str) -> SlicePlane | None:
        """Return where a slice lies; None where there is no such slice."""
        found = self.find_sop(sop_uid)
        return None if found is None else _as_plane([found[name] for name in GEOMETRY])

    def list_other(self, modality: str) -> list[Path]:
        """Return the files of another modality."""
        return [Path(path) for path in self.others.filter(pl.col(MODALITY) == modality)[PATH]]

    def count_modalities(self) -> Counter[str]:
        """Count the files of other modalities."""
        return Counter(self.others[MODALITY].to_list())


def make_slice_frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Return rows as a table with the columns of `SLICE_COLUMNS`."""
    return pl.DataFrame(rows, schema=SLICE_COLUMNS, orient="row")


def describe_slices(source: Path, rows: Iterable[dict[str, Any]]) -> Catalogue:
    """Make a catalogue of slices that a source describes, without reading a file.

    Args:
        source: The file that describes them.
        rows: Values of each slice by column; at least path, series and geometry.
    """
    nothing = make_slice_frame([])
    return Catalogue(
        source, make_slice_frame(list(rows)).sort(schema.SERIES_UID, PATH), nothing, nothing, 0, 0, was_read=False
    )


def _order(frame: pl.DataFrame) -> SeriesSlices:
    """Sort the slices of a series along the normal of its first one; z grows upwards."""
    along_row, along_column = frame.select(ORIENTATION).to_numpy()[0].reshape(2, 3)
    normal = np.cross(along_row, along_column)
    normal /= np.linalg.norm(normal)
    origins_mm = frame.select(POSITION).to_numpy()
    heights_mm = origins_mm @ (normal * (1 if normal[2] >= 0 else -1))
    order = np.argsort(heights_mm, kind="stable")
    chosen = order[np.diff(heights_mm[order], prepend=-np.inf) > _SAME_PLACE_MM]
    shadowed = sorted(set(range(frame.height)).difference(chosen.tolist()))
    return SeriesSlices(frame[chosen.tolist()], heights_mm[chosen], frame[shadowed])
