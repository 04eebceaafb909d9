"""Hits as the explorer shows them: criteria and scores, pages, selections, and what is saved."""

import csv
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from noduleclip import schema
from noduleclip.io.index.open import open_index
from noduleclip.web.app import make_app
from noduleclip.web.questions import MOST_HITS
from web.conftest import open_client, open_served

Json = dict[str, Any]
SENTENCE = "a nodule between 6 and 12 mm with malignancy of at least 3"


@pytest.fixture(scope="module")
def client(rated_index: Path) -> TestClient:
    return open_client(rated_index)


def ask(client: TestClient, **values: str) -> Json:
    answer = client.get("/api/search", params={"q": SENTENCE, "unique": "", **values})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def hits_of(client: TestClient, **values: str) -> list[Json]:
    return list(ask(client, **values)["hits"])


def rows_of(hits: list[Json]) -> list[int]:
    return [hit[schema.ROW] for hit in hits]


def test_each_criterion_has_its_own_verdict(client: TestClient, rated_index: Path) -> None:
    table = open_index(rated_index).read_columns([schema.DIAMETER_MM, schema.MALIGNANCY])
    verdicts = set()
    for hit in hits_of(client, k="200"):
        size, rating = hit["criteria"]
        assert [one["name"] for one in (size, rating)] == [schema.DIAMETER_MM, schema.MALIGNANCY]
        measured = table.row(hit[schema.ROW], named=True)
        assert size["value"] == pytest.approx(measured[schema.DIAMETER_MM])
        assert size["satisfied"] == (6 < measured[schema.DIAMETER_MM] <= 12)
        assert rating["satisfied"] == (measured[schema.MALIGNANCY] >= 3)
        assert not size["is_estimated"]
        assert hit[schema.SATISFIES] == (size["satisfied"] and rating["satisfied"])
        verdicts.add((size["satisfied"], rating["satisfied"]))
    assert {(True, True), (True, False), (False, True)} <= verdicts


def test_scores_have_the_names_of_the_commands(client: TestClient) -> None:
    for hit in hits_of(client, k="5", alpha="0.3"):
        probability, rule, score = (hit[name] for name in (schema.PROBABILITY, schema.RULE, schema.SCORE))
        assert score == pytest.approx(0.3 * probability + 0.7 * rule)
        assert hit[schema.LIKENESS] is None
        assert {schema.SIMILARITY, schema.COSINE}.isdisjoint(hit)
    neighbours = client.get("/api/nodule/3").json()["neighbours"]
    likeness = [one[schema.LIKENESS] for one in neighbours]
    assert likeness == sorted(likeness, reverse=True)
    assert -1 <= likeness[-1] < likeness[0] <= 1


def test_pages_of_hits_are_one_ranking(client: TestClient) -> None:
    whole = hits_of(client, k="30")
    parts = [hit for start in (0, 10, 20) for hit in hits_of(client, k="10", start=str(start))]
    assert parts == whole
    assert [hit[schema.RANK] for hit in parts] == list(range(1, 31))
    found = ask(client, k="10")["found"]
    assert found == len(hits_of(client, k=str(MOST_HITS)))
    assert hits_of(client, k="10", start=str(found)) == []


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"start": "1990", "k": "24"}, "start + k must be at most 2000; noduleclip fuse --topk has more"),
        ({"start": "-1"}, "start must be a number in [0, 2000], got '-1'"),
        ({"rows": "1,x"}, "rows must be numbers of rows with commas between, got 'x'"),
        ({"rows": "-1"}, "rows must be numbers of rows"),
        ({"rows": ",".join(map(str, range(2001)))}, "rows names 2001 rows, at most 2000 are read"),
        ({"min_probability": "1.5"}, "min_probability must be a number in [0, 1], got '1.5'"),
        ({"rule": "guessed"}, "rule must be measured or estimated, got 'guessed'"),
    ],
)
def test_pages_and_selections_that_are_none_are_refused(client: TestClient, values: dict[str, str], said: str) -> None:
    answer = client.get("/api/search", params={"q": SENTENCE, **values})
    assert (answer.status_code, said in answer.json()["error"]) == (422, True), answer.text


