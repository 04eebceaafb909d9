"""The hits in a browser: ticks, order, further ones, selection and saving; what is said where there are none."""

import csv
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from browser.conftest import Open, assert_accessible, serving
from browser.pages import HITS, PHONE, rows_of, wait_for_reading
from noduleclip import schema

SENTENCE = "a solid nodule > 8 mm"
CARDS = f"{HITS} button"


def open_hits(visit: Open, address: str, settings: dict[str, Any] | None = None, **state: str) -> Any:
    page = visit(f"{address}?{urlencode({'q': SENTENCE, **state})}", accept_downloads=True, **(settings or {}))
    page.wait_for_selector(HITS)
    page.wait_for_load_state("networkidle")
    return page


def saved(page: Any, link: str) -> tuple[str, bytes]:
    """Click a link that saves; return the name and the content of the file."""
    with page.expect_download() as download:
        page.click(link)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_each_thing_that_was_asked_for_has_its_own_tick(address: str, visit: Open) -> None:
    page = open_hits(visit, address)
    with page.expect_response(re.compile("/api/search")) as response:
        page.fill("#q", "a solid nodule larger than 14 mm")
    hits = response.value.json()["hits"]
    page.wait_for_load_state("networkidle")
    assert {one["satisfied"] for hit in hits for one in hit["criteria"]} >= {True, False}
    for hit in hits:
        card = page.locator(f'{HITS}[data-row="{hit["row"]}"]')
        assert card.locator(".yes").count() == sum(one["satisfied"] is True for one in hit["criteria"])
        assert card.locator(".no").count() == sum(one["satisfied"] is False for one in hit["criteria"])
        text = card.inner_text().replace("\xa0", " ")
        assert f"probability {hit['probability']:.2f}" in text
        assert f"score {hit['score']:.2f}" in text
        size = next(one for one in hit["criteria"] if one["name"] == schema.DIAMETER_MM)
        assert f"{size['value']:.1f} mm {'✓' if size['satisfied'] else '✗'}" in text


def test_arrows_move_in_the_grid_and_keys_select(address: str, visit: Open) -> None:
    page = open_hits(visit, address)
    rows, press = rows_of(page), page.keyboard.press

    def focused() -> int:
        return int(page.evaluate("document.activeElement.closest('li').dataset.row"))

    assert page.locator(f"{CARDS}[tabindex='0']").count() == 1, "one stop of the Tab key"
    page.locator(CARDS).first.focus()
    press("ArrowRight")
    assert focused() == rows[1]
    press("x")
    tops = page.eval_on_selector_all(CARDS, "all => all.map(one => one.getBoundingClientRect().top)")
    columns = next(at for at, top in enumerate(tops) if top > tops[0])
    press("ArrowDown")
    assert focused() == rows[1 + columns]
    press("Space")
    assert page.is_hidden("#nodule"), "the space key selects and does not open"
    press("End")
    assert focused() == rows[-1]
    press("Home")
    assert focused() == rows[0]
    assert page.inner_text("#save-label") == "Save the 2 selected as"
    name, content = saved(page, "#save-csv")
    assert name == schema.TOP_K_CSV
    table = csv.DictReader(io.StringIO(content.decode()))
    assert {int(row[schema.ROW]) for row in table} == {rows[1], rows[1 + columns]}
    page.locator(f'{HITS}[data-row="{rows[1]}"] input').click()
    assert page.inner_text("#save-label") == "Save the 1 selected as"
    _, gallery = saved(page, "#save-page")
    assert gallery.count(b"<li>") == 1
    page.click("#clear-selection")
    assert page.inner_text("#save-label") == f"Save these {len(rows_of(page))} hits as"
    assert page.locator(f"{HITS}.selected").count() == 0


def test_hits_are_saved_as_markups_of_slicer(address: str, visit: Open) -> None:
    page = open_hits(visit, address)
    page.locator(CARDS).first.focus()
    page.keyboard.press("x")
    name, content = saved(page, "#save-markups")
    assert name == "hits.mrk.json"
    assert len(json.loads(content)["markups"][0]["controlPoints"]) == 1
    page.click("#clear-selection")
    name, content = saved(page, "#save-markups")
    assert name == "hits.zip"
    assert len(zipfile.ZipFile(io.BytesIO(content)).namelist()) > 1


