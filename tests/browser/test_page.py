"""The explorer's page as a person uses it: by mouse, by keys alone, on a phone, in the dark, with hostile texts."""

import csv
import functools
import http.server
import io
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import polars as pl
import pytest

from browser.conftest import Open, assert_accessible, save_picture, serving
from browser.pages import (
    HITS,
    PHONE,
    pixels_of,
    rows_of,
    wait_for_other_pixels,
    wait_for_place,
    wait_for_reading,
    wait_for_slice,
)
from conftest import call
from noduleclip import schema
from web.conftest import write_generation

ROOT = Path(__file__).resolve().parents[2]
DARK = {"color_scheme": "dark"}
STATES = {
    "hits": {"q": "a lung nodule with diameter > 6 mm"},
    "nodule": {"q": "between 8 and 12 mm", "row": "3"},
    "compare": {"q": "a solid nodule larger than 10 mm", "q2": "a small lung nodule"},
    "map": {"q": "> 20 mm", "map": "1"},
    "filters": {"q": "> 6 mm", "min": "4", "where": "slice_thickness < 9", "unique": "patient"},
    "fault": {"q": "> 6 mm and < 2 mm"},
}
MARKUP = "<img src=x onerror=\"document.title='run'\"><script>alert(1)</script>"


def show(page: Any, state: dict[str, str]) -> None:
    """Wait until a state is there, pictures included."""
    page.wait_for_function("() => document.querySelector('#reading-0').textContent !== ''")
    if state["q"] != STATES["fault"]["q"]:
        page.wait_for_selector(HITS)
    if "row" in state:
        page.wait_for_selector("#slice:not([hidden])")
    page.wait_for_load_state("networkidle")


def test_hits_come_as_one_types(address: str, visit: Open) -> None:
    page = visit(address, bad_answers=True)
    page.wait_for_selector(HITS)
    page.fill("#q", "")
    page.type("#q", "between 4 and 6 mm", delay=30)
    wait_for_reading(page, "(4, 6] mm")
    page.wait_for_function("() => !document.querySelector('.pane').classList.contains('stale')")
    sizes = [float(text.split()[0]) for text in page.locator(f"{HITS} .size").all_inner_texts()]
    assert 4 < sizes[0] <= 6
    page.wait_for_load_state("networkidle")
    bars, band = (page.locator(f"#histogram .{name}") for name in ("bar", "range"))
    assert bars.nth(4).bounding_box()["x"] == pytest.approx(band.bounding_box()["x"], abs=3)
    last = bars.nth(5).bounding_box()
    assert last["x"] + last["width"] == pytest.approx(band.bounding_box()["x"] + band.bounding_box()["width"], abs=3)
    assert "q=between+4+and+6+mm" in page.url
    page.fill("#q", "> 6 mm and < 2 mm")
    wait_for_reading(page, "contradict each other")
    assert page.locator(HITS).count() == len(sizes), "the last hits stay"


def test_sliders_reorder_at_once(address: str, visit: Open) -> None:
    page = visit(f"{address}?{urlencode({'q': '9.5 to 10 mm', 'alpha': '1'})}")
    page.wait_for_selector(HITS)
    by_image = rows_of(page)
    page.focus("#alpha")
    page.keyboard.press("Home")
    page.wait_for_function("old => document.querySelector('.pane li').dataset.row !== old", arg=str(by_image[0]))
    assert page.inner_text("#alpha-value") == "0 %"
    assert "alpha=0" in page.url
    by_rule = rows_of(page)
    assert by_rule != by_image
    page.focus("#softness")
    page.keyboard.press("Home")
    page.wait_for_function("() => location.search.includes('softness=0')")
    assert page.inner_text("#softness-value") == "0 mm"


def test_filters_and_the_table(address: str, visit: Open) -> None:
    page = visit(f"{address}?{urlencode({'q': '> 6 mm', 'k': '5'})}", bad_answers=True, accept_downloads=True)
    page.wait_for_selector(HITS)
    page.click("#filters summary")
    page.fill("#where", "diameter_mm < 9")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.pane .size')].every(one => parseFloat(one.textContent) < 9)"
    )
    assert page.inner_text("#filters-used") == "(1 filter in use)"
    page.wait_for_load_state("networkidle")
    with page.expect_download() as download:
        page.click("#save-csv")
    table = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [int(row[schema.ROW]) for row in table] == rows_of(page)
    page.fill("#where", "sqrt(diameter_mm) < 3")
    wait_for_reading(page, "functions are not available")


