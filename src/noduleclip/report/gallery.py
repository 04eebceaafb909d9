"""The hits of a search as pictures: one self-contained page, or one picture for a paper."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from noduleclip import schema
from noduleclip.config import LUNG_WINDOW_HU, SOFT_TISSUE_WINDOW_HU
from noduleclip.errors import SliceError, UsageError
from noduleclip.io.pictures import Picture
from noduleclip.io.windows import encode_for_page, window_grey
from noduleclip.language.query import ParsedQuery
from noduleclip.report.criteria import LEGEND, format_criterion, list_scores
from noduleclip.report.estimates import compare_readers, format_counts, format_estimates, format_size
from noduleclip.report.page import format_polygon, render_page
from noduleclip.retrieval.criteria import CheckedCriterion, check_criteria
from noduleclip.workflows.pictures import NodulePictures
from noduleclip.workflows.search_answer import Answer

GALLERY_FOV_MM, GALLERY_SIZE_PX = 64.0, 224
_MOST_SLICES, _MOST_SLICES_OF_HIT = 240, 10  # of a page, 4 MB of real CT, and of a hit
_KEY_QUALITY, _SLICE_QUALITY = 90, 60  # of the slice that was embedded, and of others
SCALE_MM = 10.0
_TEMPLATE = "gallery.html.jinja"
_LINK_FIELDS = (
    "study_uid", schema.SERIES_UID, schema.SOP_UID, schema.PATIENT_ID, schema.DICOM_PATH, schema.NODULE_ID,
)  # fmt: skip
_LINK_SCHEMES = ("http", "https", "slicer", "weasis")
_SHEET_COLUMNS, _CAPTION_PX, _GAP_PX = 5, 18, 4


@dataclass(frozen=True)
class Shown:
    """A hit and its pictures.

    Attributes:
        hit: Its row of the Top-K.
        pictures: Its pictures, or why there are none.
    """

    hit: Mapping[str, Any]
    pictures: NodulePictures | SliceError

    @property
    def picture(self) -> Picture | None:
        """The picture of the slice that was embedded."""
        return self.pictures.picture if isinstance(self.pictures, NodulePictures) else None


@dataclass(frozen=True)
class Section:
    """The hits of one sentence, best first.

    Attributes:
        question: What was asked.
        description: How it was understood.
        parsed: What was understood.
        shown: The hits.
        reference: The nodule that they are to resemble, shown first.
    """

    question: str
    description: str
    parsed: ParsedQuery
    shown: Sequence[Shown]
    reference: Shown | None = None


def count_slices(hits: int) -> int:
    """Return how many slices of each of its hits a page shows, so that its size has a bound."""
    return max(1, min(_MOST_SLICES_OF_HIT, _MOST_SLICES // max(hits, 1)))


def make_section(
    answer: Answer, pictures: Sequence[NodulePictures | SliceError], reference: Shown | None = None
) -> Section:
    """Combine the hits of an answer with their pictures."""
    hits = answer.hits.iter_rows(named=True)
    shown = [Shown(hit, picture) for hit, picture in zip(hits, pictures, strict=True)]
    description = "; ".join(filter(None, (answer.ranking.description, answer.ranking.summary)))
    return Section(answer.ranking.question, description, answer.ranking.parsed, shown, reference)


def check_viewer_url(template: str) -> None:
    """Refuse a link template with unknown fields, or with a scheme that could run code.

    Raises:
        UsageError: Names what is allowed.
    """
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise UsageError(f"--viewer-url {template!r}: {error}") from error
    unknown = sorted(names - set(_LINK_FIELDS))
    if unknown:
        allowed = ", ".join(f"{{{name}}}" for name in _LINK_FIELDS)
        raise UsageError(f"--viewer-url has {{{unknown[0]}}}; known are {allowed}")
    if urlsplit(template).scheme not in _LINK_SCHEMES:
        raise UsageError(f"--viewer-url must begin with one of {', '.join(f'{name}:' for name in _LINK_SCHEMES)}")


def render_gallery(sections: Sequence[Section], command: str, viewer_url: str | None) -> str:
    """Return the page: no script, and no request to any network until a link is followed.

    Args:
        sections: The hits of each sentence.
        command: The command line of the search.
        viewer_url: Address of a slice in a viewer, with fields such as {study_uid}; None for no links.
    """
    described: list[dict[str, Any]] = [
        {
            "sentence": section.question,
            "reading": section.description,
            "cards": [
                _describe(shown, section.parsed, viewer_url)
                for shown in (*([section.reference] if section.reference else []), *section.shown)
            ],
        }
        for section in sections
    ]
    cards = [card for one in described for card in one["cards"]]
    is_estimated = any((card["estimated"] and card["size"]) or "estimate" in dict(card["criteria"]) for card in cards)
    return render_page(_TEMPLATE, sections=described, command=command, legend=LEGEND if is_estimated else "")


def _describe(shown: Shown, parsed: ParsedQuery, viewer_url: str | None) -> dict[str, Any]:
    hit, pictures = shown.hit, shown.pictures
    size = format_size(hit)
    scores = {name: hit[name] for name in list_scores(hit, parsed)}
    checked = check_criteria(parsed, hit) if schema.RANK in hit else ()
    card: dict[str, Any] = {
        "rank": f"#{hit[schema.RANK]}" if schema.RANK in hit else "reference",
        "size": None if size is None else f"{size} mm",
        "estimated": hit.get(schema.DIAMETER_MM) is None,
        "criteria": [(_name_standing(one), format_criterion(one)) for one in checked],
        "scores": {name: "-" if value is None else f"{value:.3f}" for name, value in scores.items()},
        "counts": format_counts(hit),
        "model": hit.get(schema.DESCRIPTION) or format_estimates(hit),
        "comparison": compare_readers(hit),
        "patient": hit.get(schema.PATIENT_ID) or "-",
        "nodule": hit.get(schema.NODULE_ID) or "",
        "path": hit[schema.DICOM_PATH],
        "row": hit.get(schema.ROW),
        "link": None,
        "problem": str(pictures) if isinstance(pictures, SliceError) else None,
    }
    if isinstance(pictures, NodulePictures):
        picture = pictures.picture
        card |= {
            "side": len(picture.hu),
            "slices": [_describe_slice(pictures, at) for at in range(len(pictures.slices))],
            "bar": round(SCALE_MM / picture.pixel_mm, 1),
            "link": viewer_url and _fill(viewer_url, {**hit, "study_uid": picture.study_uid}),
        }
    return card


def _name_standing(checked: CheckedCriterion) -> str:
    """Return the style of a criterion: that of an estimate claims nothing."""
    if checked.is_estimated:
        return "estimate"
    return {True: "yes", False: "no", None: "unknown"}[checked.satisfied]


def _describe_slice(pictures: NodulePictures, at: int) -> dict[str, Any]:
    picture, outlined = pictures.slices[at], pictures.outlined[at]
    is_key = at == pictures.key
    left, top, right, bottom = picture.box_px
    place = [f"slice {pictures.numbers[at]} of {pictures.count}"]
    if outlined.z_mm is not None:
        place.append(f"z {outlined.z_mm:.1f} mm")
    readers = len(outlined.outlines)
    return {
        "is_key": is_key,
        "place": ", ".join([*place, f"{readers} outline{'' if readers == 1 else 's'}"]),
        "images": [
            (name, encode_for_page(window_grey(picture.hu, window_hu), _KEY_QUALITY if is_key else _SLICE_QUALITY))
            for name, window_hu in (("lung window", LUNG_WINDOW_HU), ("soft-tissue window", SOFT_TISSUE_WINDOW_HU))
        ],
        "readers": [format_polygon(points) for points in picture.outlines_px] if readers > 1 else [],
        "mean": [format_polygon(points) for points in picture.mean_px],
        "box": (left + 0.5, top + 0.5, right - left, bottom - top),
    }


def _fill(template: str, values: Mapping[str, Any]) -> str:
    return template.format(**{name: quote(str(values.get(name) or ""), safe="") for name in _LINK_FIELDS})


def draw_contact_sheet(sections: Sequence[Section]) -> Image.Image:
    """Draw all hits in the lung window, each with rank, diameter, box and a bar of 10 mm: (Y, X) grey values.

    Raises:
        UsageError: No hit has a picture.
    """
    cells = [shown for section in sections for shown in section.shown]
    sides = {len(shown.picture.hu) for shown in cells if shown.picture is not None}
    if not sides:
        raise UsageError("--contact-sheet: no slice of a hit can be read; see --dicom-root")
    side = max(sides)
    columns = min(_SHEET_COLUMNS, len(cells))
    wide, high = side + _GAP_PX, side + _CAPTION_PX + _GAP_PX
    sheet = Image.new("L", (columns * wide + _GAP_PX, -(-len(cells) // columns) * high + _GAP_PX), 255)
    for number, shown in enumerate(cells):
        at = (_GAP_PX + number % columns * wide, _GAP_PX + number // columns * high)
        sheet.paste(_draw_cell(shown, side), at)
    return sheet


def _draw_cell(shown: Shown, side: int) -> Image.Image:
    cell = Image.new("L", (side, side + _CAPTION_PX), 255)
    pen, picture = ImageDraw.Draw(cell), shown.picture
    if picture is not None:
        cell.paste(Image.fromarray(window_grey(picture.hu, LUNG_WINDOW_HU)), (0, 0))
        pen.rectangle([float(edge) for edge in np.rint(picture.box_px)], outline=255)
        bar_px = SCALE_MM / picture.pixel_mm
        pen.line([(side - 6 - bar_px, side - 6), (side - 6, side - 6)], fill=255, width=2)
    else:
        pen.rectangle((0, 0, side - 1, side - 1), outline=160)
    size = format_size(shown.hit)
    caption = f"{shown.hit[schema.RANK]}   {'' if size is None else f'{size} mm'}"
    pen.text((2, side + 3), caption, fill=0, font=ImageFont.load_default(_CAPTION_PX - 6))
    return cell
