"""No request that is malformed ends in a failure of the server: each gets a status of 4xx and a line of why."""

import json
import shutil
from pathlib import Path
from urllib.parse import quote, urlencode

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from noduleclip import schema
from noduleclip.io.artefacts import hash_file
from noduleclip.web.guard import HEADERS
from web.conftest import open_client

HUGE = "9" * 5000
NAMES = (
    "q",
    "alpha",
    "softness",
    "k",
    "start",
    "rows",
    "min_probability",
    "rule",
    "unique",
    "min",
    "max",
    "patients",
    "generation",
    "row",
    "q2",
    "map",
    "x",
)
ADDRESSES = ("/", "/api/collection", "/api/search", "/api/nodule/1", "/api/slice/1", "/picture/1.png", "/topk.csv",
             "/hits.html", "/hits.mrk.json", "/api/map", "/api/reopen")  # fmt: skip
ODD_VALUES = (
    "", " ", "nan", "-nan", "inf", "-inf", "1e400", "-1e400", "1e-400", "0x10", "1_0", "-0", "--1", "1,5",
    "None", "true", HUGE,
    f"-{HUGE}", f"1e{HUGE}", f"0.{HUGE}", "٣", "１２", "½", "\0", "a\0b", "\r\nX: y", "\x1b[2J", "\u202e",
    "\ufeff", "\ud7ff",
    "\uffff", "\U0010ffff", "<script>", "'", '"', "\\", "%", "../..", "/etc/passwd",
    "a" * 4000, ">" * 900, "> mm" * 200,
    "> 6 mm " * 130, "(" * 900, "a solid nodule > 4 mm", "> 1e400 mm", f"> {'9' * 900} mm",
    "> 0.000000000000000001 mm",
)  # fmt: skip
ODD_BYTES = ("%", "%z", "%zz", "%f", "%ff", "%ed%a0%80", "%c0%af", "%f4%90%80%80", "%80", "%00",
             "%0d%0a", "%2500", "+", "%u0041",
             "é", "%e2%82", "&", "&&&", "=", "==", ";", "#", "?", "[]", "{}", "%26", "%3d")  # fmt: skip
ODD_HEADERS = (
    "origin", "referer", "host", "cookie", "authorization", "range", "if-none-match", "if-modified-since", "accept",
    "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "x-forwarded-proto", "x-forwarded-for", "content-length",
    "expect", "upgrade",
)  # fmt: skip
PATHS = (
    "/api/nodule/", "/api/nodule/1/", "/api/nodule//1", "/api/nodule/1.0", "/api/nodule/+1", "/api/nodule/-1",
    "/api/nodule/1e3",
    "/api/nodule/0x1", "/api/nodule/1_0", "/api/nodule/%31%30%30%30%30", "/api/nodule/٣", "/api/nodule/%D9%A3",
    "/api/nodule/%00",
    f"/api/nodule/{HUGE}", f"/api/slice/{HUGE}", f"/picture/{HUGE}.png", f"/picture/{'9' * 15}.png",
    f"/api/slice/{'9' * 16}",
    "/picture/1", "/picture/1.png/", "/picture/1.png%00", "/picture/.png", "/picture/%ff.png", "/api", "/api/",
    "/static", "/static/", "/static/%00", "/static/%ff", f"/static/{'a' * 5000}", f"/static/{'a/' * 2000}",
    "/static/..%5capp.py", "/static/%2e%2e%2fapp.py", "/static/explorer.js%00", "/%", "/%zz", "/é", "/%ed%a0%80",
    "/*", "/index.html", "/favicon.ico", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/topk.csv/",
    "/api/reopen/x",
)  # fmt: skip
REFUSED = (400, 401, 403, 404, 405, 409, 414, 421, 422)


@pytest.fixture(scope="module")
def client(index: Path) -> TestClient:
    return open_client(index)


