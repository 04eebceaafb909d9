"""Tables of places as spheres: centres with or without diameters, in mm or in pixels of the images."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError, RejectCode, UsageError
from noduleclip.importers.annotations import LAST_RATING, ODD_RATINGS, RejectedAnnotation, Sphere
from noduleclip.importers.coordinates import Coordinates, PixelPlace
from noduleclip.importers.point_columns import AXES, NUMBERS, SIDES, USUAL_NAMES, find_column, match_columns
from noduleclip.importers.point_presets import AUTO, PRESET_COLUMNS, Preset, choose_preset
from noduleclip.importers.roi_frame import OPTIONAL_COLUMNS, ROI_COLUMNS
from noduleclip.io.consensus import KIND_RATINGS
from noduleclip.io.roi_table import MAX_DIAMETER_MM, is_reserved
from noduleclip.io.text_table import read_text_frame

_NOWHERE: Final = (float("nan"),) * 3
_LARGEST_MM: Final = 1e5
_LARGEST_PX: Final = 1e7
_KEPT: Final = "kept "  # before the names of kept columns while rows are read: they may be those of known ones


@dataclass(frozen=True, kw_only=True)
class PointOptions:
    """How a table of places is read.

    Attributes:
        preset: Name of a preset; "auto" = the one that recognises the table, "none" = known names only.
        columns: The table's column by known column, for those that have another name.
        keep: Further columns of the table that are kept as text.
        coordinates: What the places are in; None = as the preset says, else LPS.
        index_base: Number of the first voxel, column and row: 0 or 1; None = 0, with a remark where that is not known.
    """

    preset: str = AUTO
    columns: Mapping[str, str] = field(default_factory=dict)
    keep: Sequence[str] = ()
    coordinates: Coordinates | None = None
    index_base: int | None = None


@dataclass(frozen=True)
class PointTable:
    """The content of a table of places.

    Attributes:
        spheres: In file order, each named after its row ("row 1").
        rejected: Rows that give none.
        counts: Numbers for the summary: rows that are left out, ratings off their scale.
        remarks: Oddities, a sentence each.
        preset: Name of the preset that was used; "none" for none.
        title: The collection of the preset; empty for none.
        diameter_kind: What the preset says that the diameters are; None without a preset.
    """

    spheres: list[Sphere]
    rejected: list[RejectedAnnotation]
    counts: Counter[str]
    remarks: list[str]
    preset: str
    title: str
    diameter_kind: str | None


def read_point_table(path: Path, options: PointOptions = PointOptions()) -> PointTable:
    """Read a table with a row for each nodule, or for each reader of one.

    Columns, in any case: x, y, z or coordX, coordY, coordZ; seriesuid or series_uid, or patient_id alone. Optional are
    diameter_mm, or the sides w, h, d of a box, of which the longer one of the first two is the diameter; nodule_id,
    reader, the ratings, detection_score (also score, probability or confidence), volume_mm3. Ratings may be means of
    readers; those of kinds, which have no mean, and those off their scale count as missing.

    Args:
        path: CSV in UTF-8, separated by commas.
        options: How it is read.

    Raises:
        InputError: The file is not such a table; the message names the column.
        UsageError: A column cannot be kept under its name.
    """
    first = ("coordx", "seriesuid", *USUAL_NAMES, *PRESET_COLUMNS, *options.columns.values())
    raw = read_text_frame(path, "table of places", first)
    frame = raw.drop(schema.CSV_ROW, strict=False)
    frame = frame.with_row_index(schema.CSV_ROW, offset=1).filter(~pl.all_horizontal(pl.col(frame.columns).is_null()))
    if frame.height == 0:
        raise InputError(f"{path}: has a header but no rows")
    preset = choose_preset(options.preset, raw.columns, path)
    changed = preset.change(frame)
    frame = changed.frame
    names = [name for name in frame.columns if name != schema.CSV_ROW]
    columns = match_columns(names, {**preset.map_columns(names), **options.columns}, path)
    kept = _choose_kept(raw.columns, preset, options.keep, path)
    frame = frame.select(
        schema.CSV_ROW,
        *(_cells(frame, column).alias(known) for known, column in columns.items()),
        *(_cells(frame, column).alias(_KEPT + column) for column in kept),
    )
    compared = [name for name in frame.columns if name != schema.CSV_ROW]
    distinct = frame.unique(compared, keep="first", maintain_order=True)
    reader = _Reader(path, options, options.coordinates or preset.coordinates, kept)
    reader.read(distinct)
    remarks = list(reader.remarks)
    if distinct.height < frame.height:
        remarks.insert(0, f"{path}: dropped {frame.height - distinct.height:,} duplicate row(s)")
    if preset.unknown_base and options.index_base is None and not reader.coordinates.is_in_mm:
        remarks.append(
            f"{path}: its columns and rows are taken to count from 0: {preset.unknown_base}; --index-base 1 moves all "
            "places by one pixel, --index-base 0 confirms"
        )
    counts = Counter(changed.left_out) + reader.counts
    kind = preset.diameter_kind if preset.title else None
    return PointTable(reader.spheres, reader.rejected, counts, remarks, preset.name, preset.title, kind)


def _cells(frame: pl.DataFrame, column: str) -> pl.Expr:
    """Return a column trimmed, empty cells as null; by number, as `col` has patterns."""
    return pl.nth(frame.columns.index(column)).str.strip_chars().replace("", None)


def _choose_kept(columns: Sequence[str], preset: Preset, wanted: Sequence[str], path: Path) -> list[str]:
    """Return the columns to keep.

    Raises:
        InputError: The table lacks one.
        UsageError: The ROI table has a column of this name.
    """
    asked = [find_column(name, columns, path, "--keep") for name in wanted]
    own = {*ROI_COLUMNS, *OPTIONAL_COLUMNS, schema.POINT_X, schema.POINT_Y}
    taken = [name for name in asked if name in own or is_reserved(name)]
    if taken:
        raise UsageError(f"{path}: --keep: the ROI table has its own column {taken[0][:40]!r}; rename it, or use --map")
    return list(dict.fromkeys([*asked, *preset.list_kept(columns)]))


class _Reader:
    """Makes spheres of the rows of a table, and records rows that give none."""

    def __init__(self, path: Path, options: PointOptions, coordinates: Coordinates, kept: Sequence[str]) -> None:
        self.spheres: list[Sphere] = []
        self.rejected: list[RejectedAnnotation] = []
        self.counts: Counter[str] = Counter()
        self.remarks: list[str] = []
        self._path, self.coordinates, self._kept = path, coordinates, kept
        self._base = options.index_base or 0

    def read(self, frame: pl.DataFrame) -> None:
        """Read the rows of a frame with known names."""
        unread: dict[int, str] = {}
        for name in (name for name in NUMBERS if name in frame.columns):
            numbers = frame[name].cast(pl.Float64, strict=False)
            odd = frame.filter(numbers.is_null() & frame[name].is_not_null())
            for row, text in odd.select(schema.CSV_ROW, name).iter_rows():
                reason = f"column {name}: {text[:40]!r} is not a number (decimal point, no unit)"
                unread.setdefault(row, f"{self._path}: row {row}, {reason}")
            frame = frame.with_columns(numbers.fill_nan(None).alias(name))
        for row in frame.iter_rows(named=True):
            if row[schema.CSV_ROW] in unread:
                self._reject(RejectCode.BAD_NUMBER, unread[row[schema.CSV_ROW]])
            else:
                self._read_row(row)
        if count := self.counts[ODD_RATINGS]:
            self.remarks.append(f"{count:,} {ODD_RATINGS}; first: {self._first_odd}")

    def _reject(self, code: RejectCode, reason: str) -> None:
        self.rejected.append(RejectedAnnotation(self._path, code, reason))

    def _read_row(self, row: Mapping[str, object]) -> None:
        where = f"{self._path}: row {row[schema.CSV_ROW]}"
        place = _numbers(row, AXES)
        in_mm = self.coordinates.is_in_mm
        if place is None or not all(abs(part) < (_LARGEST_MM if in_mm else _LARGEST_PX) for part in place):
            found = ", ".join("empty" if row[axis] is None else f"{row[axis]:g}" for axis in AXES)
            unit = "mm" if in_mm else "pixels"
            return self._reject(RejectCode.OUTSIDE, f"{where}: x, y, z are {found}, no place in {unit}")
        diameter, sides, refused = self._find_size(row, in_mm)
        if refused:
            return self._reject(RejectCode.NO_DIAMETER, f"{where}: {refused}")
        series_uid, patient_id = _text(row, schema.SERIES_UID), _text(row, schema.PATIENT_ID)
        if not series_uid and not patient_id:
            return self._reject(RejectCode.NO_SERIES, f"{where}: names no series and no patient")
        score, volume = row.get(schema.DETECTION_SCORE), row.get(schema.VOLUME_MM3)
        if isinstance(score, float) and math.isinf(score):
            return self._reject(RejectCode.BAD_NUMBER, f"{where}: its score is not finite")
        self.spheres.append(
            Sphere(
                series_uid=series_uid,
                center_mm=self.coordinates.to_lps(place) if in_mm else _NOWHERE,
                diameter_mm=diameter,
                reader=_text(row, schema.READER),
                name=f"row {row[schema.CSV_ROW]}",
                ratings=self._read_ratings(row),
                patient_id=patient_id,
                nodule_id=_text(row, schema.NODULE_ID),
                score=score if isinstance(score, float) else None,
                extra={name: text for name in self._kept if (text := _text(row, _KEPT + name))},
                pixel_place=None if in_mm else self._find_pixels(place, sides),
                volume_mm3=volume if isinstance(volume, float) and volume > 0 else None,
            )
        )
        return None

    def _find_size(
        self, row: Mapping[str, object], in_mm: bool
    ) -> tuple[float | None, tuple[float, float, float] | None, str]:
        """Return the diameter and the sides in voxels that a row gives, and why they cannot be used."""
        diameter, sides = row.get(schema.DIAMETER_MM), _numbers(row, SIDES)
        if isinstance(diameter, float):
            name = schema.DIAMETER_MM
        elif sides is None:
            return None, None, ""
        elif min(sides) <= 0 or not in_mm:
            return (
                None,
                sides,
                "" if min(sides) > 0 else "w, h, d are {:g}, {:g}, {:g}, no sides of a box".format(*sides),
            )
        else:
            diameter, name = max(sides[:2]), "the longer of w and h"
        if not 0 < diameter <= MAX_DIAMETER_MM:
            return None, None, f"{name} is {diameter:g}, where a number in (0, {MAX_DIAMETER_MM:g}] mm is needed"
        return diameter, None, ""

    def _find_pixels(self, place: tuple[float, float, float], sides: tuple[float, float, float] | None) -> PixelPlace:
        """Return a place in pixels counted from 0; an InstanceNumber is no such count."""
        x, y, z = place
        is_count = self.coordinates is Coordinates.VOXEL
        position = (x - self._base, y - self._base, z - self._base if is_count else z)
        return PixelPlace(position, self.coordinates, sides)

    def _read_ratings(self, row: Mapping[str, object]) -> dict[str, float]:
        ratings: dict[str, float] = {}
        for name, last in LAST_RATING.items():
            rating = row.get(name)
            if not isinstance(rating, float):
                continue
            if not 1 <= rating <= last or (name in KIND_RATINGS and not rating.is_integer()):
                kind = "a whole number in" if name in KIND_RATINGS else "in"
                if not self.counts[ODD_RATINGS]:
                    self._first_odd = f"row {row[schema.CSV_ROW]}, {name} {rating:g}, not {kind} [1, {last}]"
                self.counts[ODD_RATINGS] += 1
                continue
            ratings[name] = int(rating) if rating.is_integer() else rating
        return ratings


def _numbers(row: Mapping[str, object], names: Sequence[str]) -> tuple[float, float, float] | None:
    """Return three cells of a row; None where one is missing."""
    a, b, c = (row.get(name) for name in names)
    return (a, b, c) if isinstance(a, float) and isinstance(b, float) and isinstance(c, float) else None


def _text(row: Mapping[str, object], name: str) -> str:
    return str(row.get(name) or "")
