"""The pages that commands write, in a browser: nothing serious for axe, nothing cut off, outlines that switch off."""

from pathlib import Path
from typing import Any

import pytest

from browser.conftest import Open
from conftest import call
from noduleclip import schema

DARK: dict[str, Any] = {"color_scheme": "dark"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 800}}


@pytest.fixture(scope="module")
def pages(phantom_index: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A gallery and an evaluation of the phantoms."""
    out = tmp_path_factory.mktemp("pages")
    gallery = out / "hits.html"
    done = call("query", "--emb-dir", phantom_index, "--query", "> 6 mm", "--topk", 6, "--html", gallery)
    assert done.code == 0, done.err
    done = call("evaluate", "--emb-dir", phantom_index, "--out", out, "--resamples", 10, "--draws", 5)
    assert done.code == 0, done.err
    return {"gallery": gallery, "evaluation": out / schema.EVALUATION_PAGE}


@pytest.mark.parametrize("settings", [{}, DARK, PHONE], ids=["light", "dark", "phone"])
@pytest.mark.parametrize("name", ["gallery", "evaluation"])
def test_axe_finds_nothing_serious(pages: dict[str, Path], visit: Open, name: str, settings: dict[str, Any]) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed: nox -s browser does"
    )
    page = visit(pages[name].as_uri(), **settings)
    found = axe.Axe().run(page).response
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], one["nodes"][0]["html"][:120]) for one in serious] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_the_outlines_are_switched_by_the_keyboard_alone(pages: dict[str, Path], visit: Open) -> None:
    page = visit(pages["gallery"].as_uri())
    mark = page.locator(".mark").first
    assert mark.evaluate("line => getComputedStyle(line).display") != "none"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert mark.evaluate("line => getComputedStyle(line).display") == "none"
    shown = page.locator("figure img").evaluate_all("all => all.map(one => [one.naturalWidth, one.width, one.height])")
    assert len(shown) == 12
    assert all(natural == 224 and wide == high > 0 for natural, wide, high in shown)
