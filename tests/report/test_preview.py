"""Each pixel of a picture becomes the character and the colours that it should, on every kind of terminal."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from noduleclip.config import LUNG_WINDOW_HU, SOFT_TISSUE_WINDOW_HU
from noduleclip.io.pictures import Picture, Points
from noduleclip.report.preview import (
    Layout,
    Surface,
    choose_layout,
    choose_surface,
    draw_half_blocks,
    draw_picture,
    draw_weights,
    find_graphics,
    paint,
)

GREYS = np.array([[0.0, 1.0, 0.2], [1.0, 0.0, 0.4]])
NO_LINE = np.zeros((2, 3), bool)


def show(hu: NDArray[np.float32], outline_px: Points = ()) -> Picture:
    curves = (outline_px,) if outline_px else ()
    return Picture(hu, 1.0, curves, curves, (3.0, 2.0, 6.0, 5.0), "")


def square(side: int, hu: float = -1350) -> NDArray[np.float32]:
    return np.full((side, side), hu, np.float32)


def stream(encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


def printed(drawn: object, color_system: str = "truecolor", *, no_color: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system=color_system, no_color=no_color, width=80).print(drawn)  # type: ignore[arg-type]
    return out.getvalue()


def test_a_half_block_has_the_upper_pixel_before_the_lower_one() -> None:
    assert printed(draw_half_blocks(GREYS, NO_LINE)) == (
        "\x1b[38;2;0;0;0;48;2;255;255;255m▀\x1b[0m"
        "\x1b[38;2;255;255;255;48;2;0;0;0m▀\x1b[0m"
        "\x1b[38;2;51;51;51;48;2;102;102;102m▀\x1b[0m\n"
    )


def test_the_line_is_green_over_what_is_under_it() -> None:
    line = NO_LINE.copy()
    line[0, :2] = True
    text = printed(draw_half_blocks(GREYS, line))
    assert "38;2;31;153;46;48;2;255;255;255m" in text  # on black
    assert "38;2;133;255;148;48;2;0;0;0m" in text  # on white


def test_characters_weigh_what_two_pixels_do() -> None:
    greys = np.array([[0.0, 0.1, 0.3, 0.6, 1.0], [0.0, 0.5, 0.5, 0.9, 1.0]])
    no_line = np.zeros((2, 5), bool)
    assert printed(draw_weights(greys, no_line, " ░▒▓█")) == " ░▒▓█\n"
    assert printed(draw_weights(greys, no_line, " .:-=+*#%@")) == " -=#@\n"


def test_characters_are_green_on_the_line_where_there_are_colours() -> None:
    line = np.zeros((2, 3), bool)
    line[1, 1] = True
    drawn = draw_weights(np.ones((2, 3)), line, " █")
    assert printed(drawn, "standard") == "█\x1b[32m█\x1b[0m█\n"
    assert printed(drawn, no_color=True) == "███\n"


def test_windows_stand_side_by_side_with_the_line_in_each() -> None:
    hu = square(8)
    hu[:, 4:] = SOFT_TISSUE_WINDOW_HU[1]
    hu[0, 0] = sum(LUNG_WINDOW_HU) / 2
    grey, line = paint(show(hu), ("lung", "soft tissue"))
    assert grey.shape == line.shape == (8, 17)
    assert grey[0, 0] == 0.5
    assert grey[1].tolist() == [0] * 4 + [1] * 4 + [0] + [0] * 4 + [1] * 4
    assert (line[:, :8] == line[:, 9:]).all()
    assert np.argwhere(line[:, :8]).tolist() == (
        [[2, x] for x in (3, 4, 5, 6)] + [[y, x] for y in (3, 4) for x in (3, 6)] + [[5, x] for x in (3, 4, 5, 6)]
    )
    outline = ((0.4, 0.0), (7.4, 0.0), (7.0, 7.0))
    line = paint(show(hu, outline), ("lung",))[1]
    assert line[0].all() and line[:, 7].all() and line[3, 3]
    assert not line[5, :4].any()


def test_an_outline_may_leave_the_picture() -> None:
    line = paint(show(square(8), ((-20.0, 4.0), (30.0, 4.0), (30.0, 60.0))), ("lung",))[1]
    assert line[4].all()


@pytest.mark.parametrize(
    ("color_system", "no_color", "encoding", "surface"),
    [
        ("truecolor", False, "utf-8", Surface.HALF_BLOCKS),
        ("256", False, "utf-8", Surface.HALF_BLOCKS),
        ("standard", False, "utf-8", Surface.BLOCKS),
        ("truecolor", True, "utf-8", Surface.BLOCKS),
        (None, False, "utf-8", Surface.BLOCKS),
        ("truecolor", False, "cp1252", Surface.ASCII),
        ("truecolor", True, "ascii", Surface.ASCII),
    ],
)
def test_a_terminal_gets_what_it_can_show(
    color_system: str | None, no_color: bool, encoding: str, surface: Surface
) -> None:
    file = stream(encoding)
    console = Console(file=file, force_terminal=True, color_system=color_system, no_color=no_color)  # type: ignore[arg-type]
    assert choose_surface(console) is surface
    assert find_graphics(console) is None
    drawn = draw_picture(show(square(24, 0)), Layout(24, ("lung",), 24), surface, None)
    console.print(drawn)  # fails where the encoding lacks a character
    assert isinstance(file.buffer, io.BytesIO)
    lines = file.buffer.getvalue().decode(encoding).splitlines()
    assert len(lines) == 12
    assert ("▀" in lines[0]) == (surface is Surface.HALF_BLOCKS)


@pytest.mark.parametrize(
    ("room", "least_room", "width", "title"),
    [
        (60, 90, 49, "lung and soft tissue, 32 mm each"),
        (49, 49, 49, "lung and soft tissue, 32 mm each"),
        (48, 90, 24, "lung, 32 mm"),
        (-5, 24, 24, "lung, 32 mm"),
        (-5, 23, 16, "lung, 32 mm"),
        (-5, 12, 12, "lung, 32 mm"),
    ],
)
def test_a_window_gets_the_pictures_that_fit(room: int, least_room: int, width: int, title: str) -> None:
    layout = choose_layout(room, least_room, [4.0, None, 15.9])
    assert layout is not None
    assert (layout.width, layout.title) == (width, title)
    assert len(layout.title) <= layout.width


def test_a_narrow_window_gets_none() -> None:
    assert choose_layout(-5, 11, [5.0]) is None


@pytest.mark.parametrize(
    ("diameters_mm", "fov_mm"), [([], 48), ([None], 48), ([3.0], 24), ([12.0, 12.1], 32), ([47.0], 96), ([99.0], 200)]
)
def test_the_largest_nodule_fits_into_the_field(diameters_mm: list[float | None], fov_mm: float) -> None:
    layout = choose_layout(0, 24, diameters_mm)
    assert layout is not None
    assert layout.fov_mm == fov_mm


class Pixels:
    """Stands where textual-image has its own."""

    def __init__(self, image: object, width: int, height: int) -> None:
        self.image, self.width, self.height = image, width, height


def test_graphics_get_all_pixels_and_the_size_in_characters() -> None:
    drawn = draw_picture(show(square(96, 150)), Layout(24, ("lung",), 24), Surface.HALF_BLOCKS, Pixels)
    assert isinstance(drawn, Pixels)
    assert (drawn.width, drawn.height) == (24, 12)
    pixels = np.asarray(drawn.image)
    assert pixels.shape == (96, 96, 3)
    assert pixels[50, 50].tolist() == [255, 255, 255]
    assert pixels[2, 4].tolist() == [133, 255, 148]
