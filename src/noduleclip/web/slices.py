"""Slices of an index's rows, and of their series, for the browser; no other file can be requested."""

import io
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from noduleclip import schema
from noduleclip.config import LUNG_WINDOW_HU
from noduleclip.errors import UsageError
from noduleclip.io.index.base import Index
from noduleclip.io.own_indexes import SliceFolders
from noduleclip.io.windows import window_grey
from noduleclip.web.stacks import StackFinder
from noduleclip.workflows.pictures import NodulePictures, check_slice_allowed, load_nodule

_FOV_MM, _SIZE_PX = 60.0, 160
_OUTLINE_RGB = (255, 176, 0)
_FAINT = 110  # opacity of a reader's outline, of 255
_KEPT_PICTURES, _KEPT_SLICES = 512, 16


@dataclass(frozen=True)
class Slice:
    """A whole slice.

    Attributes:
        hu: Y * X Hounsfield units as little-endian int16, row by row.
        shape: Y, X.
        spacing_yx_mm: Distance of rows, then of columns; None where neither header nor index has it.
    """

    hu: bytes
    shape: tuple[int, int]
    spacing_yx_mm: tuple[float, float] | None


class SliceReader:
    """Reads the slices that rows of an index name, and their neighbours, where they may be read; one at a time.

    Attributes:
        stacks: Finds the slices of a row.
    """

    def __init__(self, index: Index, folders: SliceFolders) -> None:
        self._index, self._folders = index, folders
        self._decoding = threading.Lock()
        self.stacks = StackFinder(index, folders)
        self.draw = lru_cache(_KEPT_PICTURES)(self._draw)
        self._decode = lru_cache(_KEPT_SLICES)(self._decode_file)

    def cut(self, row: int, *, fov_mm: float, size_px: int, most_slices: int = 1) -> NodulePictures:
        """Cut the tissue around a row, on the slice that was embedded and on others where it is outlined.

        Raises:
            SliceError: The slice that was embedded cannot or may not be read.
        """
        found, outlined = self.stacks.read_row(row), self._index.read_slices([row])[0]
        sizes: dict[str, Any] = {"fov_mm": fov_mm, "size_px": size_px, "most_slices": most_slices}
        with self._decoding:
            return load_nodule(self._index, found, outlined, self._folders, **sizes)

    def read(self, row: int, at: int | None = None) -> Slice:
        """Return a whole slice of a row's stack.

        Args:
            row: The row.
            at: Place in the stack; None = the slice that was embedded.

        Raises:
            UsageError: The stack has no such place.
            SliceError: The slice cannot or may not be read.
        """
        stack = self.stacks.find_outlined(row) if at is None else self.stacks.find(row)
        place = stack.key if at is None else at
        if place >= len(stack.slices):
            raise UsageError(f"row {row} has no slice {place}; it has slices 0 to {len(stack.slices) - 1}")
        chosen = stack.slices[place]
        check_slice_allowed(self._index, {schema.ROW: row, schema.DICOM_PATH: str(chosen.path)}, self._folders)
        return self._decode(chosen.path, chosen.frame)

    def _draw(self, row: int) -> bytes:
        """Return the tissue around a row as PNG, in the lung window and with the outlines.

        Raises:
            SliceError: The slice cannot or may not be read.
        """
        picture = self.cut(row, fov_mm=_FOV_MM, size_px=_SIZE_PX).picture
        image = Image.fromarray(window_grey(picture.hu, LUNG_WINDOW_HU)).convert("RGB")
        pen = ImageDraw.Draw(image, "RGBA")
        readers = picture.outlines_px if len(picture.outlines_px) > 1 else ()
        for points in readers:
            pen.line([*points, points[0]], fill=(*_OUTLINE_RGB, _FAINT))
        for points in picture.mean_px:
            pen.line([*points, points[0]], fill=_OUTLINE_RGB)
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()

    def _decode_file(self, path: Path, frame: int | None) -> Slice:
        from noduleclip.io.dicom.slice import read_ct_slice

        with self._decoding:
            ct = read_ct_slice(path, frame=frame, assume_hu=True)
        height, width = ct.hu.shape
        hu = np.clip(np.rint(ct.hu), -32768, 32767).astype("<i2")
        return Slice(hu.tobytes(), (height, width), ct.spacing_yx_mm)
