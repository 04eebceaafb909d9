"""Slices of an index's rows for the browser; no other file can be requested."""

import io
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from noduleclip import schema
from noduleclip.config import LUNG_WINDOW_HU
from noduleclip.io.index.base import Index
from noduleclip.io.outlines import parse_points
from noduleclip.io.own_indexes import SliceFolders
from noduleclip.io.pictures import Picture
from noduleclip.io.roi_table import find_file
from noduleclip.report.windows import window_grey
from noduleclip.workflows.pictures import check_slice_allowed, load_picture

_FOV_MM, _SIZE_PX = 60.0, 160
_OUTLINE_RGB = (255, 176, 0)
_KEPT_PICTURES, _KEPT_SLICES = 512, 4


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
    """Reads the slices that rows of an index name, where they may be read; one at a time."""

    def __init__(self, index: Index, folders: SliceFolders) -> None:
        self._index, self._folders = index, folders
        self._decoding = threading.Lock()
        self.draw = lru_cache(_KEPT_PICTURES)(self._draw)
        self.read = lru_cache(_KEPT_SLICES)(self._read)

    def read_outline(self, row: int) -> list[list[float]]:
        """Return the outline of a row as columns and rows of its slice; empty where there is none."""
        points = parse_points(self._index.read_outlines([row])[0])
        return [] if points is None else points.tolist()

    def cut(self, row: int, *, fov_mm: float, size_px: int) -> Picture:
        """Cut the tissue around a row.

        Raises:
            SliceError: The slice cannot or may not be read.
        """
        found, outline = self._index.read_rows([row]).row(0, named=True), self._index.read_outlines([row])[0]
        with self._decoding:
            return load_picture(self._index, found, outline, self._folders, fov_mm=fov_mm, size_px=size_px)

    def _draw(self, row: int) -> bytes:
        """Return the tissue around a row as PNG, in the lung window and with the outline.

        Raises:
            SliceError: The slice cannot or may not be read.
        """
        picture = self.cut(row, fov_mm=_FOV_MM, size_px=_SIZE_PX)
        image = Image.fromarray(window_grey(picture.hu, LUNG_WINDOW_HU)).convert("RGB")
        if picture.outline_px:
            ImageDraw.Draw(image).line([*picture.outline_px, picture.outline_px[0]], fill=_OUTLINE_RGB)
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()

    def _read(self, row: int) -> Slice:
        """Return the whole slice of a row.

        Raises:
            SliceError: The slice cannot or may not be read.
        """
        from noduleclip.io.dicom.slice import read_ct_slice

        found = self._index.read_rows([row]).row(0, named=True)
        check_slice_allowed(self._index, found, self._folders)
        path = Path(find_file(str(found[schema.DICOM_PATH]), self._folders.folders or (Path.cwd(),)))
        with self._decoding:
            ct = read_ct_slice(path, frame=found.get(schema.FRAME), assume_hu=True)
        height, width = ct.hu.shape
        hu = np.clip(np.rint(ct.hu), -32768, 32767).astype("<i2")
        return Slice(hu.tobytes(), (height, width), ct.spacing_yx_mm)
