"""Outlines of readers: their texts, and the share of the readers whose outline contains each pixel of a crop."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from noduleclip import schema
from noduleclip.config import MAX_SPACING_MM, MIN_SPACING_MM
from noduleclip.io.nodules import Nodules

FULL_SHARE = 255
RIM_POINTS = 48
_ANGLES = np.arange(RIM_POINTS) * (2 * np.pi / RIM_POINTS)
_DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])
_FINE = 4
_SAMPLES, _MOST_SAMPLES = 2, 256  # of a mean outline: in a pixel, and along a side
_MOST_POINTS = 20_000
MOST_CHARACTERS = 1_000_000
_MOST_CHARACTERS_OF_NODULE = 1 << 26
OUTLINES = "outlines"  # of a slice, in the text of a nodule
_FARTHEST_PX = 1e5


@dataclass(frozen=True)
class SliceOutlines:
    """The outlines of a nodule on one slice.

    Attributes:
        dicom_path: File of the slice, as the table has it.
        frame: Frame of a multi-frame file, from 1; None for other files.
        z_mm: Position of the slice; None where the table has none.
        outlines: (V, 2) columns and rows of each outline, 0-based pixels.
    """

    dicom_path: str
    frame: int | None
    z_mm: float | None
    outlines: tuple[NDArray[np.float64], ...]


def parse_slices(text: str | None) -> tuple[SliceOutlines, ...]:
    """Parse the slices of a nodule, as `collapse_nodules` writes them; none where the text is of another form."""
    if text is None or len(text) > _MOST_CHARACTERS_OF_NODULE:
        return ()
    try:
        values = json.loads(text)
        return tuple(_parse_slice(one) for one in values)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return ()


def parse_row_slices(row: Mapping[str, Any], text: str | None, *, is_of_nodules: bool) -> tuple[SliceOutlines, ...]:
    """Parse the slices on which the nodule of a row was outlined.

    Args:
        row: The row's file, and where it has them, its frame and the z of its slice.
        text: Its outlines as the table or the index has them; None where there are none.
        is_of_nodules: Whether the text is of all slices of a nodule, else one outline.

    Returns:
        The slices by z where it is known, else in the order of the table; one where a row is an outline.
    """
    slices = parse_slices(text) if is_of_nodules else ()
    if slices:
        return slices
    points, number = parse_points(text), row.get(schema.FRAME)
    frame = int(number) if number is not None and math.isfinite(number) else None
    return (SliceOutlines(row[schema.DICOM_PATH], frame, row.get(schema.Z_MM), () if points is None else (points,)),)


def _parse_slice(values: dict[str, Any]) -> SliceOutlines:
    path, frame, z_mm = values[schema.DICOM_PATH], values[schema.FRAME], values[schema.Z_MM]
    if not isinstance(path, str) or not (frame is None or type(frame) is int):
        raise TypeError("no slice")
    outlines = tuple(points for one in values[OUTLINES] if (points := _as_points(one)) is not None)
    return SliceOutlines(path, frame, None if z_mm is None else float(z_mm), outlines)


def parse_points(text: str | None) -> NDArray[np.float64] | None:
    """Parse an outline written as `[[x, y], …]`, 0-based pixels.

    Returns:
        (V, 2) columns and rows, V at least 3; None where the text is no such outline.
    """
    if text is None or len(text) > MOST_CHARACTERS:
        return None
    try:
        return _as_points(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _as_points(values: Any) -> NDArray[np.float64] | None:
    try:
        points = np.array(values, np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    if points.ndim != 2 or points.shape[1] != 2 or not 3 <= len(points) <= _MOST_POINTS:
        return None
    return points if bool((np.abs(points) < _FARTHEST_PX).all()) else None


def draw_outline(
    points_xy_px: NDArray[np.float64],
    spacing_yx_mm: tuple[float, float],
    center_xy_px: tuple[float, float],
    *,
    fov_mm: float,
    size_px: int,
) -> NDArray[np.float64]:
    """Fill an outline on the grid of `make_crop`; pixels on the line count as inside.

    Args:
        points_xy_px: (V, 2) columns and rows of the slice, pixel centres at integers.
        spacing_yx_mm: Distance of rows, then of columns, in mm.
        center_xy_px: Centre of the crop as (column, row).
        fov_mm: Side of the crop in mm.
        size_px: Side of the crop in pixels.

    Returns:
        (size_px, size_px) share of each pixel that is covered, in steps of 1/16.
    """
    fine_px = size_px * _FINE
    per_pixel = np.array([spacing_yx_mm[1], spacing_yx_mm[0]]) * fine_px / fov_mm
    fine = (points_xy_px - np.array(center_xy_px)) * per_pixel + (fine_px - 1) / 2
    canvas = Image.new("1", (fine_px, fine_px))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in fine], fill=1, outline=1)
    covered = np.asarray(canvas, np.float64).reshape(size_px, _FINE, size_px, _FINE)
    return np.asarray(covered.mean(axis=(1, 3)))


@dataclass(frozen=True)
class Outlines:
    """The outlines of N nodules in the frame of their crops.

    Attributes:
        shares: (N, S, S) share of the readers whose outline contains a pixel, times 255.
        known: (N,) whether a nodule has any outline.
        hull_points_mm: (N, R, V, 2) float32, the outermost points of each reader's outline in V directions, as (x, y)
            in mm from the middle of the crop; NaN where there is none. The largest distance between two of them is that
            between two points of the outline, to one part in 400.
    """

    shares: NDArray[np.uint8]
    known: NDArray[np.bool_]
    hull_points_mm: NDArray[np.float32]


def find_rim(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outermost points (V, 2) of (P, 2) in V directions all around; points may repeat."""
    return np.asarray(points_mm[np.argmax(points_mm @ _DIRECTIONS, axis=0)])


