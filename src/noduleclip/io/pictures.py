"""Pictures of nodules: the tissue at the resolution of its slice, with outline and box in the same pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import RejectCode, SliceError
from noduleclip.io.crops import make_crop
from noduleclip.io.outlines import compute_mean_outline
from noduleclip.io.roi_table import find_file

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Picture:
    """A square of tissue around the middle of a row's box.

    Attributes:
        hu: (S, S) Hounsfield units; air outside the slice.
        pixel_mm: Side of a pixel in mm.
        outlines_px: Columns and rows of each reader's outline; pixel centres at integers.
        mean_px: The line around what at least half of the readers outlined, usually one curve; empty where no outline
            is known.
        box_px: Left, top, right and bottom edge of the box.
        study_uid: StudyInstanceUID of the slice, for links into a viewer.
    """

    hu: NDArray[np.float32]
    pixel_mm: float
    outlines_px: tuple[Points, ...]
    mean_px: tuple[Points, ...]
    box_px: tuple[float, float, float, float]
    study_uid: str


def read_picture(
    row: Mapping[str, Any],
    roots: Sequence[str | Path],
    outlines_px: Sequence[NDArray[np.float64]],
    *,
    fov_mm: float,
    size_px: int,
) -> Picture:
    """Cut the picture of a row of an index from its slice.

    Args:
        row: The row's metadata.
        roots: Folders that relative paths start from.
        outlines_px: (V, 2) columns and rows of each reader's outline on the slice.
        fov_mm: Side of the square in mm.
        size_px: S.

    Raises:
        SliceError: The slice is not there, cannot be read, or has no pixel spacing.
    """
    from noduleclip.io.dicom.slice import read_ct_slice

    path = Path(find_file(str(row[schema.DICOM_PATH]), [Path(root) for root in roots] or [Path.cwd()]))
    ct = read_ct_slice(path, frame=row.get(schema.FRAME), assume_hu=True)
    row_mm, col_mm = row.get(schema.SPACING_ROW), row.get(schema.SPACING_COL)
    spacing_yx_mm = ct.spacing_yx_mm or (None if row_mm is None or col_mm is None else (row_mm, col_mm))
    if spacing_yx_mm is None:
        raise SliceError(RejectCode.NO_SPACING, f"{path}: no PixelSpacing in the header and none in the index")
    center_px = (row[schema.CENTER_X], row[schema.CENTER_Y])
    hu = make_crop(ct.hu, spacing_yx_mm, center_px, fov_mm=fov_mm, size_px=size_px)
    pixel_mm = fov_mm / size_px

    def place(x: float, y: float) -> tuple[float, float]:
        middle = (size_px - 1) / 2
        across, down = (x - center_px[0]) * spacing_yx_mm[1], (y - center_px[1]) * spacing_yx_mm[0]
        return round(across / pixel_mm + middle, 2), round(down / pixel_mm + middle, 2)

    def place_all(curves: Sequence[NDArray[np.float64]]) -> tuple[Points, ...]:
        return tuple(tuple(place(x, y) for x, y in points.tolist()) for points in curves)

    left, top, right, bottom = (row[name] for name in schema.BOX_COLUMNS)
    return Picture(
        hu=hu,
        pixel_mm=pixel_mm,
        outlines_px=place_all(outlines_px),
        mean_px=place_all(compute_mean_outline(outlines_px)),
        box_px=(*place(left - 0.5, top - 0.5), *place(right + 0.5, bottom + 0.5)),
        study_uid=ct.study_uid,
    )
