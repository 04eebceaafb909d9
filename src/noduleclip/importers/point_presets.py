"""Tables of places as some collections publish them: which columns mean what, and which rows are no nodules."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.importers.coordinates import Coordinates
from noduleclip.importers.point_columns import AXES

AUTO: Final = "auto"
NONE: Final = "none"
_LEFT_OUT: Final = "rows that are no nodules, left out"
_PLACELESS: Final = "rows without a place, left out"


@dataclass(frozen=True)
class PresetTable:
    """A table after the changes of a preset.

    Attributes:
        frame: Its cells as text, with `csv_row`; new columns have known names.
        left_out: Numbers of rows that are left out, by reason.
    """

    frame: pl.DataFrame
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """How the table of a collection is read.

    Attributes:
        name: Its name, as in `--preset`.
        title: The collection, for messages.
        shown_by: Sets of columns, case-folded, any of which recognises the table.
        columns: Names in the table, case-folded, by known column; the first that is there serves.
        keep: Further columns that are kept, case-folded, where they are there.
        coordinates: What the places are in.
        diameter_kind: Measure of the diameters.
        change: Makes columns that are not there as such, and leaves rows out.
        unknown_base: Why it is not known whether its pixels count from 0 or 1; empty where it is known.
    """

    name: str
    title: str
    shown_by: Sequence[frozenset[str]]
    columns: Mapping[str, Sequence[str]]
    keep: Sequence[str] = ()
    coordinates: Coordinates = Coordinates.LPS
    diameter_kind: str = schema.UNKNOWN_KIND
    change: Callable[[pl.DataFrame], PresetTable] = PresetTable
    unknown_base: str = ""

    def recognises(self, columns: Sequence[str]) -> bool:
        """Return whether a table has the columns that recognise it."""
        folded = {column.casefold() for column in columns}
        return any(names <= folded for names in self.shown_by)

    def map_columns(self, columns: Sequence[str]) -> dict[str, str]:
        """Return the table's column by known column."""
        folded = {column.casefold(): column for column in columns}
        return {
            known: folded[name]
            for known, names in self.columns.items()
            if (name := next((one for one in names if one in folded), None)) is not None
        }

    def list_kept(self, columns: Sequence[str]) -> list[str]:
        """Return the table's columns that are kept."""
        folded = {column.casefold(): column for column in columns}
        return [folded[name] for name in self.keep if name in folded]


def _column(frame: pl.DataFrame, *names: str) -> pl.Expr | None:
    """Return the first column of some names, in any case, trimmed; None where there is none."""
    folded = {column.casefold(): column for column in frame.columns}
    name = next((folded[one] for one in names if one in folded), None)
    return None if name is None else pl.nth(frame.columns.index(name)).str.strip_chars()


def _drop(frame: pl.DataFrame, kept: pl.Expr, reason: str) -> PresetTable:
    rows = frame.filter(kept)
    return PresetTable(rows, {reason: frame.height - rows.height} if rows.height < frame.height else {})


def _change_lndb(frame: pl.DataFrame) -> PresetTable:
    """Name the images after their numbers, leave out non-nodules and findings of reports alone, and compute diameters.

    `Nodule` has a 0 or 1 of each reader; a finding that no reader called a nodule is a non-nodule. `Volume` is in mm3,
    and its diameter that of the sphere of this volume, as LNDb's own scripts have it.
    """
    left_out: dict[str, int] = {}
    nodule = _column(frame, "nodule")
    if nodule is not None:
        is_nodule = nodule.str.contains(r"(^|[^.\d])(1|0?\.\d*[1-9])").fill_null(value=True)
        table = _drop(frame, is_nodule, _LEFT_OUT)
        frame, left_out = table.frame, {**left_out, **table.left_out}
    places = [_column(frame, axis) for axis in AXES]
    has_place = pl.any_horizontal(place.str.len_bytes() > 0 for place in places if place is not None)
    table = _drop(frame, has_place.fill_null(value=False), _PLACELESS)
    frame, left_out = table.frame, {**left_out, **table.left_out}
    number = _column(frame, "lndbid")
    if number is not None:
        digits = number.str.extract(r"(?i)^(?:lndb-?)?0*(\d{1,9})(?:\.0*)?$").str.zfill(4)
        name = pl.when(digits.is_not_null()).then(pl.lit("LNDb-") + digits).otherwise(number)
        frame = frame.with_columns(name.alias(schema.SERIES_UID), name.alias(schema.PATIENT_ID))
    volume = _column(frame, "volume")
    if volume is not None and _column(frame, "diameq_rad") is None:
        mm3 = volume.cast(pl.Float64, strict=False)
        diameter_mm = (mm3 * (6 / math.pi)).pow(1 / 3).round(3)
        known = pl.when(mm3 > 0).then(diameter_mm.cast(pl.String)).otherwise(pl.lit(None, pl.String))
        frame = frame.with_columns(known.alias(schema.DIAMETER_MM))
    merged = {"radfinding", "radfindingid"} & {column.casefold() for column in frame.columns}
    finding = _column(frame, "findingid")
    if merged and finding is not None:  # else the numbers are those of each reader
        frame = frame.with_columns(finding.alias(schema.NODULE_ID))
    return PresetTable(frame, left_out)


