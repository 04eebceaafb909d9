"""COCO JSON with its pictures: each slice as PNG in the lung window, each finding as an annotation on it.

COCO counts from the edges of pixels: the first one reaches from 0 to 1. Outlines of a table lie on the middles of
pixels, so half a pixel is added to their places.
"""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from noduleclip import __version__, schema
from noduleclip.config import LUNG_WINDOW_HU
from noduleclip.errors import SliceError
from noduleclip.exporters.file_names import name_image_folder
from noduleclip.exporters.findings import Export, ExportFile, Finding
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.io.windows import window_grey

CATEGORY: Final = "nodule"
_DIGITS: Final = 2
_SCORE_DIGITS: Final = 6
_LEAST_POINTS: Final = 3

Box = tuple[float, float, float, float]


def render(export: Export, path: Path) -> Iterator[ExportFile]:
    """Make the picture of each slice, then the file; a finding whose slice cannot be decoded is left out."""
    folder = name_image_folder(path)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    slices: dict[tuple[Path, int | None], list[Finding]] = {}
    for finding in export.findings:
        slices.setdefault((finding.file, finding.frame), []).append(finding)
    for findings in slices.values():
        number = len(images) + 1
        try:
            picture = _draw_slice(findings[0])
        except SliceError as error:
            for finding in findings:
                export.on_left_out(finding, error)
            continue
        file = folder / f"{number:04d}.png"
        yield ExportFile(file, picture)
        images.append(_describe_image(number, f"{folder.name}/{file.name}", findings[0]))
        annotations += [{"image_id": number, **_annotate(finding)} for finding in findings]
    annotations = [{"id": number, **one} for number, one in enumerate(annotations, 1)]
    values = {
        "info": {"description": _describe_source(export), "version": __version__},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": CATEGORY, "supercategory": ""}],
    }
    yield ExportFile(path, json.dumps(values, ensure_ascii=False).encode(), len(annotations))


def _draw_slice(finding: Finding) -> bytes:
    ct = read_ct_slice(finding.file, frame=finding.frame, assume_hu=True)
    file = io.BytesIO()
    Image.fromarray(window_grey(ct.hu, LUNG_WINDOW_HU)).save(file, format="PNG")
    return file.getvalue()


def _describe_source(export: Export) -> str:
    asked = "; ".join(question.text for question in export.source.questions if question.text)
    return f"noduleclip, model {export.source.model_id}: {asked}"


def _describe_image(number: int, name: str, finding: Finding) -> dict[str, object]:
    rows, columns = finding.plane.shape_yx
    return {
        "id": number,
        "file_name": name,
        "width": columns,
        "height": rows,
        schema.PATIENT_ID: finding.patient_id,
        schema.SERIES_UID: finding.series_uid,
        schema.SOP_UID: finding.sop_uid,
        schema.FRAME: finding.frame,
        schema.SPACING_ROW: finding.plane.spacing_yx_mm[0],
        schema.SPACING_COL: finding.plane.spacing_yx_mm[1],
    }


def _annotate(finding: Finding) -> dict[str, object]:
    size_xy = finding.plane.shape_yx[::-1]
    outlines = (points for points in finding.mean_outline_px if len(points) >= _LEAST_POINTS)
    polygons = [np.clip(points + 0.5, 0, size_xy) for points in outlines]
    box, box_from = _choose_box(finding, polygons)
    box = _clip_box(box, size_xy)
    area = sum(map(_measure_area, polygons)) if polygons else box[2] * box[3]
    return {
        "category_id": 1,
        "bbox": [round(side, _DIGITS) for side in box],
        "area": round(area, _DIGITS),
        "segmentation": [np.round(points, _DIGITS).ravel().tolist() for points in polygons],
        "iscrowd": 0,
        "attributes": {**_list_attributes(finding), "bbox_from": box_from},
    }


def _choose_box(finding: Finding, polygons: Sequence[NDArray[np.float64]]) -> tuple[Box, str]:
    """Return left, top, width and height in pixels, and what they come from.

    The box of a table that names points is one pixel: there the diameter says how large the nodule is.
    """
    if polygons:
        every = np.concatenate(polygons)
        (left, top), (right, bottom) = every.min(axis=0).tolist(), every.max(axis=0).tolist()
        return (left, top, right - left, bottom - top), "outline"
    if finding.box_px is not None:
        left, top, right, bottom = finding.box_px
        if right > left or bottom > top:
            return (left, top, right - left + 1, bottom - top + 1), "table"
    x, y = (part + 0.5 for part in finding.center_px)
    height, width, box_from = 1.0, 1.0, "point"
    if finding.diameter_mm is not None:
        height, width = (finding.diameter_mm / side_mm for side_mm in finding.plane.spacing_yx_mm)
        box_from = "estimated diameter" if finding.is_estimated else "diameter"
    return (x - width / 2, y - height / 2, width, height), box_from


def _clip_box(box: Box, size_xy: tuple[int, int]) -> Box:
    """Return the part of a box that lies on the picture."""
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], size_xy[0]), min(box[1] + box[3], size_xy[1])
    return left, top, max(right - left, 0.0), max(bottom - top, 0.0)


def _measure_area(points: NDArray[np.float64]) -> float:
    """Return the area of a polygon (V, 2) in pixels."""
    x, y = points.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _list_attributes(finding: Finding) -> dict[str, object]:
    """Return what is known of a finding as texts, numbers and booleans; what is not known is left out."""
    known = {
        **finding.extra,
        schema.RANK: finding.rank or None,
        schema.QUERY: finding.query or None,
        schema.ROW: finding.row,
        schema.PATIENT_ID: finding.patient_id or None,
        schema.NODULE_ID: finding.nodule_id or None,
        schema.DIAMETER_MM: finding.measured_mm,
        schema.DIAMETER_KIND: finding.diameter_kind or None,
        schema.ESTIMATED_DIAMETER: finding.estimated_mm,
        schema.ESTIMATED_LOW: finding.low_mm,
        schema.ESTIMATED_HIGH: finding.high_mm,
        schema.VOLUME_MM3: finding.volume_mm3,
        schema.SATISFIES: finding.satisfies,
        schema.DESCRIPTION: finding.description or None,
        **{name: round(value, _SCORE_DIGITS) for name, value in finding.scores.items()},
        **finding.ratings,
        **{schema.ESTIMATED_PREFIX + name: value for name, value in finding.estimated_ratings.items()},
    }
    return {name: value for name, value in known.items() if value is not None}
