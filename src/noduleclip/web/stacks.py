"""The slices of a nodule, and their neighbours in the same series, in the order in which they lie in the patient."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.io.index.base import Index
from noduleclip.io.outlines import compute_mean_outline
from noduleclip.io.own_indexes import SliceFolders
from noduleclip.io.roi_table import find_file
from noduleclip.workflows.pictures import PICTURE_COLUMNS, with_key_slice
from noduleclip.workflows.slice_neighbours import PlacedSlice, find_stack, read_slices

_KEPT_FOLDERS, _KEPT_STACKS = 16, 64


@dataclass(frozen=True)
class StackSlice:
    """A slice to step to.

    Attributes:
        path: Its file.
        frame: Its frame, from 1; None in a file of one image.
        z_mm: Its position, where it is known.
        outlines_px: (V, 2) columns and rows of each reader's outline on it.
    """

    path: Path
    frame: int | None
    z_mm: float | None
    outlines_px: tuple[NDArray[np.float64], ...] = ()

    @property
    def place(self) -> tuple[Path, int]:
        """Identifies the image."""
        return self.path, self.frame or 1


@dataclass(frozen=True)
class Stack:
    """The slices of a nodule from the feet to the head.

    Attributes:
        slices: The slices of its series, or those alone on which it is outlined.
        key: Place of the slice that was embedded.
    """

    slices: tuple[StackSlice, ...]
    key: int


class StackFinder:
    """Finds the slices of rows; of the files beside them it reads the headers, once for each folder."""

    def __init__(self, index: Index, folders: SliceFolders) -> None:
        self._index, self._folders = index, folders
        held = index.scan().collect_schema().names()
        self._columns = [name for name in PICTURE_COLUMNS if name in held]
        self._read_slices = lru_cache(_KEPT_FOLDERS)(partial(read_slices, allows=folders.allows))
        self.find = lru_cache(_KEPT_STACKS)(self._find)

    def read_row(self, row: int) -> dict[str, Any]:
        """Return the metadata of a row that its pictures need."""
        return self._index.read_rows([row], self._columns).row(0, named=True)

    def find_outlined(self, row: int) -> Stack:
        """Return the slices on which a row is outlined, and the one that was embedded; reads no file."""
        outlined, key = with_key_slice(self.read_row(row), self._index.read_slices([row])[0])
        roots = self._folders.folders or (Path.cwd(),)
        slices = [
            StackSlice(Path(find_file(one.dicom_path, roots)), one.frame, one.z_mm, one.outlines) for one in outlined
        ]
        return Stack(tuple(slices), key)

    def _find(self, row: int) -> Stack:
        """Return the slices of a row's series where their files are there, else those that it is outlined on."""
        outlined = self.find_outlined(row)
        key = outlined.slices[outlined.key]
        neighbours = self._find_neighbours(key) if self._folders.allows(str(key.path)) else []
        if not neighbours:
            return outlined
        slices = {one.place: one for one in (StackSlice(it.path, it.frame, it.z_mm) for it in neighbours)}
        for one in outlined.slices:
            if one.place in slices:
                slices[one.place] = replace(slices[one.place], outlines_px=one.outlines_px)
            elif one.z_mm is not None:  # its file is missing, and it is shown as missing
                slices[one.place] = one
        ordered = sorted(slices.values(), key=lambda one: one.z_mm or 0.0)
        return Stack(tuple(ordered), [one.place for one in ordered].index(key.place))

    def _find_neighbours(self, key: StackSlice) -> list[PlacedSlice]:
        """Find the slices of a slice's reconstruction in the files of its folder, else in the frames of its file."""
        places = (key.path.parent, key.path) if key.frame in (None, 1) else (key.path,)
        for place in places:
            if stack := find_stack(self._read_slices(place), key.path, key.frame):
                return stack
        return []


def describe_slice(one: StackSlice) -> dict[str, Any]:
    """Return position and outlines of a slice for JSON: of each reader, and the line around what half of them drew."""
    return {
        schema.Z_MM: one.z_mm,
        "outlines": _to_lists(one.outlines_px),
        "mean": _to_lists(compute_mean_outline(one.outlines_px)),
    }


def _to_lists(curves: Sequence[NDArray[np.float64]]) -> list[list[list[float]]]:
    return [points.round(2).tolist() for points in curves]