def test_a_least_probability_keeps_those_above_and_counts_them(client: TestClient) -> None:
    everything = hits_of(client, k=str(MOST_HITS))
    shares = np.array([hit[schema.PROBABILITY] for hit in everything], float)
    least = float(np.median(shares))
    answer = ask(client, k="3", min_probability=str(least))
    assert answer["found"] == int((shares >= least).sum())
    assert str(answer["summary"]).startswith(f"{answer['found']} of {len(everything)} ")
    assert all(hit[schema.PROBABILITY] >= least for hit in answer["hits"])
    nothing = ask(client, min_probability="1")
    assert (nothing["hits"], nothing["found"]) == ([], 0)
    assert "; the highest is 0." in str(nothing["summary"])


def test_the_rule_may_use_estimates_where_nothing_was_measured(rated_index: Path, tmp_path: Path) -> None:
    from web.conftest import write_nodules

    (tmp_path / "index").mkdir()
    slices = ["1.dcm", "2.dcm", "3.dcm"]
    client = open_client(write_nodules(rated_index, tmp_path / "index", slices, **{schema.DIAMETER_MM: None}))
    (measured,) = hits_of(client, q="between 8 and 11 mm", unique="nodule")
    (estimated,) = hits_of(client, q="between 8 and 11 mm", unique="nodule", rule="estimated")
    assert (measured[schema.RULE], estimated[schema.RULE]) == (None, 1)
    (size,) = estimated["criteria"]
    assert (size["is_estimated"], size["satisfied"], estimated[schema.SATISFIES]) == (True, True, None)


def test_a_selection_is_saved_and_nothing_else(client: TestClient) -> None:
    chosen = rows_of(hits_of(client, k="20"))[5:12:3]
    asked = {
        "q": SENTENCE,
        "rows": ",".join(map(str, chosen)),
        "unique": "patient",
        "min_probability": "1",
        "min": "90",
    }
    table = list(csv.DictReader(io.StringIO(client.get("/topk.csv", params=asked).text)))
    assert [int(row[schema.ROW]) for row in table] == chosen
    page = client.get("/hits.html", params=asked).text
    assert page.count("<li>") == len(chosen)
    assert page.count('src="data:image') >= len(chosen)
    assert hits_of(client, rows="99999") == []


