"""Pictures of nodules in a terminal: by its graphics protocol, in half blocks, or in characters of different weight.

Graphics protocols come from textual-image (extra `preview`). Its own fallbacks are not used: they need the extra and a
terminal that answers, and have neither the coloured outline in 16 colours nor ASCII.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style

from noduleclip.config import LUNG_WINDOW_HU, SOFT_TISSUE_WINDOW_HU
from noduleclip.io.pictures import Picture
from noduleclip.io.windows import spread_window

SIDES = (24, 16, 12)  # widths in characters; a picture is half as high
PIXELS_PER_CHARACTER = 8  # of a picture that a graphics protocol shows
_GAP = 1
_WINDOWS = {"lung": LUNG_WINDOW_HU, "soft tissue": SOFT_TISSUE_WINDOW_HU}
_FIELDS_MM = (24, 32, 48, 64, 96, 200)
_ROOM = 2.0  # sides of the square over the largest diameter in it
_LINE_RGB = np.array((0.2, 1.0, 0.3))
_LINE_WEIGHT = 0.6  # the pixel below the line stays visible
_LINE_STYLE = Style(color="green")
_BLOCKS = " ░▒▓█"
_ASCII = " .:-=+*#%@"


class Surface(Enum):
    """Characters that a terminal without a graphics protocol can show."""

    HALF_BLOCKS = "half blocks"
    BLOCKS = "blocks of four weights"
    ASCII = "characters of ten weights"


@dataclass(frozen=True)
class Layout:
    """Size of the pictures beside the table.

    Attributes:
        side: Width of a picture in characters.
        windows: Names of the windows that stand side by side.
        fov_mm: Side of a picture in mm, the same for all so that sizes compare.
    """

    side: int
    windows: tuple[str, ...]
    fov_mm: float

    @property
    def width(self) -> int:
        """Characters that all windows take."""
        return len(self.windows) * (self.side + _GAP) - _GAP

    @property
    def title(self) -> str:
        """Header over the pictures."""
        return f"{' and '.join(self.windows)}, {self.fov_mm:g} mm{' each' if len(self.windows) > 1 else ''}"


def choose_layout(room: int, least_room: int, diameters_mm: Iterable[float | None]) -> Layout | None:
    """Fit pictures into a window.

    Args:
        room: Characters beside the whole table.
        least_room: Characters where the table leaves out what it can.
        diameters_mm: Of the nodules shown; the largest decides how much tissue is around all of them.

    Returns:
        Two windows beside the whole table, else the largest picture that fits, else None.
    """
    largest = max((size for size in diameters_mm if size is not None), default=_FIELDS_MM[0])
    fov_mm = next((field for field in _FIELDS_MM if field >= _ROOM * largest), _FIELDS_MM[-1])
    both = Layout(SIDES[0], tuple(_WINDOWS), fov_mm)
    if both.width <= room:
        return both
    side = next((side for side in SIDES if side <= least_room), None)
    return None if side is None else Layout(side, tuple(_WINDOWS)[:1], fov_mm)


def choose_surface(console: Console) -> Surface:
    """Choose characters for a console without asking its terminal; greys in 16 colours are worse than characters."""
    is_unicode = console.encoding.startswith("utf")
    if is_unicode and not console.no_color and console.color_system in ("truecolor", "256"):
        return Surface.HALF_BLOCKS
    return Surface.BLOCKS if is_unicode else Surface.ASCII


def find_graphics(console: Console) -> type[Any] | None:
    """Ask the terminal for a graphics protocol; None without one, without colours, or without textual-image.

    Returns:
        The class whose objects draw a Pillow image.
    """
    streams = (sys.__stdin__, sys.__stdout__)
    if choose_surface(console) is not Surface.HALF_BLOCKS or console.file is not sys.__stdout__:
        return None
    if not all(stream is not None and stream.isatty() for stream in streams) or _is_in_background():
        return None
    logging.getLogger("textual_image").setLevel(logging.ERROR)
    with contextlib.suppress(Exception):  # not installed, or the terminal answered what the library cannot read
        from textual_image import renderable  # asks the terminal as it is imported

        known = [renderable.SixelImage]
        if console.color_system == "truecolor":  # kitty's protocol names a picture by a colour
            known.append(renderable.TGPImage)
        drawn: type[Any] = renderable.Image
        Measurement.get(console, console.options, drawn(Image.new("RGB", (1, 1))))  # asks how large a character is
        return drawn if drawn in known else None
    return None


def _is_in_background() -> bool:
    """Return whether the shell would stop this process if it asked the terminal."""
    if not hasattr(os, "tcgetpgrp"):
        return False
    assert sys.__stdin__ is not None
    return os.tcgetpgrp(sys.__stdin__.fileno()) != os.getpgrp()


def paint(picture: Picture, windows: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Show a picture in each window, and find where the line around the nodule goes.

    Args:
        picture: S pixels a side.
        windows: W names of windows, shown from left to right.

    Returns:
        (S, W * S + gaps) brightness in [0, 1], and whether a pixel is on the readers' mean outline, or without
        outline on the box.
    """
    side = len(picture.hu)
    line = _draw_line(picture, side)
    greys, lines = [], []
    for name in windows:
        greys += [spread_window(picture.hu, _WINDOWS[name]), np.zeros((side, _GAP))]
        lines += [line, np.zeros((side, _GAP), bool)]
    return np.hstack(greys[:-1]), np.hstack(lines[:-1])


