"""The CT slices of a collection and their positions in the patient."""

import functools
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final

import numpy as np
import polars as pl

from noduleclip import schema
from noduleclip.errors import UsageError, make_printable
from noduleclip.importers.series_slices import SeriesSlices, arrange_slices
from noduleclip.importers.slice_columns import (
    FRAME_OF_REFERENCE,
    GEOMETRY,
    KERNEL,
    MODALITY,
    PATH,
    SERIES_DESCRIPTION,
    STUDY_UID,
    as_plane,
    make_slice_frame,
)
from noduleclip.importers.stacks import Stack, match_name, rank_stacks
from noduleclip.io.patients import fold_id
from noduleclip.io.slice_plane import SlicePlane

_MOST_NAMED: Final = 8


@dataclass(frozen=True)
class Catalogue:
    """The DICOM files of a collection.

    Attributes:
        root: The folder.
        slices: One row per CT slice with a place in its patient, also per frame of a multi-frame file, sorted by
            series, path and frame; of slices with one SOP Instance UID the first.
        others: One row per DICOM file of another modality, such as segmentations, reports and chest X-rays; of those
            with one SOP Instance UID the first.
        rejects: One row per file that is no usable DICOM, and per folder that cannot be opened, with code and reason.
        copies: Files left out because another one has their SOP Instance UID.
        not_dicom: Files that are not DICOM.
        was_read: Whether the files were read; else the slices are those that a source describes, maybe not all.
        paths_from: Folder that relative paths start from, where it is not `root`.
        pattern: Pattern of the Series Instance UID, series description or kernel of the reconstructions to prefer;
            empty for none.
    """

    root: Path
    slices: pl.DataFrame
    others: pl.DataFrame
    rejects: pl.DataFrame
    copies: int
    not_dicom: int
    was_read: bool = True
    paths_from: Path | None = None
    pattern: str = ""
    _opened: dict[str, SeriesSlices] = field(default_factory=dict, init=False)

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
            self._opened[series_uid] = arrange_slices(self._slices_of(series_uid), self.pattern)
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

    def find_named(self, names: Collection[str]) -> dict[str, list[str]]:
        """Find the series of patients, of studies and of folders.

        Args:
            names: Patient IDs in any case, Study Instance UIDs, or names of the folders that hold the slices.

        Returns:
            Their series, sorted, by name; names without series are left out.
        """
        folded = {fold_id(name): name for name in names}
        found: dict[str, set[str]] = {}
        columns = (schema.SERIES_UID, schema.PATIENT_ID, STUDY_UID, PATH)
        for series_uid, patient_id, study_uid, path in self.slices.select(columns).iter_rows():
            for name in (fold_id(patient_id or ""), study_uid, fold_id(PurePath(path).parent.name)):
                if name in folded:
                    found.setdefault(folded[name], set()).add(series_uid)
        return {name: sorted(uids) for name, uids in found.items()}

    def rank_series(self, series_uids: Iterable[str]) -> list[Stack]:
        """Return the best stack of each of some series, in the order of the rule."""
        series = (self.find_series(uid) for uid in series_uids)
        return rank_stacks([one.parts[0] for one in series if one is not None], self.pattern)

    def check_pattern(self) -> None:
        """Check that the pattern matches something.

        Raises:
            UsageError: No series has a name that it matches; the message lists what there is.
        """
        columns = (schema.SERIES_UID, SERIES_DESCRIPTION, KERNEL)
        series = self.slices.select(columns).unique().sort(columns)
        names = [str(name) for row in series.iter_rows() for name in row if name]
        if not self.pattern or any(match_name(name, self.pattern) for name in names):
            return
        listed = []
        for title, column in (("series descriptions", SERIES_DESCRIPTION), ("kernels", KERNEL)):
            found = sorted({make_printable(name)[:40] for name in series[column] if name})
            more = ", …" if len(found) > _MOST_NAMED else ""
            listed.append(f"{title}: {', '.join(found[:_MOST_NAMED]) or 'none'}{more}")
        raise UsageError(
            f"--series {self.pattern!r} matches no Series Instance UID, series description or kernel below {self.root} "
            f"(* and ? stand for any text and any character); there are {'; '.join(listed)}"
        )

    def _slices_of(self, series_uid: str) -> pl.DataFrame:
        return self.slices.slice(*self._places[series_uid])

    def find_sop(self, sop_uid: str) -> dict[str, Any] | None:
        """Return the row of a slice by its name, see `slice_names`; None where there is none."""
        row = self._series_of_sop.get(sop_uid)
        return None if row is None else self.slices.row(row, named=True)

    def find_plane(self, sop_uid: str) -> SlicePlane | None:
        """Return where a slice lies; None where there is no such slice."""
        found = self.find_sop(sop_uid)
        return None if found is None else as_plane([found[name] for name in GEOMETRY])

    def list_other(self, modality: str) -> list[Path]:
        """Return the files of another modality."""
        return [Path(path) for path in self.others.filter(pl.col(MODALITY) == modality)[PATH]]

    def count_modalities(self) -> Counter[str]:
        """Count the files of other modalities."""
        return Counter(self.others[MODALITY].to_list())


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