def test_hits_are_put_in_order_and_keep_their_ranks(address: str, visit: Open) -> None:
    page = open_hits(visit, address)
    best = rows_of(page)

    def read(selector: str) -> list[float]:
        texts = page.locator(f"{HITS} {selector}").all_inner_texts()
        return [float(re.sub(r"[^\d.]", "", text).rstrip(".")) for text in texts]

    page.select_option("#sort", "largest")
    sizes = read(".size")
    assert sizes == sorted(sizes, reverse=True)
    assert "sort=largest" in page.url
    page.select_option("#sort", "smallest")
    assert read(".size") == sorted(sizes)
    page.select_option("#sort", "patient")
    patients = page.locator(f"{HITS} .line:last-of-type").all_inner_texts()
    assert patients == sorted(patients)
    page.select_option("#sort", "score")
    assert rows_of(page) == best
    assert read(".line:first-child .quiet") == list(range(1, len(best) + 1))


def test_further_hits_come_as_one_scrolls_and_by_a_button(address: str, visit: Open) -> None:
    page = open_hits(visit, address, k="12", sort="largest")
    assert page.locator(HITS).count() == 12, "in another order than the best first they wait for the button"
    page.click(".pane[data-pane='0'] .more")
    page.wait_for_function("() => document.querySelectorAll('.pane li').length === 24")
    page.select_option("#sort", "score")
    first = rows_of(page)
    page.locator(HITS).last.scroll_into_view_if_needed()
    page.mouse.wheel(0, 5000)
    page.wait_for_function("() => document.querySelectorAll('.pane[data-pane=\"0\"] li').length > 24")
    rows, title = page.evaluate("""() => [
        [...document.querySelectorAll('.pane[data-pane="0"] li')].map((one) => Number(one.dataset.row)),
        document.querySelector('.pane h2').textContent]""")
    assert rows[: len(first)] == first
    assert len(set(rows)) == len(rows)
    assert title.startswith(f"{len(rows)} hits among ")


def test_a_least_probability_cuts_off_and_is_taken_away(address: str, visit: Open) -> None:
    page = open_hits(visit, address)
    page.locator("#min_probability").focus()
    page.keyboard.press("End")
    page.wait_for_selector(".pane[data-pane='0'] .empty:not([hidden])")
    assert "No hit is that probable: 0 of" in page.inner_text(".pane .empty")
    assert "the highest is 0." in page.inner_text(".pane .empty")
    assert page.inner_text("#min_probability-value") == "1.00"
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.querySelector('.pane h2').textContent.includes('with that probability')")
    page.wait_for_load_state("networkidle")
    shares = re.findall(r"probability (\d\.\d+)", page.inner_text(".pane ol"))
    assert all(float(share) >= 0.4 for share in shares)
    page.keyboard.press("End")
    page.click("text=Remove the least probability")
    page.wait_for_selector(HITS)
    assert page.inner_text("#min_probability-value") == "none"
    assert "min_probability" not in page.url


def test_filters_that_nothing_passes_are_cleared_by_a_button(address: str, visit: Open) -> None:
    page = visit(f"{address}?{urlencode({'q': SENTENCE, 'min': '90'})}")
    page.wait_for_selector(".pane .empty:not([hidden])")
    assert "None of the nodules passes the filters." in page.inner_text(".pane .empty")
    page.click("text=Clear the filters")
    page.wait_for_selector(HITS)
    assert page.input_value("#min") == ""


