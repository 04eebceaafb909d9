"""HTML page of a prepared collection: counts, oddities, outlines on their slices. No script, no network."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from noduleclip import schema
from noduleclip.config import LUNG_WINDOW_HU
from noduleclip.errors import SliceError
from noduleclip.io.outlines import parse_points
from noduleclip.io.pictures import read_picture
from noduleclip.io.windows import encode_for_page, window_grey
from noduleclip.report.page import MODEL_COLOUR, PLAIN_COLOUR, format_polygon, inline_figure, render_page

_TEMPLATE: Final = "preparation.html.jinja"
_EXAMPLES: Final = 24
_FOV_MM: Final = 48.0
_SIZE_PX: Final = 192
_MAKERS: Final = 12
_THICKNESS_TOLERANCE: Final = 0.01


@dataclass(frozen=True)
class Example:
    """A nodule on its slice, with the outlines of all its readers there.

    Attributes:
        name: Patient and nodule.
        caption: Diameters of the readers, or why there is no picture.
        picture: Address of the picture; empty where the slice cannot be read.
        outlines: Points of each outline, as an SVG attribute.
    """

    name: str
    caption: str
    picture: str
    outlines: tuple[str, ...] = ()


def pick_examples(rois: pl.DataFrame, root: Path) -> list[Example]:
    """Show nodules spread evenly over the table, each on the slice with most readers.

    Args:
        rois: Rows of the ROI table.
        root: Folder that relative paths start from.
    """
    places = [schema.PATIENT_ID, schema.NODULE_ID]
    place = [name for name in (schema.DICOM_PATH, schema.FRAME) if name in rois.columns]
    slices = rois.with_row_index(schema.ROW).group_by(*places, *place, maintain_order=True)
    drawn = slices.agg(pl.col(schema.ROW), pl.col(schema.DIAMETER_MM).max().alias(schema.DIAMETER_MM))
    fullest = drawn.sort(
        pl.col(schema.ROW).list.len(), schema.DIAMETER_MM, descending=True, maintain_order=True
    ).unique(places, keep="first", maintain_order=True)
    nodules = fullest.sort(pl.col(schema.ROW).list.first())
    chosen = np.unique(np.linspace(0, nodules.height - 1, min(_EXAMPLES, nodules.height)).round().astype(int))
    return [_draw(rois, rows, root) for rows in nodules[chosen.tolist()][schema.ROW].to_list()]


def _draw(rois: pl.DataFrame, rows: Sequence[int], root: Path) -> Example:
    readers = [rois.row(row, named=True) for row in rows]
    first = readers[0]
    name = f"{first[schema.PATIENT_ID]} nodule {first[schema.NODULE_ID]}"
    known_mm = [reader[schema.DIAMETER_MM] for reader in readers if reader[schema.DIAMETER_MM] is not None]
    sizes = f"{', '.join(f'{one_mm:.1f}' for one_mm in known_mm)} mm" if known_mm else "no diameter"
    middle = {
        schema.CENTER_X: (first[schema.BBOX_XMIN] + first[schema.BBOX_XMAX]) / 2,
        schema.CENTER_Y: (first[schema.BBOX_YMIN] + first[schema.BBOX_YMAX]) / 2,
    }
    curves = [points for reader in readers if (points := parse_points(reader[schema.POINTS_JSON])) is not None]
    try:
        shown = read_picture({**first, **middle}, [root], curves, fov_mm=_FOV_MM, size_px=_SIZE_PX)
    except SliceError as error:
        return Example(name, f"no picture: {error.code}", "")
    outlines = tuple(format_polygon(points) for points in shown.outlines_px)
    return Example(name, sizes, encode_for_page(window_grey(shown.hu, LUNG_WINDOW_HU)), outlines)


def render_preparation(summary: Mapping[str, Any], rois: pl.DataFrame, root: Path) -> str:
    """Return the page.

    Args:
        summary: Content of `prepare.json`.
        rois: Rows of the ROI table.
        root: Folder that relative paths start from.
    """
    series: Sequence[Mapping[str, Any]] = summary["series"]
    makers = Counter(str(one[schema.MANUFACTURER] or "not stated") for one in series)
    return render_page(
        _TEMPLATE,
        report=summary,
        sizes=inline_figure(_plot_sizes(summary["sizes"])),
        spacings=inline_figure(_plot_spacings(series)),
        makers=makers.most_common(_MAKERS),
        others=max(0, len(makers) - _MAKERS),
        gaps=_compare_gaps(series),
        examples=pick_examples(rois, root),
        size_px=_SIZE_PX,
        fov_mm=_FOV_MM,
    )


def _compare_gaps(series: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the series whose slices lie as far apart as they are thick, closer, and farther."""
    counts: Counter[str] = Counter()
    for one in series:
        gap_mm, thickness_mm = one["gap_mm"], one[schema.SLICE_THICKNESS]
        if gap_mm is None or thickness_mm is None:
            counts["not known"] += 1
        elif abs(gap_mm - thickness_mm) <= _THICKNESS_TOLERANCE * thickness_mm:
            counts["as far apart as they are thick"] += 1
        else:
            counts["closer: they overlap" if gap_mm < thickness_mm else "farther: tissue between them is missing"] += 1
    return dict(counts)


def _plot_sizes(sizes: Mapping[str, int]) -> Figure:
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    bars = axes.bar(list(sizes), list(sizes.values()), color=MODEL_COLOUR)
    axes.bar_label(bars, fontsize=8)
    axes.set(xlabel="mean diameter of a nodule's readers on its largest slice, mm", ylabel="nodules")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _plot_spacings(series: Sequence[Mapping[str, Any]]) -> Figure:
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.hist([one[schema.SPACING_COL] for one in series], bins=20, color=MODEL_COLOUR)
    left.set(xlabel="pixel spacing, mm", ylabel="series")
    gaps = [(one[schema.SLICE_THICKNESS], one["gap_mm"]) for one in series]
    known = [(thick, gap) for thick, gap in gaps if thick is not None and gap is not None]
    right.plot(*zip(*known, strict=True) if known else ([], []), "o", color=MODEL_COLOUR, alpha=0.4)
    top = max([1.0, *(side for pair in known for side in pair)])
    right.plot([0, top], [0, top], color=PLAIN_COLOUR, linewidth=0.8)
    right.set(xlabel="slice thickness, mm", ylabel="distance of slices, mm")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure
