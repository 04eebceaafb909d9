"""--html and --contact-sheet as a user calls them: whole pages that need nothing else."""

import base64
import html
import io
import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.io.windows import window_grey
from noduleclip.report.gallery import check_viewer_url

SENTENCE = "a lung nodule with diameter > 6 mm"


def search(noduleclip: Command, index: Path, *more: object) -> str:
    done = noduleclip("query", "--emb-dir", index, "--query", SENTENCE, "--topk", 5, *more)
    assert done.code == 0, done.err
    return done.err


def test_the_page_shows_every_hit(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    page = tmp_path / "hits.html"
    link = "https://viewer.example/?study={study_uid}&slice={sop_uid}"
    err = search(noduleclip, index, "--html", page, "--viewer-url", link, "--out", tmp_path)
    assert f"5 hits in {page}" in err
    text = page.read_text(encoding="utf-8")
    hits = pl.read_csv(tmp_path / schema.TOP_K_CSV)
    pictures = [base64.b64decode(found) for found in re.findall(r'src="data:image/webp;base64,([^"]+)"', text)]
    assert len(pictures) == 10
    assert {Image.open(io.BytesIO(picture)).size for picture in pictures} == {(224, 224)}
    assert text.count("10 mm</text>") == 10 <= text.count('<polygon class="mark"')
    assert re.findall(r"<h3><span>#(\d)", text) == list("12345")
    for hit in hits.iter_rows(named=True):
        assert f"{hit[schema.DIAMETER_MM]:.1f} mm" in text
        assert f"<dd>{hit[schema.PROBABILITY]:.3f}</dd>" in text
        assert hit[schema.DICOM_PATH] in text
        assert f"&amp;slice={hit[schema.SOP_UID]}" in text
    assert "read as: diameter larger than 6 mm, (6, inf) mm" in text
    typed = re.search(r"Made by <code>(.+?)</code>", text)
    assert typed is not None
    assert html.unescape(typed.group(1)) == f'noduleclip query {index} "{SENTENCE}" --topk 5'
    for alt in re.findall(r'alt="([^"]*)"', text):
        assert re.match(r"#\d, (lung|soft-tissue) window: [\d.]+ mm of patient PHANTOM-", alt)


def test_each_asked_value_has_its_mark_on_the_page(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    sentence, page = "a solid nodule > 8 mm", tmp_path / "hits.html"
    done = noduleclip("query", "--emb-dir", index, "--query", sentence, "--topk", 8, "--html", page, "--format", "json")
    text = page.read_text(encoding="utf-8")
    cards = re.findall(r'<ul class="criteria">(.*?)</ul>', text)
    hits = [json.loads(line) for line in done.out.splitlines()]
    assert len(cards) == len(hits) == 8
    for card, hit in zip(cards, hits, strict=True):
        is_large, is_solid = hit[schema.DIAMETER_MM] > 8, hit[schema.TEXTURE] >= 4
        yes, no = '<li class="yes">✓', '<li class="no">✗'
        assert f"{yes if is_large else no} larger than 8 mm</li>" in card
        assert f"{yes if is_solid else no} texture at least 4: {hit[schema.TEXTURE]:g}</li>" in card
    assert "marks in brackets" not in text


def test_the_page_asks_no_network_and_runs_nothing(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    search(noduleclip, index, "--html", tmp_path / "hits.html")
    text = (tmp_path / "hits.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert "<script" not in text
    assert re.findall(r'(?:src|href)="(?!data:image/webp)', text) == []
    assert "url(" not in text


def test_fifty_hits_weigh_little(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    noduleclip("fuse", "--emb-dir", index, "--query", SENTENCE, "--topk", 50, "--html", tmp_path / "hits.html")
    assert 100_000 < (tmp_path / "hits.html").stat().st_size < 3_000_000


def test_markup_in_a_table_stays_text(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    nasty = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    frame = pl.read_csv(collection.roi_csv).head(4).with_columns(
        pl.lit(nasty).alias(schema.PATIENT_ID), pl.lit(nasty).alias(schema.NODULE_ID),
        (str(collection.roi_csv.parent) + "/" + pl.col(schema.DICOM_PATH)).alias(schema.DICOM_PATH),
    )  # fmt: skip
    frame.write_csv(tmp_path / "rois.csv")
    index = tmp_path / "index"
    made = noduleclip("embed", "--roi-csv", tmp_path / "rois.csv", "--model", checkpoint, "--out-dir", index,
                      "--cache-dir", exported)  # fmt: skip
    assert made.code == 0, made.err
    (tmp_path / "q.txt").write_text('over 6 mm & "quoted"\na large lung nodule\n')
    link = "https://viewer.example/{patient_id}"
    done = noduleclip("query", "--emb-dir", index, "--queries-file", tmp_path / "q.txt", "--html",
                      tmp_path / "hits.html", "--viewer-url", link)  # fmt: skip
    assert done.code == 0, done.err
    text = (tmp_path / "hits.html").read_text(encoding="utf-8")
    assert "<script" not in text and "<img src=x" not in text
    assert "&lt;script&gt;alert(1)" in text and "&amp; &#34;quoted&#34;" in text
    assert 'href="https://viewer.example/%22%3E%3Cscript%3E' in text
    assert text.count("<section") == 2


def test_slices_that_are_gone_say_so(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    search(noduleclip, index, "--html", tmp_path / "hits.html", "--dicom-root", tmp_path)
    text = (tmp_path / "hits.html").read_text(encoding="utf-8")
    assert text.count("no such file") == 5
    refused = noduleclip("query", "--emb-dir", index, "--query", "> 6 mm", "--contact-sheet", tmp_path / "s.png",
                         "--dicom-root", tmp_path)  # fmt: skip
    assert refused.code == 2
    assert "--contact-sheet: no slice of a hit can be read; see --dicom-root" in refused.err
    assert not (tmp_path / "s.png").exists()


def test_a_contact_sheet_has_a_cell_for_each_hit(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    search(noduleclip, index, "--contact-sheet", tmp_path / "sheet.png", "--topk", 7)
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.size == (5 * 228 + 4, 2 * 246 + 4)
    cells = np.asarray(sheet)
    assert cells[4:228, 4:228].std() > 20
    assert (cells[260:480, 600:] == 255).all(), "the second row has two cells"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("javascript:alert({row})", r"has \{row\}; known are \{study_uid\}"),
        ("javascript:alert(1)", "must begin with one of http:, https:"),
        ("https://x/{study_uid", "--viewer-url 'https://x/"),
    ],
)
def test_links_that_could_run_something_are_refused(
    noduleclip: Command, index: Path, tmp_path: Path, template: str, message: str
) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", "> 6 mm", "--html", tmp_path / "h.html",
                      "--viewer-url", template)  # fmt: skip
    assert done.code == 2
    assert re.search(message, done.err)
    assert not (tmp_path / "h.html").exists()


def test_the_documented_viewers_are_accepted() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "pictures.md").read_text(encoding="utf-8")
    templates = re.findall(r"`((?:https?|slicer)://[^`]+)`", page)
    assert len(templates) >= 3
    for template in templates:
        check_viewer_url(template)


def test_too_many_hits_and_folders_are_refused(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    arguments = ("query", "--emb-dir", index, "--query", "> 6 mm", "--html")
    assert "is a folder, a file is needed" in noduleclip(*arguments, tmp_path).err
    (tmp_path / "q.txt").write_text("> 6 mm\n" * 9)
    done = noduleclip("query", "--emb-dir", index, "--queries-file", tmp_path / "q.txt", "--topk", 99,
                      "--html", tmp_path / "h.html")  # fmt: skip
    assert done.code == 2
    assert "are more than the 500 that a page shows; ask for fewer with --topk" in done.err


def test_a_window_spreads_over_the_greys() -> None:
    hu = np.array([[-2000, -1350, -600, 150, 900]], np.float32)
    assert window_grey(hu, (-1350, 150)).tolist() == [[0, 0, 128, 255, 255]]


def test_the_reference_comes_first(
    noduleclip: Command, index: Path, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    arguments = ("query", "--emb-dir", index, "--topk", 3, "--html", tmp_path / "hits.html")
    assert noduleclip(*arguments, "--like", 5).code == 0
    text = (tmp_path / "hits.html").read_text(encoding="utf-8")
    assert re.findall(r"<h3><span>([^<]+)", text) == ["reference", "#1", "#2", "#3"]
    assert text.count("<img") == 8
    assert "--like 5 --like-weight 0.5" in text
    copy = tmp_path / "elsewhere.dcm"
    copy.write_bytes((collection.roi_csv.parent / pl.read_csv(collection.roi_csv)[0, schema.DICOM_PATH]).read_bytes())
    place = ("--like", f"{copy}:20,20", "--model", checkpoint, "--cache-dir", exported)
    done = noduleclip(*arguments, *place, "--overwrite")
    assert done.code == 0, done.err
    text = (tmp_path / "hits.html").read_text(encoding="utf-8")
    assert re.findall(r"<h3><span>([^<]+)", text) == ["reference", "#1", "#2", "#3"]
    assert text.count("<img") == 8