def _draw_line(picture: Picture, side: int) -> NDArray[np.bool_]:
    left, top, right, bottom = picture.box_px
    canvas = Image.new("1", (side, side))
    for points in picture.mean_px or (((left, top), (right, top), (right, bottom), (left, bottom)),):
        rounded = [(round(x), round(y)) for x, y in points]
        ImageDraw.Draw(canvas).line([*rounded, rounded[0]], fill=1)
    return np.asarray(canvas, bool)


def _colour(grey: NDArray[np.float64], line: NDArray[np.bool_]) -> NDArray[np.uint8]:
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    rgb[line] = (1 - _LINE_WEIGHT) * rgb[line] + _LINE_WEIGHT * _LINE_RGB
    return np.rint(255 * rgb).astype(np.uint8)


@lru_cache(maxsize=1 << 14)
def _two_colours(upper: tuple[int, int, int], lower: tuple[int, int, int]) -> Style:
    return Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))


class Cells:
    """Lines of styled characters as rich prints them."""

    def __init__(self, lines: Sequence[Sequence[Segment]]) -> None:
        self.lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield from line
            yield Segment.line()

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(len(self.lines[0]), len(self.lines[0]))


def draw_half_blocks(grey: NDArray[np.float64], line: NDArray[np.bool_]) -> Cells:
    """Draw two pixels in a character: the upper one in the colour of its block, the lower one behind it."""
    rgb = _colour(grey, line).tolist()
    return Cells(
        [
            [Segment("▀", _two_colours(tuple(upper), tuple(lower))) for upper, lower in zip(*rows, strict=True)]
            for rows in zip(rgb[::2], rgb[1::2], strict=True)
        ]
    )


def draw_weights(grey: NDArray[np.float64], line: NDArray[np.bool_], characters: str) -> Cells:
    """Draw two pixels, one above the other, as a character that is the heavier the brighter they are."""
    height, width = grey.shape
    means = grey.reshape(height // 2, 2, width).mean(axis=1)
    weights = np.minimum((means * len(characters)).astype(int), len(characters) - 1).tolist()
    on_line = (line[::2] | line[1::2]).tolist()
    return Cells(
        [
            [Segment(characters[weight], _LINE_STYLE if marked else None) for weight, marked in zip(*rows, strict=True)]
            for rows in zip(weights, on_line, strict=True)
        ]
    )


def draw_picture(picture: Picture, layout: Layout, surface: Surface, graphics: type[Any] | None) -> RenderableType:
    """Draw a nodule for a cell of a table.

    Args:
        picture: As many pixels a side as the layout has characters, or any number where graphics draw it.
        layout: Which windows, how large.
        surface: Characters to draw with without a graphics protocol.
        graphics: Class that draws a Pillow image by a graphics protocol.
    """
    grey, line = paint(picture, layout.windows)
    if graphics is not None:
        drawn: RenderableType = graphics(
            Image.fromarray(_colour(grey, line)), width=layout.width, height=layout.side // 2
        )
        return drawn
    if surface is Surface.HALF_BLOCKS:
        return draw_half_blocks(grey, line)
    return draw_weights(grey, line, _BLOCKS if surface is Surface.BLOCKS else _ASCII)
