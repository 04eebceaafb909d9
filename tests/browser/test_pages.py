"""The pages that commands write, in a browser: nothing serious for axe, nothing cut off, outlines that switch off."""

from pathlib import Path
from typing import Any

import pytest

from browser.conftest import Open, assert_accessible, save_picture
from conftest import call
from noduleclip import schema
from web.conftest import write_nodules

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
    assert_accessible(visit(pages[name].as_uri(), **settings))


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


@pytest.fixture(scope="module")
def stepped(phantoms: Path, phantom_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of one nodule that is outlined on three slices, the second of which is embedded."""
    out = tmp_path_factory.mktemp("stepped")
    (out / "index").mkdir()
    slices = sorted((phantoms.parent / "dicom" / "PHANTOM-0001").iterdir())[:3]
    write_nodules(phantom_index, out / "index", slices)
    done = call("query", "--emb-dir", out / "index", "--query", "> 6 mm", "--html", out / "hits.html", "--paths-only")
    assert done.code == 0, done.err
    return out / "hits.html"


def test_the_slices_of_a_hit_are_stepped_through_by_arrow_keys(stepped: Path, visit: Open) -> None:
    page = visit(stepped.as_uri())
    shown = page.locator(".slice:visible .place")
    assert shown.all_inner_texts() == ["slice 2 of 3, z 1.0 mm, 2 outlines"]
    page.focus(".stack input:checked")
    page.keyboard.press("ArrowRight")
    assert shown.all_inner_texts() == ["slice 3 of 3, z 2.0 mm, 2 outlines"]
    page.locator(".stack input").first.click()
    assert shown.all_inner_texts() == ["slice 1 of 3, z 0.0 mm, 2 outlines"]
    readers, mean = page.locator(".slice:visible .reader"), page.locator(".slice:visible .mark:not(.reader)")
    assert (readers.count(), mean.count()) == (4, 2), "in two windows"
    page.click("summary")
    assert "9.4 (8.1-10.8)" in page.inner_text("table")


@pytest.mark.parametrize("settings", [{}, DARK, PHONE], ids=["light", "dark", "phone"])
def test_axe_finds_nothing_serious_in_a_stack(stepped: Path, visit: Open, settings: dict[str, Any]) -> None:
    assert_accessible(visit(stepped.as_uri(), **settings))


def test_the_picture_of_the_docs_is_made(pages: dict[str, Path], visit: Open, pytestconfig: pytest.Config) -> None:
    folder = pytestconfig.getoption("--pictures")
    if folder is None:
        pytest.skip("no --pictures FOLDER to write it to")
    page = visit(pages["gallery"].as_uri(), viewport={"width": 1180, "height": 620})
    save_picture(page, Path(folder) / "gallery.png")
