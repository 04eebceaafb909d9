"""The finding of a row: of hits, of an index, or of a ROI table with estimates."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import RejectCode, SliceError
from noduleclip.exporters.findings import SCORES, Finding

if TYPE_CHECKING:  # an export of the table alone does not load what reads DICOM
    from noduleclip.io.dicom.placement import Placement

_ESTIMATE_DIGITS: Final = 4


def make_finding(
    row: Mapping[str, Any],
    placement: "Placement",
    file: Path,
    outlines_px: Sequence[NDArray[np.float64]] = (),
    *,
    rank: int | None = None,
) -> Finding:
    """Make the finding of a row of hits, of an index, or of a ROI table with estimates.

    Args:
        row: Its columns.
        placement: Where its slice lies.
        file: The slice.
        outlines_px: (V, 2) columns and rows of each reader's outline on the slice.
        rank: Its rank, where the row has none.

    Raises:
        SliceError: The row has no place on the slice, or one outside of it.
    """
    center = _find_center(row)
    if center is None:
        raise SliceError(RejectCode.OUTSIDE, f"{file.name}: the table has no place on it")
    if not placement.plane.holds(center):
        raise SliceError(RejectCode.OUTSIDE, f"{file.name}: the place {center} lies outside the slice")
    box = [_number(row, name) for name in schema.BOX_COLUMNS]
    number = _number(row, schema.FRAME)
    return Finding(
        rank=int(row.get(schema.RANK) or 0) if rank is None else rank,
        query=_text(row, schema.QUERY),
        row=row.get(schema.ROW),
        patient_id=_text(row, schema.PATIENT_ID),
        nodule_id=_text(row, schema.NODULE_ID),
        study_uid=placement.study_uid,
        series_uid=placement.series_uid,
        sop_uid=placement.sop_uid,
        sop_class_uid=placement.sop_class_uid,
        frame_of_reference_uid=placement.frame_of_reference_uid,
        dicom_path=_text(row, schema.DICOM_PATH),
        file=file,
        frame=None if number is None else int(number),
        plane=placement.plane,
        center_px=center,
        box_px=(box[0], box[1], box[2], box[3]) if None not in box else None,  # type: ignore[arg-type]
        outlines_px=tuple(outlines_px),
        measured_mm=_number(row, schema.DIAMETER_MM),
        diameter_kind=_text(row, schema.DIAMETER_KIND),
        estimated_mm=_round(_number(row, schema.ESTIMATED_DIAMETER)),
        low_mm=_round(_number(row, schema.ESTIMATED_LOW)),
        high_mm=_round(_number(row, schema.ESTIMATED_HIGH)),
        volume_mm3=_number(row, schema.VOLUME_MM3),
        ratings=_numbers(row, {name: name for name in schema.RATING_COLUMNS}),
        estimated_ratings=_numbers(row, {name: schema.ESTIMATED_PREFIX + name for name in schema.RATING_COLUMNS}),
        scores=_numbers(row, {name: name for name in SCORES}),
        satisfies=row.get(schema.SATISFIES),
        description=_text(row, schema.DESCRIPTION),
        readers=row.get(schema.READERS),
        reader_diameters_mm=tuple(row.get(schema.READER_DIAMETERS) or ()),
        reader_ratings={
            name: tuple(values)
            for name in schema.RATING_COLUMNS
            if (values := row.get(schema.READER_PREFIX + name)) is not None
        },
        extra={name: str(value) for name, value in row.items() if value is not None and _is_kept(name)},
    )


def _find_center(row: Mapping[str, Any]) -> tuple[float, float] | None:
    for names in ((schema.CENTROID_X, schema.CENTROID_Y), (schema.CENTER_X, schema.CENTER_Y)):
        x, y = (_number(row, name) for name in names)
        if x is not None and y is not None:
            return x, y
    return None


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _round(estimate_mm: float | None) -> float | None:
    """Return an estimate without what its column of 32 bits adds: 12.26, not 12.260000228881836."""
    return None if estimate_mm is None else round(estimate_mm, _ESTIMATE_DIGITS)


def _is_kept(name: str) -> bool:
    """Return whether a column is one of the user's own."""
    return name not in schema.COLUMN_MEANINGS and not name.startswith(schema.PROBABILITY_PREFIX)


def _numbers(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, float]:
    return {name: value for name, column in columns.items() if (value := _number(row, column)) is not None}


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)