def _change_lungx(frame: pl.DataFrame) -> PresetTable:
    """Split the cells of column and row: `318, 367`, or `318367` where a spreadsheet took them for one number.

    The number of an image is its InstanceNumber.

    Source:
        Public code that reads the collection: 01bui/lungx (viewer.py), Dhir-learner/CAD-C (cadc/external_eval.py) and
        nicoledans/Dissertation (evaluate_lungx.py) find the image by its InstanceNumber. Columns and rows count from 1
        in the latter two, from 0 in the first one and in fitushar/HAID (LUNGx).
    """
    both = _column(frame, *_LUNGX_BOTH)
    if both is not None:
        pair = both.str.extract_groups(r"^(\d+(?:\.\d+)?)\s*[,; ]\s*(\d+(?:\.\d+)?)$")
        whole = both.str.extract_groups(r"^(\d{1,4})(\d{3})(?:\.0*)?$")
        frame = frame.with_columns(
            pl.coalesce(pair.struct.field(str(at)), whole.struct.field(str(at)), both).alias(axis)
            for at, axis in ((1, schema.POINT_X), (2, schema.POINT_Y))
        )
    number = _column(frame, *_LUNGX_SLICE)
    return PresetTable(frame) if number is None else _drop(frame, number.str.len_bytes() > 0, _PLACELESS)


_LUNGX_BOTH: Final = ("nodule center x,y position*", "nodule center x,y position", "nodule center position")
_LUNGX_SLICE: Final = ("nodule center image", "dicom slice", "slice number")
PRESETS: Final = (
    Preset(
        name="luna25",
        title="LUNA25",
        shown_by=(frozenset(("seriesinstanceuid", "coordx", "annotationid", "noduleid")),),
        # A nodule has its id in all of its patient's scans; an annotation is of one scan.
        columns={schema.NODULE_ID: ("annotationid",)},
        keep=("noduleid", "label", "studydate", "age_at_studydate", "gender"),
    ),
    Preset(
        name="lndb",
        title="LNDb",
        shown_by=(frozenset(("lndbid", *AXES)),),
        columns={
            schema.DIAMETER_MM: (schema.DIAMETER_MM, "diameq_rad"),
            schema.VOLUME_MM3: ("volume",),
            schema.READER: ("radid",),
            schema.TEXTURE: (schema.TEXTURE, "text"),
            schema.INTERNAL_STRUCTURE: ("internalstructure",),
            schema.NODULE_ID: (schema.NODULE_ID,),
        },
        keep=("lobe", "agrlevel", "where"),
        diameter_kind="volume",
        change=_change_lndb,
    ),
    Preset(
        name="lungx",
        title="LUNGx",
        shown_by=tuple(frozenset(("scan number", number)) for number in _LUNGX_SLICE),
        columns={
            schema.PATIENT_ID: ("scan number",),
            schema.NODULE_ID: ("nodule number",),
            schema.POINT_X: (schema.POINT_X, "dicom x"),
            schema.POINT_Y: (schema.POINT_Y, "dicom y"),
            "z": _LUNGX_SLICE,
        },
        keep=("final diagnosis", "diagnosis"),
        coordinates=Coordinates.INSTANCE,
        change=_change_lungx,
        unknown_base="its collection does not say, and programs that read it differ",
    ),
    Preset(
        name="boxes",
        title="boxes",
        shown_by=(frozenset(("w", "h", "d")),),
        columns={
            schema.SERIES_UID: ("ct_path", "ct_nifti_file", "image", "image_path", "seriesuid", schema.SERIES_UID),
            schema.PATIENT_ID: (schema.PATIENT_ID, "patient-id", "patientid", "sample_id"),
        },
        keep=("malignant_lbl", "label", "benchmark_split"),
    ),
)
PRESET_COLUMNS: Final = tuple({name for preset in PRESETS for names in preset.shown_by for name in names})
_PLAIN: Final = Preset(NONE, "", (), {})


def choose_preset(name: str, columns: Sequence[str], path: Path) -> Preset:
    """Return the preset of a name, or for "auto" the one that recognises a table; a plain one where none does.

    Raises:
        InputError: The table does not have the columns of the preset.
    """
    if name == AUTO:
        return next((preset for preset in PRESETS if preset.recognises(columns)), _PLAIN)
    chosen = next((preset for preset in PRESETS if preset.name == name), _PLAIN)
    if chosen is not _PLAIN and not chosen.recognises(columns):
        needed = " or ".join(", ".join(sorted(names)) for names in chosen.shown_by)
        found = ", ".join(column[:40] for column in columns[:16])
        raise InputError(f"{path}: --preset {name}: needs the columns {needed} (in any case); found {found}")
    return chosen