def check(client: TestClient, address: str, *, refused: bool = False, headers: dict[str, str] | None = None) -> int:
    """Ask, and have it answered or refused in a line; an exception in the server fails the test, too."""
    answer = client.get(address, headers=headers or {})
    assert answer.status_code in REFUSED if refused else answer.status_code in (200, 307, *REFUSED), (address, answer)
    assert "Traceback" not in answer.text[:100_000]
    if answer.status_code != 200:
        assert "\n" not in answer.text.strip()
        assert len(answer.text) < 3000
    for name in HEADERS:
        assert name.lower() in answer.headers
    return answer.status_code


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_odd_paths_lead_nowhere(client: TestClient, path: str) -> None:
    check(client, path, refused=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_odd_values_are_refused_or_read(client: TestClient, name: str) -> None:
    for value in ODD_VALUES:
        values = {"q": "> 6 mm", name: value} if name != "q" else {"q": value}
        for address in ("/api/search", "/topk.csv", "/api/nodule/1"):
            check(client, f"{address}?{urlencode(values, errors='surrogatepass')}")


def test_odd_percent_signs_are_refused_or_read(client: TestClient) -> None:
    for text in ODD_BYTES:
        for asked in (
            f"q={text}",
            f"q=%3E+6+mm&k={text}",
            f"{text}=1",
            f"q=%3E+6+mm&patients={text}",
            text,
            f"generation={text}",
        ):
            check(client, f"/api/search?{asked}")
    for text in ("%ff", "%ed%a0%80", "%c0%af", "%80", "%e2%82"):
        answer = client.get(f"/api/search?q={text}")
        assert (answer.status_code, "not UTF-8" in answer.json()["error"]) == (422, True)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_comes_twice_is_refused(client: TestClient, name: str) -> None:
    answer = client.get(f"/api/search?{name}=1&{name}=2")
    assert answer.status_code == 422
    assert answer.json()["error"] == f"the address names {name!r} more than once"


def test_too_many_values_are_refused(client: TestClient) -> None:
    answer = client.get("/api/search?" + "&".join(f"a{number}=1" for number in range(51)))
    assert "more than 50 values" in answer.json()["error"]
    assert answer.status_code == 422


@pytest.mark.slow
@pytest.mark.parametrize("address", ADDRESSES)
def test_odd_headers_are_refused_or_ignored(client: TestClient, address: str) -> None:
    for value in (
        "",
        "\xff",
        "a" * 9000,
        "1, 2",
        "null",
        "http://",
        "http://[::1",
        "//",
        "://",
        "http://127.0.0.1:99999999",
    ):
        for name in ODD_HEADERS:
            status = client.get(address, headers={name.encode(): value.encode("latin-1")}).status_code
            assert status < 500, (name, value)


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES) | st.text(max_size=8), st.text(max_size=60) | st.floats().map(str)), max_size=5
    ),
    st.sampled_from(ADDRESSES[:-1]) | st.text(max_size=30).map(lambda text: "/" + quote(text)),
)  # fmt: skip
def test_any_values_are_refused_or_read(client: TestClient, values: list[tuple[str, str]], address: str) -> None:
    check(client, f"{address}?{urlencode(values)}")


@settings(max_examples=150)
@given(st.binary(max_size=80), st.binary(max_size=20))
def test_any_bytes_are_refused_or_read(client: TestClient, query: bytes, path: bytes) -> None:
    check(client, f"/api/search?q={quote(query, safe='&=+%')}")
    check(client, f"/api/nodule/{quote(path)}")


def test_an_index_of_odd_values_is_shown(index: Path, tmp_path: Path) -> None:
    """Columns of any kind, numbers that JSON has not, and no box."""
    odd = shutil.copytree(index, tmp_path / "odd")
    meta = odd / schema.META
    table = pl.read_parquet(meta)
    spoilt = table.with_columns(
        pl.lit(float("nan")).alias(schema.DIAMETER_MM), pl.lit(None, pl.Float64).alias(schema.CENTER_X),
        pl.lit(float("inf")).alias(schema.CENTER_Y), pl.lit(float("nan")).alias("a"),
        pl.datetime(2026, 1, 1).alias("c"),
        pl.lit(2**63, pl.UInt64).alias("e"),
        pl.lit("\x1b\0<b>").alias("h"),
        pl.lit(1).cast(pl.Decimal(9, 2)).alias("i"),
    )  # fmt: skip
    spoilt.write_parquet(meta)
    manifest = json.loads((odd / schema.INDEX_MANIFEST).read_text())
    manifest["files"][schema.META] = {"sha256": hash_file(meta), "bytes": meta.stat().st_size}
    (odd / schema.INDEX_MANIFEST).write_text(json.dumps(manifest))
    client = open_client(odd, roots=(Path("/"),))
    for address in ("/api/nodule/1", "/api/search?q=%3E+6+mm", "/api/collection", "/api/map",
                    "/hits.html?q=%3E+6+mm"):  # fmt: skip
        assert client.get(address).status_code == 200, address
    found = client.get("/api/nodule/1").json()["metadata"]
    assert found["a"] is None and found["e"] == 2**63
    for address in ("/picture/1.png", "/api/slice/1"):
        assert client.get(address).status_code == 404


def test_a_failure_is_told_without_a_traceback(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Panic(BaseException):
        pass

    for error in (RuntimeError("of no interest /secret/path"), Panic("of no interest"), MemoryError()):

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("noduleclip.web.explorer.Explorer.answer", fail)
        client = open_client(index)
        client = TestClient(client.app, base_url=str(client.base_url), raise_server_exceptions=False)
        answer = client.get("/api/search?q=%3E+6+mm")
        assert answer.status_code == 500
        assert answer.json() == {"error": "the server has failed at this; its terminal says more"}
        assert answer.headers["x-frame-options"] == "DENY"
