"""The ROI table of placed annotations: nodules and readers are numbered, columns chosen, rows ordered."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import polars as pl

from noduleclip import schema
from noduleclip.importers.annotations import Outline, Sphere
from noduleclip.importers.grouping import number_nodules
from noduleclip.importers.sphere_grouping import number_spheres

ROI_COLUMNS: Final = {
    schema.DICOM_PATH: pl.String,
    **dict.fromkeys((schema.SPACING_ROW, schema.SPACING_COL, schema.DIAMETER_MM), pl.Float64),
    **dict.fromkeys((schema.CENTROID_X, schema.CENTROID_Y), pl.Float64),
    **dict.fromkeys(schema.BOX_COLUMNS, pl.Int64),
    **dict.fromkeys((schema.POINTS_JSON, schema.SERIES_UID, schema.SOP_UID), pl.String),
    **dict.fromkeys((schema.PATIENT_ID, schema.NODULE_ID, schema.READER, schema.DIAMETER_KIND), pl.String),
    **dict.fromkeys(schema.RATING_COLUMNS, pl.Int64),
    **dict.fromkeys((schema.Z_MM, schema.SLICE_THICKNESS), pl.Float64),
    schema.MANUFACTURER: pl.String,
}
"""The columns of `roi_with_diam.csv`, in order."""
OPTIONAL_COLUMNS: Final = {schema.FRAME: pl.Int64, schema.VOLUME_MM3: pl.Float64, schema.DETECTION_SCORE: pl.Float64}
"""Columns behind them, each of which is there where a row has a value."""


@dataclass
class PlacedAnnotation:
    """Values of a row, and the annotation whose nodule it belongs to."""

    annotation: Outline | Sphere
    values: dict[str, Any]


def make_roi_frame(rows: Sequence[PlacedAnnotation]) -> pl.DataFrame:
    """Return the table of rows.

    Args:
        rows: The rows in any order; they receive their nodule, and a number where their reader has no name.

    Returns:
        The columns of `ROI_COLUMNS`, and the further ones that have values; by patient and series, then nodule,
        then slice upwards, then reader.
    """
    by_patient: dict[str, dict[int, Outline | Sphere]] = defaultdict(dict)
    for row in rows:
        by_patient[row.values[schema.PATIENT_ID]][id(row.annotation)] = row.annotation
    names: dict[int, str] = {}
    readers: dict[int, str] = {}
    for annotations in by_patient.values():
        outlines = {key: one for key, one in annotations.items() if isinstance(one, Outline)}
        spheres = {key: one for key, one in annotations.items() if isinstance(one, Sphere)}
        names |= dict(zip(outlines, number_nodules(list(outlines.values())), strict=True))
        names |= dict(zip(spheres, number_spheres(list(spheres.values())), strict=True))
        readers |= _number_readers(outlines, names)
    for row in rows:
        row.values[schema.NODULE_ID] = names[id(row.annotation)]
        row.values[schema.READER] = readers.get(id(row.annotation), row.values[schema.READER])
    ordered = sorted((row.values for row in rows), key=_order_of)
    return pl.DataFrame(ordered, schema=_choose_columns(ordered), orient="row")


def _choose_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the columns of a table: the fixed ones, the optional ones that have values, and those of the source."""
    columns: dict[str, Any] = dict(ROI_COLUMNS)
    for name in schema.RATING_COLUMNS:
        if any(isinstance(row.get(name), float) and not row[name].is_integer() for row in rows):
            columns[name] = pl.Float64  # means of readers
    columns |= {name: kind for name, kind in OPTIONAL_COLUMNS.items() if any(row.get(name) is not None for row in rows)}
    known = columns.keys() | OPTIONAL_COLUMNS.keys()
    return columns | {name: pl.String for row in rows for name in row if name not in known}


def _number_readers(outlines: Mapping[int, Outline], nodules: Mapping[int, str]) -> dict[int, str]:
    """Assign numbers to the readers of a patient's nodules where the source names none, one per outline."""
    of_nodule: dict[str, list[int]] = defaultdict(list)
    for key in outlines:
        of_nodule[nodules[key]].append(key)
    readers: dict[int, str] = {}
    for keys in of_nodule.values():
        taken = {outlines[key].reader for key in keys}
        free = (str(number) for number in count(1) if str(number) not in taken)
        readers |= {key: next(free) for key in keys if not outlines[key].reader}
    return readers


def _order_of(values: Mapping[str, Any]) -> tuple[Any, ...]:
    nodule = values[schema.NODULE_ID]
    number = int(nodule) if nodule.isdecimal() else math.inf
    place = (values[schema.Z_MM], values[schema.READER] or "", values[schema.DICOM_PATH], values[schema.BBOX_YMIN])
    return values[schema.PATIENT_ID], values[schema.SERIES_UID], number, nodule, *place, values[schema.BBOX_XMIN]
