"""The table of nodules: one row per nodule of a ROI table, over its readers and slices."""

import numpy as np
import polars as pl
import polars.selectors as cs

from noduleclip import schema
from noduleclip.importers.catalogue import Catalogue
from noduleclip.io.outlines import parse_points

NODULE_COLUMNS = (
    schema.PATIENT_ID,
    schema.NODULE_ID,
    schema.SERIES_UID,
    schema.READERS,
    schema.SLICES,
    schema.DIAMETER_MM,
    schema.DIAMETER_SPREAD,
    schema.DIAMETER_KIND,
    schema.DICOM_PATH,
    schema.SOP_UID,
    schema.CENTROID_X,
    schema.CENTROID_Y,
    schema.X_MM,
    schema.Y_MM,
    schema.Z_MM,
    *schema.RATING_COLUMNS,
)
_NODULE = (schema.PATIENT_ID, schema.NODULE_ID)
_SLICE = (*_NODULE, schema.DICOM_PATH)
_AREA = "area_px"
_DIGITS = 3


def summarise_nodules(rois: pl.DataFrame) -> pl.DataFrame:
    """Return a row per nodule.

    A nodule is represented by the slice where its readers' outlines have the largest mean area, zero for readers
    who did not draw there; of equal slices on the first of the table. Diameter, spread and centroid are of the
    readers who drew there: mean, largest minus smallest, mean. Ratings are means over all readers of the nodule.
    Where the table names no readers, rows that share nodule and slice are of different ones.

    Args:
        rois: Rows of a ROI table with `patient_id`, `nodule_id` and `centroid_x`, `centroid_y`; a curve each. Those
            of one reader on one slice are parts of one outline: areas add up, the largest diameter counts.

    Returns:
        The columns of `NODULE_COLUMNS`, nodules in the order in which the table first names them. Columns that the
        table does not have are null.
    """
    given = rois.with_columns(
        pl.lit(None, pl.Float64 if name in schema.NUMBER_COLUMNS else pl.String).alias(name)
        for name in (*NODULE_COLUMNS, schema.READER)
        if name not in rois.columns and name not in (schema.READERS, schema.SLICES, schema.DIAMETER_SPREAD)
    ).with_columns(
        pl.Series(_AREA, _measure_areas(rois), pl.Float64),
        pl.coalesce(pl.col(schema.READER), pl.int_range(pl.len()).over(_SLICE).cast(pl.String)),
    )
    of_reader = given.group_by(*_SLICE, schema.READER, maintain_order=True).agg(
        pl.col(_AREA).sum(),
        pl.col(schema.DIAMETER_MM).max(),
        pl.col(schema.CENTROID_X, schema.CENTROID_Y).mean(),
        pl.col(schema.SERIES_UID, schema.SOP_UID, schema.Z_MM, schema.DIAMETER_KIND).first(),
    )
    slices = of_reader.group_by(*_SLICE, maintain_order=True).agg(
        pl.col(_AREA).sum(),
        pl.col(schema.DIAMETER_MM).mean(),
        (pl.col(schema.DIAMETER_MM).max() - pl.col(schema.DIAMETER_MM).min()).alias(schema.DIAMETER_SPREAD),
        pl.col(schema.CENTROID_X, schema.CENTROID_Y).mean(),
        pl.col(schema.SERIES_UID, schema.SOP_UID, schema.Z_MM, schema.DIAMETER_KIND).first(),
    )
    largest = slices.group_by(*_NODULE, maintain_order=True).agg(
        pl.all().exclude(*_NODULE).get(pl.col(_AREA).arg_max()), pl.len().alias(schema.SLICES)
    )
    readers = (
        given.group_by(*_NODULE, schema.READER, maintain_order=True)
        .agg(pl.col(schema.RATING_COLUMNS).drop_nulls().first())
        .group_by(*_NODULE, maintain_order=True)
        .agg(pl.len().alias(schema.READERS), pl.col(schema.RATING_COLUMNS).mean())
    )
    return (
        largest.join(readers, on=_NODULE, how="left", maintain_order="left")
        .select(cs.float().round(_DIGITS), ~cs.float())
        .with_columns(pl.lit(None, pl.Float64).alias(name) for name in (schema.X_MM, schema.Y_MM))
        .select(NODULE_COLUMNS)
    )


def place_nodules(nodules: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Compute where nodules lie in the patient, in mm (LPS), from the headers of their slices.

    Args:
        nodules: The result of `summarise_nodules`.
        catalogue: Their slices; where no files were read, nothing changes.

    Returns:
        The same nodules with `x_mm`, `y_mm` and `z_mm` of their centroids.
    """
    if not catalogue.was_read:
        return nodules
    places_mm = [
        _find_place(catalogue, *row) for row in nodules[schema.SOP_UID, schema.CENTROID_X, schema.CENTROID_Y].rows()
    ]
    return nodules.with_columns(
        pl.Series(name, [place[axis] for place in places_mm], pl.Float64).round(_DIGITS)
        for axis, name in enumerate((schema.X_MM, schema.Y_MM, schema.Z_MM))
    )


def _find_place(catalogue: Catalogue, sop_uid: str, x_px: float, y_px: float) -> tuple[float, float, float]:
    plane = catalogue.find_plane(sop_uid)
    assert plane is not None, "rows lie on slices of the catalogue"
    x_mm, y_mm, z_mm = plane.to_patient(np.array([[x_px, y_px]]))[0].tolist()
    return x_mm, y_mm, z_mm


def _measure_areas(rois: pl.DataFrame) -> list[float]:
    """Return the area of each row's outline in pixels, or of its box where it has none."""
    xmin, ymin, xmax, ymax = (pl.col(name) for name in schema.BOX_COLUMNS)
    areas = rois.select(((xmax - xmin + 1) * (ymax - ymin + 1)).cast(pl.Float64)).to_series().to_list()
    if schema.POINTS_JSON in rois.columns:
        for row, text in enumerate(rois[schema.POINTS_JSON]):
            if (points_px := parse_points(text)) is not None:
                x, y = (points_px - points_px[0]).T
                areas[row] = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return areas
