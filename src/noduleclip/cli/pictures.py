"""Pictures of hits for the commands: options, previews in a terminal, slices that cannot be read."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.errors import SliceError
from noduleclip.io.index.base import Index
from noduleclip.io.own_indexes import SliceFolders, choose_slice_folders
from noduleclip.report.console import data_console, log_info, log_warning, progress
from noduleclip.report.hit_table import PictureColumn, find_picture_room
from noduleclip.workflows.pictures import NodulePictures, load_pictures
from noduleclip.workflows.search_answer import Answer


@dataclass(frozen=True)
class PictureOptions:
    """Whether hits are shown as pictures, and where their slices lie.

    Attributes:
        dicom_root: Folder that relative DICOM paths start from; None = those that the index names.
        preview: Whether the table on a terminal has a picture of each hit.
        html: Page to write.
        contact_sheet: Picture of all hits to write.
        viewer_url: Address of a slice in a viewer, for links in the page.
        folders: Where the slices may be read, once that is settled.
    """

    dicom_root: Path | None = None
    preview: bool = False
    html: Path | None = None
    contact_sheet: Path | None = None
    viewer_url: str | None = None
    folders: SliceFolders | None = None

    @property
    def wanted(self) -> bool:
        """Whether any picture was asked for."""
        return self.preview or self.writes_files

    @property
    def given_folders(self) -> tuple[Path, ...]:
        """Folders of `--dicom-root`."""
        return () if self.dicom_root is None else (self.dicom_root,)

    @property
    def writes_files(self) -> bool:
        """Whether a page or a contact sheet is written."""
        return self.html is not None or self.contact_sheet is not None


def read_pictures(
    index: Index, hits: pl.DataFrame, options: PictureOptions, *, fov_mm: float, size_px: int, most_slices: int = 1
) -> list[NodulePictures | SliceError]:
    """Cut the pictures of each hit from its slices.

    Args:
        index: The index of the hits.
        hits: Rows with all metadata that the index holds of them; a row may come up often and is read once.
        options: How hits are shown as pictures.
        fov_mm: Side of a picture in mm.
        size_px: Side of a picture in pixels.
        most_slices: Most slices of a nodule; 1 = the one that was embedded.

    Returns:
        The pictures of each hit, or the reason why there are none.

    Raises:
        UsageError: The index holds no boxes.
    """
    folders = options.folders or choose_slice_folders(index, options.given_folders)
    with progress("reading slices", hits[schema.ROW].n_unique(), "hits") as advance:
        return load_pictures(
            index, hits, folders, fov_mm=fov_mm, size_px=size_px, most_slices=most_slices, on_picture=advance
        )


def make_previews(
    index: Index, results: Sequence[Answer], options: PictureOptions, form: str | None
) -> list[PictureColumn] | None:
    """Make the pictures beside the tables, where they were asked for and the window has room.

    Args:
        index: The index of the hits.
        results: One answer per sentence.
        options: Whether pictures are wanted.
        form: Format of stdout; None = only paths.

    Returns:
        The pictures of each answer; None where there are none.
    """
    if not options.preview:
        return None
    console = data_console()
    if form != "table" or not console.is_terminal:
        log_info("note: --preview shows pictures in a table on a terminal")
        return None
    from noduleclip.report import preview

    hits = pl.concat([answer.hits for answer in results])
    room, least_room = find_picture_room(results)
    known = [pl.col(name) for name in (schema.DIAMETER_MM, schema.ESTIMATED_DIAMETER) if name in hits.columns]
    layout = preview.choose_layout(room, least_room, hits.select(pl.coalesce(known)).to_series())
    if layout is None:
        needed = console.width - least_room + min(preview.SIDES)
        log_info(f"note: a window of {console.width} columns has no room for pictures; {needed} would do")
        return None
    surface, graphics = preview.choose_surface(console), preview.find_graphics(console)
    size_px = layout.side * (1 if graphics is None else preview.PIXELS_PER_CHARACTER)
    pictures = read_pictures(index, hits, options, fov_mm=layout.fov_mm, size_px=size_px)
    reasons = [found for found in pictures if isinstance(found, SliceError)]
    if reasons:
        log_warning(f"{len(reasons)} of {len(pictures)} pictures cannot be shown; first: {reasons[0]}")
    if len(reasons) == len(pictures):
        return None
    cells = iter(
        [
            "-" if isinstance(found, SliceError) else preview.draw_picture(found.picture, layout, surface, graphics)
            for found in pictures
        ]
    )
    return [
        PictureColumn(layout.title, layout.width, list(itertools.islice(cells, answer.hits.height)))
        for answer in results
    ]