def test_a_nodule_opens_with_its_slice(address: str, visit: Open) -> None:
    page = visit(address)
    page.locator(f"{HITS} button").nth(1).click()
    page.wait_for_selector("#slice:not([hidden])")
    assert page.locator("#neighbours li").count() == 12
    assert page.inner_text("#metadata").startswith("dicom_path")
    marked = pixels_of(page)
    page.click("#toggle-outlines")
    assert pixels_of(page) != marked
    before = pixels_of(page)
    page.locator("#slice canvas").scroll_into_view_if_needed()
    box = page.locator("#slice canvas").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 130, box["y"] + 110, steps=5)
    page.mouse.up()
    assert page.input_value("#width") != "1500"
    assert page.input_value("#level") != "-600"
    assert pixels_of(page) != before
    page.click("text=Lung")
    assert pixels_of(page) == before
    page.click("#show-nodule")
    assert pixels_of(page) != before
    old = page.inner_text("#nodule-title")
    page.locator("#neighbours button").first.click()
    page.wait_for_function("old => document.querySelector('#nodule-title').textContent !== old", arg=old)
    page.go_back()
    page.wait_for_function("old => document.querySelector('#nodule-title').textContent === old", arg=old)
    page.go_back()
    page.wait_for_selector("#nodule", state="hidden")


