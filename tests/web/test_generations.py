"""An answer is of one generation of an index, while others replace it."""

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from conftest import call
from noduleclip import schema
from noduleclip.io.index.open import open_index
from web.conftest import open_client, serving, write_generation

pytestmark = pytest.mark.slow

ASKED = {"q": "a lung nodule > 6 mm", "k": "20", "unique": ""}
REOPEN = {"X-Noduleclip-Reopen": "1"}
REQUESTS = 1000


def write_a(source: Path, out: Path) -> None:
    write_generation(source, out, "A", change=lambda meta: meta)


def write_b(source: Path, out: Path) -> None:
    write_generation(source, out, "B", change=lambda meta: meta.reverse().head(meta.height - 3))


@pytest.fixture
def replaced(index: Path, tmp_path: Path) -> Path:
    """An index of generation A, to be replaced."""
    write_a(index, tmp_path / "index")
    return tmp_path / "index"


def patients_of(hits: list[dict[str, str]]) -> set[str]:
    return {hit[schema.PATIENT_ID][0] for hit in hits}


def test_the_opened_index_answers_until_the_new_one_is_asked_for(
    index: Path, replaced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_client(replaced)
    before = client.get("/api/search", params=ASKED)
    first = before.headers["x-index-generation"]
    assert before.headers["x-index-replaced"] == "false"
    assert f'<meta name="generation" content="{first}">' in client.get("/").text
    csv, nodule = client.get("/topk.csv", params=ASKED).text, client.get("/api/nodule/5").json()
    write_b(index, replaced)
    monkeypatch.setattr("noduleclip.web.app._LOOK_SECONDS", 0.0)
    after = client.get("/api/search", params=ASKED)
    assert after.json()["hits"] == before.json()["hits"]
    assert after.headers["x-index-replaced"] == "true"
    assert client.get("/topk.csv", params=ASKED).text == csv
    assert client.get("/api/nodule/5").json() == nodule
    assert client.get("/picture/5.png").status_code == 200
    assert f'content="{first}"' in client.get("/").text, "loading the page opens nothing"

    opened = client.get("/api/reopen", headers=REOPEN)
    assert opened.status_code == 200
    second = opened.json()["generation"]
    assert second == open_index(replaced).generation != first
    now = client.get("/api/search", params=ASKED)
    assert patients_of(now.json()["hits"]) == {"B"}
    assert (now.headers["x-index-generation"], now.headers["x-index-replaced"]) == (second, "false")
    for address in ("/api/search", "/topk.csv", "/hits.html", "/api/nodule/5", "/api/slice/5", "/picture/5.png",
                    "/api/map", "/api/collection"):  # fmt: skip
        refused = client.get(address, params={**ASKED, "generation": first})
        assert refused.status_code == 409, address
        assert "replaced by a newer one" in refused.json()["error"]
        assert client.get(address, params={**ASKED, "generation": second}).status_code == 200, address


def test_an_index_that_is_overwritten_in_place_answers_no_more(
    index: Path, replaced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cp` onto the files of an index that is served gave one patient's score under another's name."""
    monkeypatch.setattr("noduleclip.web.app._LOOK_SECONDS", 0.0)
    client = open_client(replaced)
    assert client.get("/topk.csv", params=ASKED).status_code == 200
    write_b(index, tmp_path / "other")
    for path in (tmp_path / "other").iterdir():
        (replaced / path.name).write_bytes(path.read_bytes())
    for address in ("/topk.csv", "/api/search", "/api/nodule/5", "/picture/5.png"):
        refused = client.get(address, params=ASKED)
        assert refused.status_code == 409, address
        assert refused.headers["x-index-replaced"] == "true"
    assert client.get("/api/reopen", headers=REOPEN).status_code == 200
    assert patients_of(client.get("/api/search", params=ASKED).json()["hits"]) == {"B"}


def test_a_broken_replacement_changes_nothing(index: Path, replaced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noduleclip.web.app._LOOK_SECONDS", 0.0)
    client = open_client(replaced)
    before = client.get("/topk.csv", params=ASKED).text
    for name in (schema.INDEX_MANIFEST, schema.META):
        (replaced / name).unlink()
        assert client.get("/topk.csv", params=ASKED).headers["x-index-replaced"] == "true"
        failed = client.get("/api/reopen", headers=REOPEN)
        assert failed.status_code == 503
        assert "the old one stays" in failed.json()["error"]
        assert client.get("/topk.csv", params=ASKED).text == before
    write_b(index, replaced)
    assert client.get("/api/reopen", headers=REOPEN).status_code == 200
    assert client.get("/topk.csv", params=ASKED).text != before


def test_only_the_page_itself_may_have_the_new_one_opened(index: Path, replaced: Path) -> None:
    client = open_client(replaced)
    write_b(index, replaced)
    led = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    other_port = {**REOPEN, "sec-fetch-site": "same-site"}
    for headers in ({}, led, {**REOPEN, "origin": "http://evil.example"}, other_port):
        assert client.get("/api/reopen", headers=headers).status_code == 403
    assert patients_of(client.get("/api/search", params=ASKED).json()["hits"]) == {"A"}


def test_without_a_new_one_nothing_is_opened(replaced: Path) -> None:
    client = open_client(replaced)
    assert client.get("/api/reopen", headers=REOPEN).json()["generation"] == open_index(replaced).generation
    assert client.get("/api/search", params={**ASKED, "generation": "x"}).status_code == 409
    assert client.get("/", params={"generation": "x"}).status_code == 200


def test_a_store_whose_old_rows_are_gone_says_so(index: Path, replaced: Path, tmp_path: Path) -> None:
    pytest.importorskip("lance")
    store = f"lance://{tmp_path / 'store'}"
    assert call("merge", "--out-dir", replaced, "--store", store).code == 0
    client = open_client(store)
    first = client.get("/api/search", params=ASKED)
    assert patients_of(first.json()["hits"]) == {"A"}
    write_b(index, replaced)
    assert call("merge", "--out-dir", replaced, "--store", store, "--overwrite").code == 0
    for address in ("/api/search", "/topk.csv", "/api/nodule/5", "/picture/5.png", "/api/map", "/hits.html"):
        answer = client.get(address, params={**ASKED, "q": "another nodule > 7 mm"})
        assert answer.status_code in (200, 409), answer.text
        assert "B-" not in answer.text
        if answer.status_code == 409:
            assert "replaced by a newer one" in answer.json()["error"]
    assert client.get("/").status_code == 200
    assert client.get("/api/reopen", headers=REOPEN).status_code == 200
    now = client.get("/api/search", params=ASKED)
    assert patients_of(now.json()["hits"]) == {"B"}
    assert now.headers["x-index-generation"] != first.headers["x-index-generation"]
    assert client.get("/picture/5.png").status_code == 200


@pytest.fixture
def oracles(index: Path, tmp_path: Path) -> dict[str, str]:
    """The table of hits of either generation, by what generation it is."""
    found = {}
    for name, write in (("a", write_a), ("b", write_b)):
        write(index, tmp_path / name)
        answer = open_client(tmp_path / name).get("/topk.csv", params=ASKED)
        found[answer.headers["x-index-generation"]] = answer.text
    assert len(set(found.values())) == 2
    return found


@pytest.mark.enable_socket
def test_no_answer_is_of_two_generations(index: Path, replaced: Path, oracles: dict[str, str]) -> None:
    """A thousand requests over HTTP, during which the index is replaced again and again, and opened anew."""
    ended = threading.Event()

    def replace() -> None:
        while not ended.is_set():
            for write in (write_b, write_a):
                write(index, replaced)

    with serving(replaced) as port:
        writer = threading.Thread(target=replace)
        writer.start()
        try:
            seen = [answer for number in range(REQUESTS) for answer in ask_once(port, number)]
        finally:
            ended.set()
            writer.join()
    statuses = [status for status, _, _ in seen]
    assert set(statuses) <= {200}, [answer for answer in seen if answer[0] != 200][:3]
    assert {generation for _, generation, _ in seen} == set(oracles), "both were served"
    mixed = [generation for _, generation, text in seen if oracles[generation] != text]
    assert mixed == []


def ask_once(port: int, number: int) -> Iterator[tuple[int, str, str]]:
    """Ask for the hits on a new connection, after having had the newest index opened now and then."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    if number % 20 == 0:
        link.request("GET", "/api/reopen", headers=REOPEN)
        answer = link.getresponse()
        content = answer.read()
        assert answer.status == 200 or "cannot be opened" in json.loads(content)["error"]
    link.request("GET", f"/topk.csv?{urlencode(ASKED)}")
    answer = link.getresponse()
    text = answer.read().decode()
    link.close()
    yield answer.status, answer.headers.get("x-index-generation", ""), text
