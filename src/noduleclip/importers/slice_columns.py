"""Columns of a catalogue: what is kept of the header of each slice."""

from collections.abc import Sequence
from typing import Any, Final

import polars as pl

from noduleclip import schema
from noduleclip.io.slice_plane import SlicePlane

PATH: Final = "path"
MODALITY: Final = "modality"
LOCALIZER: Final = "CT localizer"
"""In the column of modalities: an overview, which lies where slices do."""
KERNEL: Final = "kernel"
STUDY_UID: Final = "study_uid"
FRAME_OF_REFERENCE: Final = "frame_of_reference_uid"
SERIES_DESCRIPTION: Final = "series_description"
IMAGE_TYPE: Final = "image_type"
ACQUISITION: Final = "acquisition_number"
INSTANCE: Final = "instance_number"
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
    schema.SOP_UID: pl.String,  # of a slice its name, see `slice_names`
    schema.FRAME: pl.Int64,  # null in a file of one slice
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
    SERIES_DESCRIPTION: pl.String,
    IMAGE_TYPE: pl.String,
    ACQUISITION: pl.Int64,
    INSTANCE: pl.Int64,
    schema.REJECT_CODE: pl.String,
    schema.REJECT_REASON: pl.String,
}


def as_plane(row: Sequence[float]) -> SlicePlane:
    """Make the plane of a slice of its values in the order of `GEOMETRY`."""
    return SlicePlane((row[0], row[1], row[2]), tuple(row[3:9]), (row[9], row[10]), (int(row[11]), int(row[12])))


def make_planes(frame: pl.DataFrame) -> tuple[SlicePlane, ...]:
    """Return where the slices in rows of a catalogue lie."""
    return tuple(map(as_plane, frame.select(GEOMETRY).iter_rows()))


def make_slice_frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Return rows as a table with the columns of `SLICE_COLUMNS`."""
    return pl.DataFrame(rows, schema=SLICE_COLUMNS, orient="row")