def test_a_sentence_that_is_not_understood_is_searched_for_only_when_wanted(address: str, visit: Open) -> None:
    page = open_hits(visit, address, {"bad_answers": True})
    page.fill("#q", "hello world")
    wait_for_reading(page, "Nothing of this sentence is understood as a size or a rating: “hello world”.")
    assert_accessible(page)
    page.click("text=Search anyway")
    page.wait_for_selector("#reading-0:not(.error)")
    assert "free_text=1" in page.url
    page.fill("#q", "a spiculted thing")
    wait_for_reading(page, "spiculted")
    assert "free_text" not in page.url, "it was allowed for another sentence"
    page.click("text=Did you mean “spiculated”?")
    page.wait_for_selector("#reading-0:not(.error)")
    assert page.input_value("#q") == "a spiculated thing"
    assert page.is_hidden("#remedies-0")
    page.fill("#q", "a spiculted nodule > 6 mm")
    page.click("text=Did you mean “spiculated”?")
    page.wait_for_function("() => document.querySelector('#q').value === 'a spiculated nodule > 6 mm'")


def test_a_server_that_ended_is_told_in_words(phantom_index: Path, visit: Open) -> None:
    with serving(phantom_index) as address:
        page = visit(f"{address}?{urlencode({'q': SENTENCE})}", complaints_are_wanted=True)
        page.wait_for_selector(HITS)
        page.wait_for_load_state("networkidle")
        port = address.rsplit(":", 1)[1].strip("/")
    page.fill("#q", "> 9 mm")
    wait_for_reading(page, "The server does not answer. Has “noduleclip serve” ended")
    assert page.locator(HITS).count() > 0, "the last hits stay"
    with serving(phantom_index, "--port", port):
        page.click("text=Try again")
        page.wait_for_selector("#reading-0:not(.error)")
        assert page.is_hidden("#remedies-0")


def test_why_there_are_no_pictures_is_told_once(phantom_index: Path, visit: Open, tmp_path: Path) -> None:
    with serving(phantom_index, "--dicom-root", str(tmp_path)) as address:
        page = visit(f"{address}?{urlencode({'q': SENTENCE})}", bad_answers=True)
        page.wait_for_selector("#hits-message:not([hidden])")
        assert page.inner_text("#hits-message").startswith("Some pictures cannot be shown: ")
        page.locator(CARDS).first.click()
        page.wait_for_function("() => document.querySelector('#slice-message').textContent.includes('cannot be shown')")
        assert page.is_hidden("#slice")
        assert_accessible(page)


def test_on_a_phone_the_sentence_is_first(address: str, visit: Open) -> None:
    page = open_hits(visit, address, PHONE)
    assert page.locator("#q").bounding_box()["y"] < 100
    assert page.is_hidden("#alpha")
    page.click("#controls > summary")
    assert page.is_visible("#alpha")
    assert page.locator(HITS).first.bounding_box()["y"] < 900


def test_estimates_are_drawn_against_measurements(address: str, visit: Open) -> None:
    page = open_hits(visit, address, map="1")
    assert re.search(
        r"of \d+ with both; half of the estimates are within \d\.\d mm", page.inner_text("#scatter-caption")
    )
    box = page.locator("#scatter canvas").bounding_box()
    for share in range(2, 40):  # along the line on which both agree
        page.mouse.click(box["x"] + box["width"] * share / 40, box["y"] + box["height"] * (1 - share / 40) - 5)
        if "row=" in page.url:
            break
    page.wait_for_selector("#slice:not([hidden])")


@pytest.mark.parametrize("state", [{"min_probability": "1"}, {"min": "90"}], ids=["cut-off", "filters"])
def test_axe_finds_nothing_serious_without_hits(address: str, visit: Open, state: dict[str, str]) -> None:
    page = visit(f"{address}?{urlencode({'q': SENTENCE, **state})}")
    page.wait_for_selector(".pane .empty:not([hidden])")
    assert_accessible(page)


def test_axe_finds_nothing_serious_in_a_selection(address: str, visit: Open) -> None:
    for settings in ({}, {"color_scheme": "dark"}):
        page = open_hits(visit, address, settings)
        page.locator(CARDS).first.focus()
        page.keyboard.press("x")
        page.keyboard.press("Enter")
        page.wait_for_selector("#slice:not([hidden])")
        assert_accessible(page)
