"""A sentence gives one order in `query`, `fuse`, the Python API and the explorer, for the same settings."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

import noduleclip as nc
from conftest import Command
from noduleclip import schema
from noduleclip.errors import UsageError
from web.conftest import open_client, write_generation

SENTENCE = "a lung nodule > 6 mm"
WHERE = "row < 150"
SETTINGS: list[dict[str, Any]] = [
    {},
    {"alpha": 0.2},
    {"alpha": 1},
    {"alpha": 0, "softness": 0},
    {"unique": "patient"},
    {"unique": "slice", "where": WHERE},
    {"unique": "nodule", "alpha": 1, "where": WHERE},
    {"rule": "estimated"},
    {"k": 200},
]


@pytest.fixture(scope="module")
def tied(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that holds every row twice, and of a third of them no diameter."""
    out = tmp_path_factory.mktemp("tied") / "index"

    def double(meta: pl.DataFrame) -> pl.DataFrame:
        size = pl.when(pl.col(schema.ROW) % 3 > 0).then(pl.col(schema.DIAMETER_MM)).alias(schema.DIAMETER_MM)
        return pl.concat([meta, meta.reverse()]).with_columns(size)

    write_generation(index, out, "TIED", change=double)
    return out


@pytest.fixture(scope="module")
def browser(tied: Path) -> TestClient:
    return open_client(tied)


def list_command_rows(noduleclip: Command, tied: Path, command: str, settings: dict[str, Any]) -> list[int]:
    options = {"k": "--topk", "alpha": "--alpha", "softness": "--softness-mm", "unique": "--unique", "where": "--where",
               "rule": "--rule"}  # fmt: skip
    typed = [text for name, value in settings.items() for text in (options[name], value)]
    done = noduleclip(command, "--emb-dir", tied, "--query", SENTENCE, "--format", "csv", *typed)
    assert done.code == 0, done.err
    return [int(hit[schema.ROW]) for hit in csv.DictReader(done.out.splitlines())]


def list_page_hits(browser: TestClient, settings: dict[str, Any]) -> list[dict[str, Any]]:
    answer = browser.get("/api/search", params={"q": SENTENCE, "unique": "", "k": 10, **settings})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["hits"]
    return found


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_fuse_api_and_explorer_give_one_order(
    noduleclip: Command, tied: Path, browser: TestClient, settings: dict[str, Any]
) -> None:
    by_command = list_command_rows(noduleclip, tied, "fuse", settings)
    named = {{"softness": "softness_mm"}.get(name, name): value for name, value in settings.items()}
    hits = nc.open_index(tied).fuse(SENTENCE, **named).table
    shown = list_page_hits(browser, settings)
    assert len(by_command) > 5
    assert hits[schema.ROW].to_list() == by_command
    assert [hit[schema.ROW] for hit in shown] == by_command
    for name in (schema.SCORE, schema.RULE, schema.PROBABILITY):
        assert [hit[name] for hit in shown] == hits[name].to_list()
    assert hits[schema.PROBABILITY].to_list() == hits[schema.COSINE].to_list()


@pytest.mark.parametrize(
    "settings", [{}, {"unique": "patient"}, {"unique": "series", "where": WHERE}, {"k": 200}], ids=str
)
def test_query_is_the_order_of_fuse_by_the_image_alone(
    noduleclip: Command, tied: Path, browser: TestClient, settings: dict[str, Any]
) -> None:
    by_command = list_command_rows(noduleclip, tied, "query", settings)
    assert list_command_rows(noduleclip, tied, "fuse", {**settings, "alpha": 1}) == by_command
    hits = nc.open_index(tied).query(SENTENCE, **settings).table
    assert hits[schema.ROW].to_list() == by_command
    shown = list_page_hits(browser, {**settings, "alpha": 1})
    assert [hit[schema.ROW] for hit in shown] == by_command
    assert [hit[schema.PROBABILITY] for hit in shown] == hits[schema.PROBABILITY].to_list()


def test_equal_rows_stand_in_the_order_of_the_index(tied: Path) -> None:
    hits = nc.open_index(tied).query(SENTENCE, k=60).table
    assert hits[schema.SIMILARITY].n_unique() <= hits.height // 2
    assert hits.equals(hits.sort(-pl.col(schema.SIMILARITY), schema.ROW))


def test_a_sentence_is_refused_by_all_or_ranked_by_all_alike(
    noduleclip: Command, tied: Path, browser: TestClient
) -> None:
    message = "'hello world': not understood: hello world; ask for a size or a rating"
    index = nc.open_index(tied)
    for command in ("query", "fuse"):
        refused = noduleclip(command, "--emb-dir", tied, "--query", "hello world")
        assert refused.code == 2
        assert message in refused.err
    calls: list[Callable[..., nc.Hits]] = [index.query, index.fuse]
    for call in calls:
        with pytest.raises(UsageError, match=message):
            call("hello world")
    answer = browser.get("/api/search", params={"q": "hello world"})
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    free = noduleclip("query", "--emb-dir", tied, "--query", "hello world", "--free-text", "--format", "csv")
    rows = [int(hit[schema.ROW]) for hit in csv.DictReader(free.out.splitlines())]
    assert "note: not understood: hello world" in free.err
    assert index.query("hello world", free_text=True).table[schema.ROW].to_list() == rows
    asked = {"q": "hello world", "free_text": "1", "unique": "", "alpha": "1", "k": "10"}
    assert [hit[schema.ROW] for hit in browser.get("/api/search", params=asked).json()["hits"]] == rows
