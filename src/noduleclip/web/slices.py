"""Slices of an index's rows as a browser shows them; no other file can be asked for."""

import io
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from noduleclip import schema
from noduleclip.config import LUNG_WINDOW_HU
from noduleclip.errors import InputError
from noduleclip.io.index.base import Index
from noduleclip.io.outlines import parse_points
from noduleclip.io.own_indexes import SliceFolders
from noduleclip.io.pictures import Picture, read_picture
from noduleclip.io.roi_table import find_file
from noduleclip.report.windows import window_grey

_FOV_MM, _SIZE_PX = 60.0, 160
_PLACE = (schema.CENTER_X, schema.CENTER_Y, *schema.BOX_COLUMNS)
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
        self._roots = folders.folders or (Path.cwd(),)
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
            InputError: The slice cannot be read, or lies elsewhere.
        """
        found, outline = self._find(row), self._index.read_outlines([row])[0]
        if not all(found.get(name) is not None and math.isfinite(found[name]) for name in _PLACE):
            raise InputError(f"row {row}: the index has no box of it")
        with self._decoding:
            return read_picture(found, self._roots, outline, fov_mm=fov_mm, size_px=size_px)

    def _draw(self, row: int) -> bytes:
        """Return the tissue around a row as PNG, in the lung window and with the outline.

        Raises:
            InputError: The slice cannot be read, or lies elsewhere.
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
            InputError: The slice cannot be read, or lies elsewhere.
        """
        from noduleclip.io.dicom.slice import read_ct_slice

        found = self._find(row)
        path = Path(find_file(str(found[schema.DICOM_PATH]), self._roots))
        with self._decoding:
            ct = read_ct_slice(path, frame=found.get(schema.FRAME), assume_hu=True)
        height, width = ct.hu.shape
        hu = np.clip(np.rint(ct.hu), -32768, 32767).astype("<i2")
        return Slice(hu.tobytes(), (height, width), ct.spacing_yx_mm)

    def _find(self, row: int) -> Mapping[str, Any]:
        found = self._index.read_rows([row]).row(0, named=True)
        if not self._folders.allows(str(found[schema.DICOM_PATH])):
            raise InputError(f"row {row}: its slice lies outside the DICOM folders; name its folder with --dicom-root")
        return found
