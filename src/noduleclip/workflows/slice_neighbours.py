"""Slices to step to from one of them: those of its reconstruction, among the files of a folder or the frames of a file.

The rule is that of `prepare`, docs/decisions/0030-reconstructions.md.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from noduleclip import schema
from noduleclip.config import MAX_PIXELS
from noduleclip.importers.series_slices import arrange_stacks
from noduleclip.importers.slice_columns import PATH, POSITION, make_slice_frame
from noduleclip.importers.slice_rows import read_slice_rows
from noduleclip.importers.stacks import SAME_PLACE_MM, Stack, make_stacks, measure_distances, rank_stacks
from noduleclip.io.dicom.slice import no_warnings

MOST_FILES: Final = 4096  # of a folder; a larger one is not read


@dataclass(frozen=True)
class PlacedSlice:
    """Place of an axial CT image in the patient.

    Attributes:
        path: Its file.
        frame: Number of its frame, from 1; None in a file of one image.
        z_mm: z of ImagePositionPatient.
    """

    path: Path
    frame: int | None
    z_mm: float


def read_slices(place: Path, allows: Callable[[str], bool] = lambda _: True) -> pl.DataFrame:
    """Read the places of the slices in a folder, or in a file of several frames; no pixels.

    Args:
        place: Folder, of which neither folders below nor files of several frames are read, or a file.
        allows: Whether a file may be read.

    Returns:
        A row of the columns of `slice_columns` for each slice that has a place; none of a folder with more than
        `MOST_FILES` files.
    """
    files = [str(place)] if place.is_file() else [file for file in _list_files(place) if allows(file)]
    with no_warnings():
        rows = [row for file in files for row in read_slice_rows((file, 0, 0), MAX_PIXELS)]
    found = make_slice_frame(rows).filter(pl.col(POSITION[2]).is_not_null(), pl.col(schema.REJECT_CODE).is_null())
    return found if place.is_file() else found.filter(pl.col(schema.FRAME).is_null())


def find_stack(slices: pl.DataFrame, path: Path, frame: int | None) -> list[PlacedSlice]:
    """Find the slices of the reconstruction of an image, and those that continue it, from the feet to the head.

    Args:
        slices: Slices of its folder or file.
        path: File of the image.
        frame: Its frame.

    Returns:
        One slice per position, the image itself among them; none where it is not among `slices`.
    """
    is_own = (pl.col(PATH) == str(path)) & (pl.col(schema.FRAME).fill_null(1) == (frame or 1))
    own = slices.filter(is_own)
    if own.is_empty():
        return []
    stacks = make_stacks(slices.filter(pl.col(schema.SERIES_UID) == own[0, schema.SERIES_UID]))
    holder = next(stack for stack in stacks if not stack.frame.filter(is_own).is_empty())
    alike = [stack for stack in stacks if stack.group == holder.group]
    others = rank_stacks([stack for stack in stacks if stack.group != holder.group])
    joined = arrange_stacks([_fill_up(holder, alike), *others]).frame
    places = joined.select(PATH, schema.FRAME, POSITION[2]).iter_rows()
    return [PlacedSlice(Path(file), number, z_mm) for file, number, z_mm in places]


def _fill_up(holder: Stack, alike: Sequence[Stack]) -> Stack:
    """Return a stack with slices of others at places where it has none: a slice that is there twice has two stacks."""
    for stack in alike:
        is_free = measure_distances(stack.heights_mm, holder.heights_mm) > SAME_PLACE_MM
        heights_mm = np.concatenate([holder.heights_mm, stack.heights_mm[is_free]])
        order = np.argsort(heights_mm)
        frame = pl.concat([holder.frame, stack.frame.filter(is_free)])[order.tolist()]
        holder = replace(holder, frame=frame, heights_mm=heights_mm[order])
    return holder


def _list_files(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            files = [entry.path for entry in itertools.islice(entries, MOST_FILES + 1) if entry.is_file()]
    except OSError:
        return []
    return sorted(files) if len(files) <= MOST_FILES else []
