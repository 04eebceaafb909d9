"""The table of nodules: one row per nodule of a ROI table, over its readers and slices."""

import numpy as np
import polars as pl
import polars.selectors as cs

from noduleclip import schema
from noduleclip.importers.catalogue import Catalogue
from noduleclip.importers.slice_names import name_slice
from noduleclip.io.consensus import collapse_nodules
from noduleclip.io.slice_plane import SlicePlane

NODULE_COLUMNS = (
    schema.PATIENT_ID,
    schema.NODULE_ID,
    schema.SERIES_UID,
    schema.READERS,
    schema.SLICES,
    schema.DIAMETER_MM,
    schema.DIAMETER_SPREAD,
    schema.DIAMETER_KIND,
    schema.VOLUME_MM3,
    schema.DICOM_PATH,
    schema.SOP_UID,
    schema.CENTROID_X,
    schema.CENTROID_Y,
    schema.X_MM,
    schema.Y_MM,
    schema.Z_MM,
    *schema.RATING_COLUMNS,
)
_DIGITS = 3


def summarise_nodules(rois: pl.DataFrame) -> pl.DataFrame:
    """Return a row per nodule: those of an index of nodules, see `collapse_nodules`.

    Args:
        rois: Rows of a ROI table, a curve each.

    Returns:
        The columns of `NODULE_COLUMNS`, and `frame` where the table has it; nodules in the order in which the table
        first names them; the position is that of the key slice. Columns that the table does not have are null.
    """
    nodules = collapse_nodules(rois.drop(schema.POINTS_JSON, strict=False))
    sizes = pl.col(schema.READER_DIAMETERS)
    absent = [name for name in NODULE_COLUMNS if name not in nodules.columns]
    return (
        nodules.with_columns(
            pl.lit(None, pl.Float64 if name in schema.NUMBER_COLUMNS else pl.String).alias(name) for name in absent
        )
        .with_columns(
            (sizes.list.max() - sizes.list.min()).alias(schema.DIAMETER_SPREAD),
            *(pl.lit(None, pl.Float64).alias(name) for name in (schema.X_MM, schema.Y_MM)),
        )
        .select(*NODULE_COLUMNS, *([pl.col(schema.FRAME).cast(pl.Int64)] if schema.FRAME in rois.columns else []))
        .with_columns(cs.float().round(_DIGITS))
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
    frames = nodules[schema.FRAME].fill_null(1) if schema.FRAME in nodules.columns else [1] * nodules.height
    names = [name_slice(sop_uid, frame) for sop_uid, frame in zip(nodules[schema.SOP_UID], frames, strict=True)]
    planes = {name: catalogue.find_plane(name) for name in set(names)}
    places = zip(names, nodules[schema.CENTROID_X], nodules[schema.CENTROID_Y], strict=True)
    places_mm = [_find_place(planes[name], x_px, y_px) for name, x_px, y_px in places]
    return nodules.with_columns(
        pl.Series(name, [place[axis] for place in places_mm], pl.Float64).round(_DIGITS)
        for axis, name in enumerate((schema.X_MM, schema.Y_MM, schema.Z_MM))
    )


def _find_place(plane: SlicePlane | None, x_px: float, y_px: float) -> tuple[float, float, float]:
    assert plane is not None, "rows lie on slices of the catalogue"
    x_mm, y_mm, z_mm = plane.to_patient(np.array([[x_px, y_px]]))[0].tolist()
    return x_mm, y_mm, z_mm