def test_hits_are_saved_as_markups_of_slicer_a_file_for_each_series(client: TestClient) -> None:
    hits = hits_of(client, k="6")
    answer = client.get("/hits.mrk.json", params={"q": SENTENCE, "unique": "", "k": "6"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip"), answer.text
    assert answer.headers["content-disposition"] == 'attachment; filename="hits.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        files = [json.loads(archive.read(name)) for name in names]
    assert names == [f"hits-{number}.mrk.json" for number in range(1, len(names) + 1)]
    points = [point for file in files for point in file["markups"][0]["controlPoints"]]
    assert len(points) == len(hits)
    one = client.get("/hits.mrk.json", params={"q": SENTENCE, "rows": str(hits[0][schema.ROW])})
    assert one.headers["content-disposition"] == 'attachment; filename="hits.mrk.json"'
    assert len(one.json()["markups"][0]["controlPoints"]) == 1


def test_markups_of_slices_that_cannot_be_read_are_refused_in_a_line(rated_index: Path, tmp_path: Path) -> None:
    client = open_client(rated_index, roots=(tmp_path,))
    answer = client.get("/hits.mrk.json", params={"q": SENTENCE, "k": "3"})
    assert answer.status_code == 404
    assert "nothing is exported" in answer.json()["error"]


def test_a_sentence_that_is_not_understood_is_refused_with_its_words(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "a spiculted right upper lobe"})
    assert answer.status_code == 422
    found = answer.json()
    assert found["not_understood"] == ["spiculted right upper lobe"]
    assert found["suggestions"] == {"spiculted": "spiculated"}
    assert "not understood" in found["error"]
    free = client.get("/api/search", params={"q": "a spiculted right upper lobe", "free_text": "1"})
    assert (free.status_code, len(free.json()["hits"])) == (200, 24)
    assert {hit[schema.PROBABILITY] for hit in free.json()["hits"]} == {None}
    assert all(-1 <= hit[schema.SIMILARITY] <= 1 for hit in free.json()["hits"])
    assert "which is no probability" in free.json()["reading"]
    half = ask(client, q="a spiculted nodule > 6 mm")
    assert half["suggestions"] == {"spiculted": "spiculated"}
    for sentence in ("", "> 6 mm and < 2 mm"):
        other = client.get("/api/search", params={"q": sentence})
        assert (other.status_code, set(other.json())) == (422, {"error"})


def test_the_map_has_measured_and_estimated_diameters(client: TestClient, rated_index: Path) -> None:
    columns = [schema.DIAMETER_MM, schema.ESTIMATED_DIAMETER]
    table = open_index(rated_index).read_columns(columns)
    content = client.get("/api/map").content
    points = np.frombuffer(content[4 * table.height :], "<f4").reshape(-1, 4)
    assert points[:, 2:] == pytest.approx(table.select(pl.col(columns).cast(pl.Float64)).to_numpy(), rel=1e-6)


def test_a_filter_of_rows_is_for_the_api_too(rated_index: Path) -> None:
    from noduleclip.workflows.search import Searcher
    from noduleclip.workflows.search_request import RowFilter, SearchRequest

    filters = RowFilter(rows=[7, 2, 99999], where=f"{schema.DIAMETER_MM} > 0")
    ((answer,),) = Searcher(open_index(rated_index)).search(SearchRequest(sentences=("> 3 mm",), filters=filters))
    assert sorted(answer.hits[schema.ROW]) == [2, 7]


@pytest.mark.parametrize(
    "asked",
    [
        {"q": "hello world"},
        {"q": "hello world", "free_text": "1", "min_probability": "0.5"},
        {"q": "a lung nodule", "min_probability": "0.5"},
        {"where": "none > 3"},
        {"where": "row >"},
        {"where": "row = 'text'"},
        {"where": "row < 0"},
        {"where": "row IS NULL", "rule": "measured"},
        {"unique": "nodule"},
    ],
    ids=lambda asked: " ".join(asked.values()),
)
def test_messages_name_what_the_page_has_and_no_options(client: TestClient, asked: dict[str, str]) -> None:
    answer = client.get("/api/search", params={"q": SENTENCE, **asked}).json()
    told = [*answer.get("notes", ()), *([answer["error"]] if "error" in answer else [])]
    assert told or "hits" in answer
    assert [one for one in told if "--" in one] == []


def test_a_sentence_that_is_not_understood_offers_what_the_page_has(client: TestClient) -> None:
    error = client.get("/api/search", params={"q": "hello world"}).json()["error"]
    assert error.endswith("or rank by the words as they are with “Search anyway”")


def test_every_address_of_the_page_is_documented(rated_index: Path) -> None:
    opened = open_served(rated_index)
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "explorer.md").read_text(encoding="utf-8")
    documented = {re.sub(r"[?].*|17(?=$|[.])", "", text) for text in re.findall(r"`(/[^`]*)`", page)}
    paths = [route.path for route in make_app(opened, lambda: opened).routes if isinstance(route, Route | Mount)]
    routes = {re.sub(r"\{[^}]*\}", "", path) for path in paths}
    assert routes - {"/", "/static"} <= documented
    assert {path for path in documented if path.startswith("/api/")} <= routes