def compute_mean_outline(outlines_px: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Compute the line around what at least half of the readers outlined.

    Args:
        outlines_px: (V, 2) columns and rows of each reader's outline on one slice.

    Returns:
        (V, 2) closed curves without their first point at the end, usually one; the outline itself where there is one
        reader alone.
    """
    if len(outlines_px) < 2:
        return list(outlines_px)
    import contourpy

    every = np.concatenate(outlines_px)
    low = every.min(axis=0) - 1
    side_px = float((every.max(axis=0) - low).max()) + 1
    step_px = max(1 / _SAMPLES, side_px / _MOST_SAMPLES)  # between samples of the share covered
    samples = int(np.ceil(side_px / step_px)) + 1
    votes = np.zeros((samples * _FINE, samples * _FINE), np.int16)
    for points in outlines_px:
        fine = (points - low) * _FINE / step_px + _FINE / 2
        canvas = Image.new("1", votes.shape)
        ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in fine], fill=1, outline=1)
        votes += np.asarray(canvas)
    covered = (2 * votes >= len(outlines_px)).reshape(samples, _FINE, samples, _FINE).mean(axis=(1, 3))
    smooth = np.pad(covered, 2)  # without the steps of the canvas
    smooth = smooth[:-2] + 2 * smooth[1:-1] + smooth[2:]
    smooth = smooth[:, :-2] + 2 * smooth[:, 1:-1] + smooth[:, 2:]
    lines = contourpy.contour_generator(z=smooth).lines(smooth.dtype.type(8))
    return [(np.asarray(line[:-1], np.float64) - 1) * step_px + low for line in lines]


def draw_nodules(
    frame: pl.DataFrame,
    nodules: Nodules,
    *,
    fov_mm: float,
    size_px: int,
    on_nodule: Callable[[], None] = lambda: None,
) -> Outlines:
    """Draw the outlines of all readers of each nodule in the frame of the nodule's crop.

    Args:
        frame: Checked ROI rows.
        nodules: Their nodules.
        fov_mm: Side of the crop in mm, margin included.
        size_px: Side of the crop in pixels, margin included.
        on_nodule: Called after each nodule.

    Returns:
        The outlines; rows without outline or without a pixel spacing in the table are ignored.
    """
    shares = np.zeros((len(nodules), size_px, size_px), np.uint8)
    known = np.zeros(len(nodules), bool)
    rims = np.full((*nodules.diameters_mm.shape, RIM_POINTS, 2), np.nan, np.float32)
    if not {schema.POINTS_JSON, schema.SPACING_ROW, schema.SPACING_COL} <= set(frame.columns):
        return Outlines(shares, known, rims)
    texts = frame[schema.POINTS_JSON].to_list()
    centers = frame.select(schema.CENTER_X, schema.CENTER_Y).rows()
    spacings = frame.select(schema.SPACING_ROW, schema.SPACING_COL).rows()
    for nodule, (row, members) in enumerate(zip(nodules.rows, nodules.members, strict=True)):
        drawn = []
        for reader, member in enumerate(members):
            spacing = spacings[member]
            if not _is_spacing(spacing) or (points := parse_points(texts[member])) is None:
                continue
            drawn.append(draw_outline(points, spacing, centers[row], fov_mm=fov_mm, size_px=size_px))
            rims[nodule, reader] = find_rim((points - np.array(centers[row])) * np.array([spacing[1], spacing[0]]))
        if drawn:
            shares[nodule] = np.rint(np.mean(drawn, axis=0) * FULL_SHARE)
            known[nodule] = True
        on_nodule()
    return Outlines(shares, known, rims)


def _is_spacing(spacing: Sequence[float | None]) -> bool:
    return all(mm is not None and MIN_SPACING_MM <= mm <= MAX_SPACING_MM for mm in spacing)
