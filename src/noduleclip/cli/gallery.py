"""Files of `--html` and `--contact-sheet`: the hits of a search as pictures."""

from collections.abc import Sequence

from noduleclip import schema
from noduleclip.cli.pictures import PictureOptions, read_pictures
from noduleclip.errors import SliceError, UsageError
from noduleclip.io.artefacts import replacing, write_text
from noduleclip.io.index.base import Index
from noduleclip.report.console import log_info
from noduleclip.report.gallery import (
    GALLERY_FOV_MM,
    GALLERY_SIZE_PX,
    Shown,
    check_viewer_url,
    count_slices,
    draw_contact_sheet,
    make_section,
    render_gallery,
)
from noduleclip.workflows.output_lock import check_file
from noduleclip.workflows.pictures import read_place
from noduleclip.workflows.search_answer import Answer
from noduleclip.workflows.similar import Reference

_MOST_HITS = 500


def check_gallery(options: PictureOptions, *, replace: bool) -> None:
    """Check the output files before the search.

    Raises:
        UsageError: A file to write cannot be written or is there and may not be replaced, or links cannot be made.
    """
    if options.html is not None:
        check_file("--html", options.html, (".html", ".htm"), replace=replace)
    if options.contact_sheet is not None:
        check_file("--contact-sheet", options.contact_sheet, (".png",), replace=replace)
    if options.viewer_url is not None:
        check_viewer_url(options.viewer_url)


def _show_reference(index: Index, reference: Reference | None, options: PictureOptions) -> Shown | None:
    """Return the nodule that the hits are to resemble; one outside the index has a place instead of a box."""
    if reference is None:
        return None
    row = dict(reference.facts)
    if schema.ROW in row:
        found = index.read_rows([row[schema.ROW]])
        return Shown(row, read_pictures(index, found, options, fov_mm=GALLERY_FOV_MM, size_px=GALLERY_SIZE_PX)[0])
    x, y = row[schema.CENTER_X], row[schema.CENTER_Y]
    row |= dict(zip(schema.BOX_COLUMNS, (x, y, x, y), strict=True))
    try:
        return Shown(row, read_place(row, fov_mm=GALLERY_FOV_MM, size_px=GALLERY_SIZE_PX))
    except SliceError as error:
        return Shown(row, error)


def refuse_many_hits(answers: Sequence[Answer]) -> None:
    """Refuse answers with more hits than a page shows.

    Raises:
        UsageError: There are more.
    """
    hits = sum(answer.hits.height for answer in answers)
    if hits > _MOST_HITS:
        raise UsageError(f"{hits:,} hits are more than the {_MOST_HITS} that a page shows; ask for fewer with --topk")


def write_gallery(index: Index, answers: Sequence[Answer], options: PictureOptions, command: str) -> None:
    """Write the page and the contact sheet that were asked for, as `check_gallery` allows.

    Raises:
        UsageError: There are too many hits for a page, or none has a picture for a sheet.
        OutputError: A file cannot be written.
    """
    refuse_many_hits(answers)
    hits = sum(answer.hits.height for answer in answers)
    sections = []
    for answer in answers:
        pictures = read_pictures(
            index,
            answer.hits,
            options,
            fov_mm=GALLERY_FOV_MM,
            size_px=GALLERY_SIZE_PX,
            most_slices=count_slices(hits) if options.html is not None else 1,
        )
        reference = _show_reference(index, answer.ranking.reference, options)
        sections.append(make_section(answer, pictures, reference))
    if options.html is not None:
        write_text(options.html, render_gallery(sections, command, options.viewer_url))
        log_info(f"{hits} hits in {options.html}")
    if options.contact_sheet is not None:
        sheet = draw_contact_sheet(sections)
        with replacing(options.contact_sheet) as temporary:
            sheet.save(temporary, format="PNG")
        log_info(f"contact sheet: {options.contact_sheet}")