def test_keys_alone_do_everything(address: str, visit: Open) -> None:
    page = visit(address, bad_answers=True)  # to sentences that are half typed
    page.wait_for_selector(HITS)
    press = page.keyboard.press
    press("/")
    page.keyboard.type("> 12 mm")
    wait_for_reading(page, "(12, inf)")

    def tab_to(selector: str) -> None:
        for _ in range(60):
            press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        pytest.fail(f"Tab does not lead to {selector}")

    for control in ("#alpha", "#softness", "#filters summary", f"{HITS} button"):
        tab_to(control)
    row = page.evaluate("document.activeElement.closest('li').dataset.row")
    press("Enter")
    page.wait_for_selector("#slice:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "nodule-title"
    tab_to("#slice canvas")
    before = pixels_of(page)
    wait_for_place(page, "embedded")
    press("ArrowDown" if page.is_disabled("#slice-up") else "ArrowUp")
    wait_for_place(page, "not outlined")
    wait_for_other_pixels(page, before)
    tab_to("#level")
    press("ArrowRight")
    assert page.input_value("#level") == "-590"
    for control in ("#slice-number", "#level", "#width", "#show-nodule", "#neighbours button", "#nodule summary"):
        tab_to(control)
    press("Escape")
    page.wait_for_selector("#nodule", state="hidden")
    assert page.evaluate("document.activeElement.closest('li').dataset.row") == row


def test_a_nodule_is_stepped_through_by_wheel_buttons_and_keys(address: str, visit: Open) -> None:
    page = visit(f"{address}?{urlencode({'q': '> 10 mm', 'row': '0'})}")
    show(page, {"q": "> 10 mm", "row": "0"})
    wait_for_place(page, "embedded")
    own, count = map(int, re.findall(r"\d+", page.inner_text("#slice-position"))[:2])
    assert count > 3
    assert "z " in page.inner_text("#slice-position") and "outlined by" in page.inner_text("#slice-position")
    assert page.is_disabled("#embedded-slice")
    first = pixels_of(page)

    page.hover("#slice canvas")
    for _ in range(count):
        page.mouse.wheel(0, 100)
    wait_for_place(page, f"1 of {count}")
    bottom = wait_for_slice(page, 1)
    assert bottom != first
    assert page.is_disabled("#slice-down")
    page.mouse.wheel(0, -100)
    wait_for_place(page, f"2 of {count}")
    page.click("#slice-up")
    wait_for_place(page, f"3 of {count}")
    page.focus("#slice canvas")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    wait_for_place(page, f"1 of {count}")
    assert wait_for_slice(page, 1) == bottom
    page.focus("#slice-number")
    page.keyboard.press("End")
    wait_for_place(page, f"{count} of {count}")
    last = wait_for_slice(page, count)
    page.goto(page.url)
    wait_for_place(page, f"{count} of {count}")
    assert wait_for_slice(page, count) == last, "the address holds the slice"
    page.focus("#slice canvas")
    page.keyboard.press("Home")
    wait_for_place(page, f"{own} of {count}")
    assert wait_for_slice(page, own) == first


def test_without_diameters_the_estimates_are_shown_and_marked(blind: str, visit: Open) -> None:
    page = visit(f"{blind}?{urlencode({'q': '> 10 mm', 'row': '0'})}")
    show(page, {"q": "> 10 mm", "row": "0"})
    sizes = page.locator(f"{HITS} .size").all_inner_texts()
    assert all(re.fullmatch(r"~\d+\.\d mm", size) for size in sizes)
    assert "~ is the model's estimate" in page.inner_text(".pane h2")
    assert re.match(r"~\d+\.\d mm, PHANTOM-", page.inner_text("#nodule-title"))
    facts = page.inner_text("#facts")
    assert "no diameter" in facts
    assert re.search(r"model\n\d+\.\d mm \(\d+\.\d-\d+\.\d\), \w+", facts)
    assert "0 measured" in page.inner_text("#histogram-caption")
    assert re.search(r"\d+ others by the model's estimate", page.inner_text("#reading-0"))
    assert page.locator("#histogram .bar").count() > 0


def test_two_sentences_side_by_side(address: str, visit: Open) -> None:
    page = visit(address)
    page.wait_for_selector(HITS)
    page.click("#compare")
    page.fill("#q2", "< 5 mm")
    wait_for_reading(page, "[0, 5) mm", pane=1)
    page.wait_for_selector('.pane[data-pane="1"] li')
    assert page.locator("#histogram .range").count() == 2
    left, right = (page.locator(f'.pane[data-pane="{pane}"]').bounding_box() for pane in (0, 1))
    assert left["y"] == right["y"]
    assert left["x"] < right["x"]
    page.click("#compare")
    assert page.locator("#histogram .range").count() == 1


def test_a_point_of_the_map_opens_its_nodule(address: str, visit: Open) -> None:
    page = visit(f"{address}?map=1")
    page.wait_for_load_state("networkidle")
    box = page.locator("#map canvas").first.bounding_box()
    for share in range(1, 40):
        page.mouse.click(box["x"] + box["width"] * share / 40, box["y"] + box["height"] / 2)
        if "row=" in page.url:
            break
    page.wait_for_selector("#slice:not([hidden])")


@pytest.mark.parametrize("state", STATES)
def test_an_address_is_a_state(address: str, visit: Open, state: str) -> None:
    wanted = STATES[state]
    page = visit(f"{address}?{urlencode(wanted)}", bad_answers=state == "fault")
    show(page, wanted)
    for name in set(wanted) - {"row", "map"}:
        assert page.input_value(f"#{name}") == wanted[name]
    assert page.is_visible("#map") == ("map" in wanted)
    assert page.is_visible("#nodule") == ("row" in wanted)


@pytest.mark.parametrize("settings", [{}, PHONE], ids=["light", "phone"])
def test_axe_finds_nothing_serious_in_a_nodule_without_a_diameter(
    blind: str, visit: Open, settings: dict[str, Any]
) -> None:
    page = visit(f"{blind}?{urlencode(STATES['nodule'])}", **settings)
    show(page, STATES["nodule"])
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
    assert_accessible(page)


@pytest.mark.parametrize("settings", [{}, DARK, PHONE, {**PHONE, **DARK}], ids=["light", "dark", "phone", "dark phone"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_serious_and_nothing_is_cut_off(
    address: str, visit: Open, state: str, settings: dict[str, Any]
) -> None:
    page = visit(f"{address}?{urlencode(STATES[state])}", bad_answers=state == "fault", **settings)
    show(page, STATES[state])
    assert_accessible(page)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(22, 24, 27)" if "color_scheme" in settings else "rgb(255, 255, 255)")


@pytest.fixture(scope="module")
def blind(browser: Any, phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An index of a table that has no diameters."""
    folder = tmp_path_factory.mktemp("blind")
    rows = pl.read_csv(phantoms).unique(schema.NODULE_ID, keep="first", maintain_order=True)
    rows.with_columns(pl.lit(None, pl.Float64).alias(schema.DIAMETER_MM)).write_csv(folder / "rois.csv")
    done = call(
        "embed", "--roi-csv", folder / "rois.csv", "--dicom-root", phantoms.parent, "--out-dir", folder / "index",
        "--device", "cpu", "--workers", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    with serving(folder / "index") as found:
        yield found


@pytest.fixture(scope="module")
def hostile(browser: Any, phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An index of a table whose texts are markup."""
    folder = tmp_path_factory.mktemp("hostile <b>")
    texts = {name: pl.lit(MARKUP) for name in (schema.PATIENT_ID, schema.NODULE_ID, schema.MANUFACTURER, schema.READER)}
    pl.read_csv(phantoms).head(12).with_columns(**texts).write_csv(folder / "rois.csv")
    done = call(
        "embed", "--roi-csv", folder / "rois.csv", "--dicom-root", phantoms.parent, "--out-dir",
        folder / "<u>index", "--device", "cpu", "--workers", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    with serving(folder / "<u>index") as found:
        yield found


def test_markup_in_the_table_is_text(hostile: str, visit: Open) -> None:
    page = visit(f"{hostile}?{urlencode({'q': '> 3 mm', 'row': '0', 'unique': '', 'q2': MARKUP})}", bad_answers=True)
    page.wait_for_selector("#slice:not([hidden])")
    page.wait_for_load_state("networkidle")
    assert page.title().startswith("<u>index")
    assert MARKUP in page.inner_text("#metadata")
    assert MARKUP in page.inner_text(HITS)
    assert MARKUP in page.inner_text("#nodule-title")
    assert page.locator("script").count() == 1
    assert page.locator("u, img[onerror], img[src=x]").count() == 0


def test_a_script_that_got_in_would_not_run(address: str, browser: Any) -> None:
    page = browser.new_page()
    blocked: list[str] = []
    page.on("console", lambda said: blocked.append(said.text))
    page.goto(address)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', `<img src=x onerror=\"document.title='run'\">`)")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'document.title=`run`'}))"
    )
    page.wait_for_timeout(300)
    assert page.title() != "run"
    assert any("Content Security Policy" in text for text in blocked)
    page.close()


def test_without_scripts_the_page_says_so(address: str, visit: Open) -> None:
    page = visit(address, java_script_enabled=False)
    assert "This page needs JavaScript" in page.inner_text("body")


def test_a_replaced_index_is_told_and_opened_by_a_button(phantom_index: Path, visit: Open, tmp_path: Path) -> None:
    write_generation(phantom_index, tmp_path / "served", "old", change=lambda meta: meta)
    with serving(tmp_path / "served") as address:
        page = visit(f"{address}?{urlencode({'q': '> 6 mm', 'row': '3'})}", bad_answers=True)
        other = visit(address, bad_answers=True)
        show(page, {"q": "> 6 mm", "row": "3"})
        other.wait_for_selector(HITS)
        assert page.is_hidden("#replaced")
        write_generation(phantom_index, tmp_path / "served", "new", change=lambda meta: meta.reverse())
        page.wait_for_timeout(1100)
        page.fill("#q", "> 7 mm")
        page.wait_for_selector("#replaced:not([hidden])")
        assert "replaced by a newer one" in page.inner_text("#replaced")
        assert "new-" not in page.inner_text(".pane") and "old-" in page.inner_text(".pane")
        page.click("#reopen")
        page.wait_for_function("() => document.querySelector('.pane').textContent.includes('new-')")
        assert page.is_hidden("#replaced")
        assert "row=" not in page.url
        other.fill("#q", "> 8 mm")
        wait_for_reading(other, "load the page anew")
        assert other.is_visible("#reopen")
        assert "new-" not in other.inner_text(".pane"), "the last hits stay"
        other.click("#reopen")
        other.wait_for_function("() => document.querySelector('.pane').textContent.includes('new-')")


def test_a_row_of_another_index_is_not_opened_by_an_address(address: str, visit: Open) -> None:
    page = visit(f"{address}?{urlencode({'q': '> 6 mm', 'row': '3', 'generation': 'another'})}")
    page.wait_for_selector(HITS)
    assert page.is_hidden("#nodule")
    page.locator(f"{HITS} button").first.click()
    page.wait_for_selector("#slice:not([hidden])")
    opened = page.url
    assert "generation=" in opened
    page.goto(opened)
    page.wait_for_selector("#slice:not([hidden])")


def test_a_token_opens_the_page_in_a_browser(phantom_index: Path, visit: Open) -> None:
    with serving(phantom_index, "--token", "a-token-of-this-test") as address:
        page = visit(address, bad_answers=True)
        page.wait_for_selector(HITS)
        assert "token" not in page.url
        page.reload()
        page.wait_for_selector(HITS)
        (cookie,) = page.context.cookies()
        assert re.fullmatch(r"noduleclip-\d+", cookie["name"])
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")


@pytest.mark.enable_socket
def test_a_page_of_another_port_sees_nothing(address: str, visit: Open, tmp_path: Path) -> None:
    """Another user's server on this machine: same host, another port."""
    (tmp_path / "index.html").write_text(
        f"<iframe src='{address}?q=x'></iframe><img src='{address}picture/1.png'>"
        f"<script>fetch('{address}api/collection').catch(() => {{ document.title = 'refused' }})</script>"
        f"<a href='{address}?q=%3E+6+mm'>page</a><a id=rows href='{address}topk.csv?q=x'>rows</a>"
    )
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = visit(f"http://127.0.0.1:{server.server_port}/", bad_answers=True, complaints_are_wanted=True)
        page.wait_for_function("() => document.title === 'refused'")
        assert page.evaluate("document.images[0].naturalWidth") == 0
        assert all("noduleclip" not in (frame.title() or "") for frame in page.frames)
        page.click("#rows")
        page.wait_for_function("() => document.body.textContent.includes('Another page may not ask this.')")
        page.go_back()
        page.click("a >> nth=0")
        page.wait_for_selector(HITS)
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Writes no line for each request."""

    def log_message(self, *_: object) -> None:
        pass


def test_answers_over_100_000_rows_take_less_than_100_ms(
    browser: Any, phantom_index: Path, visit: Open, tmp_path: Path
) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from large_index import make_large_index

    make_large_index(phantom_index, 100_000, tmp_path / "large")
    with serving(tmp_path / "large") as address:
        page = visit(address, bad_answers=True)
        page.wait_for_selector(HITS)
        page.fill("#q", "")
        page.type("#q", "a nodule larger than 7.25 mm", delay=60)
        wait_for_reading(page, "(7.25, inf)")
        assert "100,000 " in page.inner_text(".pane h2")
        page.focus("#alpha")
        for _ in range(8):
            page.keyboard.press("ArrowLeft")
            page.wait_for_timeout(60)
        script = "performance.getEntriesByType('resource').filter(one => one.name.includes('api/search'))"
        spent = sorted(page.evaluate(f"{script}.map(one => one.duration)"))
        assert len(spent) > 10
        assert spent[len(spent) // 2] < 100, spent


@pytest.mark.parametrize(
    ("name", "state", "settings"),
    [
        ("hits", {"q": "a lung nodule between 8 and 12 mm", "alpha": "0.3"}, {}),
        ("nodule", {"q": "a solid nodule larger than 10 mm"}, {"viewport": {"width": 1000, "height": 1000}}),
        ("compare", STATES["compare"], DARK),
        ("map", STATES["map"], {}),
        ("phone", {"q": "6-10 mm"}, {**PHONE, **DARK}),
    ],
)
def test_the_pictures_of_the_docs_are_made(
    address: str, visit: Open, pytestconfig: pytest.Config, name: str, state: dict[str, str], settings: dict[str, Any]
) -> None:
    folder = pytestconfig.getoption("--pictures")
    if folder is None:
        pytest.skip("no --pictures FOLDER to write them to")
    page = visit(f"{address}?{urlencode(state)}", **{"viewport": {"width": 1000, "height": 720}, **settings})
    show(page, state)
    if name == "nodule":
        page.locator(f"{HITS} button").first.click()
        wait_for_place(page, "embedded")
        page.click("#show-nodule")
        page.evaluate("document.activeElement.blur(); document.querySelector('#nodule').scrollIntoView()")
        page.evaluate("document.querySelector('#nodule').scrollTop = 0")
    if name == "map":
        page.evaluate("document.querySelector('#histogram').scrollIntoView()")
    page.wait_for_timeout(500)
    save_picture(page, Path(folder) / f"explorer-{name}.png")
