"""What the tests of the explorer's page read from it."""

from typing import Any

import pytest

HITS = '.pane[data-pane="0"] li'
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def rows_of(page: Any, within: str = HITS) -> list[int]:
    return [int(row) for row in page.eval_on_selector_all(within, "all => all.map(one => one.dataset.row)")]


def wait_for_reading(page: Any, text: str, pane: int = 0) -> None:
    page.wait_for_function(
        "([pane, text]) => document.querySelector(`#reading-${pane}`).textContent.includes(text)", arg=[pane, text]
    )


def pixels_of(page: Any) -> int:
    """A fingerprint of the slice as it is shown."""
    script = """view => { const data = view.getContext('2d').getImageData(0, 0, view.width, view.height).data;
        let sum = 0; for (let i = 0; i < data.length; i += 4) sum += data[i]; return sum }"""
    return int(page.eval_on_selector("#slice canvas", script))


def wait_for_place(page: Any, text: str) -> None:
    page.wait_for_function("text => document.querySelector('#slice-position').textContent.includes(text)", arg=text)


def wait_for_slice(page: Any, number: int) -> int:
    """Wait until a slice of the stack is drawn; return its fingerprint."""
    page.wait_for_selector(f'#slice canvas[data-at="{number - 1}"]')
    return pixels_of(page)


def wait_for_other_pixels(page: Any, before: int) -> None:
    for _ in range(100):
        if pixels_of(page) != before:
            return
        page.wait_for_timeout(50)
    pytest.fail("the slice stays as it is")
