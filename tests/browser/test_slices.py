"""The slices of an open nodule in a browser: steps, zoom, pan, window, and the way to the next hit."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest

from browser.conftest import Open
from browser.pages import (
    HITS,
    PHONE,
    pixels_of,
    rows_of,
    wait_for_other_pixels,
    wait_for_place,
    wait_for_slice,
)

VIEW = "#slice canvas"


def open_first(visit: Open, address: str, **settings: Any) -> Any:
    """Open the first hit."""
    page = visit(f"{address}?{urlencode({'q': '> 8 mm'})}", **settings)
    page.wait_for_selector(HITS)
    page.wait_for_load_state("networkidle")
    page.locator(f"{HITS} button").first.click()
    page.wait_for_selector("#slice:not([hidden])")
    wait_for_place(page, "embedded")
    return page


def place_of(page: Any, across: float = 0.5, down: float = 0.5) -> tuple[float, float]:
    page.locator(VIEW).scroll_into_view_if_needed()
    box = page.locator(VIEW).bounding_box()
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def zoom_of(page: Any) -> float:
    return float(page.inner_text("#zoom-value").removeprefix("× "))


def read_window(page: Any) -> tuple[str, str]:
    return page.input_value("#level"), page.input_value("#width")


def test_keys_zoom_and_move_the_slice(address: str, visit: Open) -> None:
    page = open_first(visit, address)
    whole, press = pixels_of(page), page.keyboard.press
    assert (zoom_of(page), page.is_disabled("#zoom-out")) == (1, True)
    page.focus(VIEW)
    press("+")
    press("+")
    assert zoom_of(page) == pytest.approx(1.6, abs=0.05)
    zoomed = pixels_of(page)
    assert zoomed != whole
    press("Shift+ArrowRight")
    assert pixels_of(page) != zoomed
    press("Shift+ArrowLeft")
    assert pixels_of(page) == zoomed
    press("-")
    press("0")
    assert (zoom_of(page), pixels_of(page)) == (1, whole)
    assert page.get_attribute("#show-whole", "aria-pressed") == "true"


def test_the_wheel_with_control_zooms_where_the_mouse_is(address: str, visit: Open) -> None:
    page = open_first(visit, address)
    position = page.inner_text("#slice-position")
    page.mouse.move(*place_of(page, 0.9, 0.9))
    page.keyboard.down("Control")
    for _ in range(6):
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_function("() => parseFloat(document.querySelector('#zoom-value').textContent.slice(2)) > 2.5")
    corner = pixels_of(page)
    page.click("#show-whole")
    page.mouse.move(*place_of(page, 0.1, 0.1))
    page.keyboard.down("Control")
    for _ in range(6):
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    page.wait_for_function("() => parseFloat(document.querySelector('#zoom-value').textContent.slice(2)) > 2.5")
    assert pixels_of(page) != corner
    assert page.inner_text("#slice-position") == position, "no step through the slices"


def test_a_drag_moves_or_changes_the_window(address: str, visit: Open) -> None:
    page = open_first(visit, address)
    page.click("#show-nodule")
    assert page.get_attribute("#show-nodule", "aria-pressed") == "true"
    assert zoom_of(page) > 1.5
    window, pixels = read_window(page), pixels_of(page)

    def drag(button: str = "left") -> None:
        page.mouse.move(*place_of(page))
        page.mouse.down(button=button)
        page.mouse.move(*place_of(page, 0.4, 0.6), steps=4)
        page.mouse.up(button=button)

    page.keyboard.down("Shift")
    drag()
    page.keyboard.up("Shift")
    assert (read_window(page), pixels_of(page) != pixels) == (window, True)
    pixels = pixels_of(page)
    drag("middle")
    assert (read_window(page), pixels_of(page) != pixels) == (window, True)
    page.click("#drag-moves")
    pixels = pixels_of(page)
    drag()
    assert (read_window(page), pixels_of(page) != pixels) == (window, True)
    page.click("#drag-moves")
    drag()
    assert read_window(page) != window


def test_left_and_right_open_the_previous_and_the_next_hit(address: str, visit: Open) -> None:
    page = open_first(visit, address)
    rows = rows_of(page)

    def wait_for_row(row: int) -> None:
        page.wait_for_function("row => document.querySelector('#nodule-title').textContent.endsWith(row)",
                               arg=f", row {row}")  # fmt: skip

    assert page.is_disabled("#previous-hit")
    assert page.inner_text("#hit-position") == f"hit 1 of {len(rows)}"
    page.keyboard.press("ArrowRight")
    wait_for_row(rows[1])
    assert page.evaluate("document.activeElement.id") == "nodule-title"
    page.wait_for_load_state("networkidle")
    page.click("#show-nodule")
    page.focus(VIEW)
    page.keyboard.press("ArrowRight")
    wait_for_row(rows[2])
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.activeElement.matches('#slice canvas')"), "keys go on from the slice"
    assert page.get_attribute("#show-nodule", "aria-pressed") == "true", "the next hit is shown as near"
    page.keyboard.press("ArrowLeft")
    wait_for_row(rows[1])
    page.click("#next-hit")
    wait_for_row(rows[2])
    assert f"row={rows[2]}" in page.url
    page.check("#select-nodule")
    assert page.inner_text("#save-label") == "Save the 1 selected as"
    page.select_option("#sort", "smallest")
    at = rows_of(page).index(rows[2])
    assert page.inner_text("#hit-position") == f"hit {at + 1} of {len(rows_of(page))}"
    page.keyboard.press("Escape")
    page.wait_for_selector("#nodule", state="hidden")
    assert int(page.evaluate("document.activeElement.closest('li').dataset.row")) == rows[2]


def test_what_the_model_says_stands_beside_what_was_measured(address: str, visit: Open) -> None:
    page = open_first(visit, address)
    terms = page.locator("#facts dt").all_inner_texts()
    assert terms[:3] == ["asked for", "measured", "model"]
    asked, measured, model = page.locator("#facts dd").all_inner_texts()[:3]
    size = re.match(r"(\d+\.\d) mm", measured)
    assert size is not None
    assert f"{size.group(1)} mm ✓" in asked.replace("\xa0", " ")
    assert re.match(r"\d+\.\d mm \(\d+\.\d-\d+\.\d\), \w+", model)


def test_two_fingers_zoom_and_one_moves_on_a_phone(address: str, visit: Open) -> None:
    page = open_first(visit, address, **PHONE)
    touch = page.context.new_cdp_session(page)
    x, y = place_of(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        places = [{"x": at_x, "y": at_y, "id": number} for number, (at_x, at_y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    send("touchStart", (x - 20, y), (x + 20, y))
    for step in range(1, 9):
        send("touchMove", (x - 20 - 5 * step, y), (x + 20 + 5 * step, y))
    send("touchEnd")
    page.wait_for_function("() => parseFloat(document.querySelector('#zoom-value').textContent.slice(2)) > 2")
    window, pixels = read_window(page), pixels_of(page)
    send("touchStart", (x, y))
    for step in range(1, 6):
        send("touchMove", (x - 8 * step, y - 8 * step))
    send("touchEnd")
    assert (read_window(page), pixels_of(page) != pixels) == (window, True)


def test_a_step_keeps_the_section(address: str, visit: Open) -> None:
    page = open_first(visit, address)
    page.click("#show-nodule")
    zoom, before = zoom_of(page), pixels_of(page)
    page.click("#slice-up" if page.is_enabled("#slice-up") else "#slice-down")
    wait_for_other_pixels(page, before)
    assert zoom_of(page) == zoom
    page.click("#embedded-slice")
    wait_for_place(page, "embedded")
    own = int(re.findall(r"\d+", page.inner_text("#slice-position"))[0])
    assert wait_for_slice(page, own) == before
