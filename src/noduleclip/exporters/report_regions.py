"""Regions of findings in structured reports: the circle of a diameter on the slice.

Source:
    DICOM PS3.3 C.18.6, whose coordinates count from the corner of the first pixel.
"""

from typing import Final

import numpy as np
from highdicom import sr
from numpy.typing import NDArray

from noduleclip.exporters.findings import Finding
from noduleclip.io.slice_plane import SlicePlane

_SAME_SPACING: Final = 1e-3


def make_region(finding: Finding) -> sr.ImageRegion:
    """Make a circle of the diameter around the centre, or a point where there is no diameter."""
    frames = None if finding.frame is None else [finding.frame]
    image = sr.SourceImageForRegion(finding.sop_class_uid, finding.sop_uid, frames)
    center = np.array(finding.center_px) + 0.5  # a report counts from the corner of the first pixel
    graphic, points = _draw_circle(center, finding.diameter_mm or 0.0, finding.plane)
    return sr.ImageRegion(graphic, points, image)


def _draw_circle(
    center: NDArray[np.float64], diameter_mm: float, plane: SlicePlane
) -> tuple[sr.GraphicTypeValues, NDArray[np.float64]]:
    """Return the circle of a diameter, the ellipse that it is in pixels that are no squares, or a point.

    A report holds no points beside the image: a circle whose every end lies there becomes a point.
    """
    row_mm, column_mm = plane.spacing_yx_mm
    across, down = diameter_mm / 2 / column_mm, diameter_mm / 2 / row_mm
    ends = center + np.array([[-across, 0.0], [across, 0.0], [0.0, -down], [0.0, down]])
    is_inside = ((ends >= 0) & (ends <= plane.shape_yx[::-1])).all(axis=1)
    if diameter_mm > 0 and abs(row_mm / column_mm - 1) > _SAME_SPACING and is_inside.all():
        return sr.GraphicTypeValues.ELLIPSE, ends if across > down else ends[[2, 3, 0, 1]]
    if diameter_mm > 0 and abs(row_mm / column_mm - 1) <= _SAME_SPACING and is_inside.any():
        return sr.GraphicTypeValues.CIRCLE, np.array([center, ends[is_inside][-1]])
    return sr.GraphicTypeValues.POINT, center[None]
