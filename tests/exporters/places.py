"""Slices of known geometry, and findings on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.exporters.finding_rows import make_finding
from noduleclip.exporters.findings import Finding
from noduleclip.io.dicom.derived_ct import make_derived_slice
from noduleclip.io.dicom.placement import read_placement

TILT = np.deg2rad(20.0)
ORIENTATIONS = {
    "straight": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "flipped": (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0),
    "rotated": (0.0, 1.0, 0.0, -1.0, 0.0, 0.0),
    "oblique": (float(np.cos(TILT)), 0.0, float(np.sin(TILT)), 0.0, 1.0, 0.0),
}
NOTHING: Mapping[str, Any] = {}
POSITION_MM, SPACING_YX_MM, SHAPE_YX = (-120.5, -98.25, 44.0), (0.5, 0.8), (60, 80)


def write_slice(
    path: Path,
    *,
    orientation: Sequence[float] = ORIENTATIONS["straight"],
    position_mm: Sequence[float] = POSITION_MM,
    key: str = "series",
    index: int = 0,
    hu: NDArray[np.int16] | None = None,
) -> Path:
    """Write a slice with rows 0.5 mm and columns 0.8 mm apart."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        make_derived_slice(
            np.full(SHAPE_YX, -800, np.int16) if hu is None else hu,
            key=key, index=index, patient_id="P1", position_mm=position_mm, orientation=orientation,
            spacing_yx_mm=SPACING_YX_MM, spacing_z_mm=2.0,
        )
    )  # fmt: skip
    return path


def find_on(
    path: Path, row: Mapping[str, Any] = NOTHING, *, rank: int | None = 1, outlines: Sequence[NDArray[np.float64]] = ()
) -> Finding:
    """Make a finding on a slice, with further columns."""
    return make_finding({**place(path), **row}, read_placement(path), path, outlines, rank=rank)


def place(path: Path, x: float = 31.25, y: float = 17.5) -> Mapping[str, Any]:
    """Return the columns of a nodule with a centroid beside the middle of its box."""
    box = dict(zip(schema.BOX_COLUMNS, (28.0, 15.0, 36.0, 21.0), strict=True))
    return {
        schema.DICOM_PATH: path.name, schema.PATIENT_ID: "P1", schema.CENTROID_X: x, schema.CENTROID_Y: y,
        schema.CENTER_X: 32.0, schema.CENTER_Y: 18.0, **box,
    }  # fmt: skip
