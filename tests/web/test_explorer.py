"""The explorer ranks as fuse does, and answers no one that it should not."""

import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from starlette.testclient import TestClient

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.errors import UsageError
from noduleclip.io.artefacts import hash_file
from noduleclip.io.dicom.slice import read_ct_slice
from noduleclip.io.index.open import open_index
from noduleclip.retrieval.plane import project_to_plane
from noduleclip.web import app
from noduleclip.web.questions import MOST_HITS, parse_request
from web.conftest import HERE, open_client

TOKEN = "sixteen-letters!"  # noqa: S105
STATUSES = {"/": 200, "/static/explorer.js": 200, "/api/search?q=": 422, "/nothing": 404, "/picture/1.png": 200}
FOREIGN = ("evil.example", "127.0.0.1.evil.example", "evil.example:8765", "[::1", "", "127.0.0.1@evil.example")
FUSED = {"q": "6-10 mm", "alpha": "0.3", "softness": "2", "k": "9", "unique": ""}


@pytest.fixture(scope="module")
def client(index: Path) -> TestClient:
    return open_client(index)


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        (FUSED, ["--query", "6-10 mm", "--alpha", 0.3, "--softness-mm", 2, "--topk", 9]),
        ({**FUSED, "unique": "patient"},
         ["--query", "6-10 mm", "--alpha", 0.3, "--softness-mm", 2, "--topk", 9, "--unique", "patient"]),
        ({"q": "a solid nodule > 4 mm", "unique": "nodule", "where": "diameter_mm > 5"},
         ["--query", "a solid nodule > 4 mm", "--topk", 24, "--unique", "nodule", "--where", "diameter_mm > 5"]),
        ({"q": "=a nodule", "k": "3", "unique": ""}, ["--query", "=a nodule", "--topk", 3]),
    ],
)  # fmt: skip
def test_the_table_of_hits_is_that_of_fuse(
    client: TestClient, index: Path, noduleclip: Command, tmp_path: Path, asked: dict[str, str], options: list[object]
) -> None:
    assert noduleclip("fuse", "--emb-dir", index, *options, "--out", tmp_path).code == 0
    answer = client.get("/topk.csv", params=asked)
    assert answer.status_code == 200
    assert answer.content == (tmp_path / schema.TOP_K_CSV).read_bytes()
    assert answer.headers["content-disposition"] == 'attachment; filename="topk.csv"'
    shown = client.get("/api/search", params=asked).json()["hits"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [hit[schema.ROW] for hit in shown] == [int(row[schema.ROW]) for row in rows]
    assert [hit[schema.SCORE] for hit in shown] == [float(row[schema.SCORE]) for row in rows]


def test_the_page_of_hits_is_that_of_fuse(client: TestClient, index: Path, noduleclip: Command, tmp_path: Path) -> None:
    options = ("--query", "6-10 mm", "--alpha", 0.3, "--softness-mm", 2, "--topk", 9, "--html", tmp_path / "hits.html")
    assert noduleclip("fuse", "--emb-dir", index, *options).code == 0
    answer = client.get("/hits.html", params=FUSED)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="hits.html"'
    page = (tmp_path / "hits.html").read_text(encoding="utf-8")
    assert answer.text.split("<footer>")[0] == page.split("<footer>")[0]
    assert "noduleclip fuse index &#34;6-10 mm&#34; --topk 9 --alpha 0.3" in answer.text
    assert client.get("/hits.html", params={"q": "> 3 mm", "k": "200", "unique": ""}).text.count("<li>") == 50
    assert client.get("/hits.html", params={"q": "> 10 and < 5 mm"}).status_code == 422


def test_a_sentence_is_shown_as_a_range_of_the_collection(client: TestClient, index: Path) -> None:
    sizes = open_index(index).read_columns([schema.DIAMETER_MM])[schema.DIAMETER_MM].to_numpy()
    answer = client.get("/api/search", params={"q": "between 5 and 8 mm"}).json()
    assert answer["interval"] == {"low_mm": 5, "high_mm": 8, "text": "(5, 8] mm"}
    assert answer["inside"] == int(((sizes > 5) & (sizes <= 8)).sum())
    bins = client.get("/api/collection").json()["bins"]
    assert bins[7] == int(((sizes >= 7) & (sizes < 8)).sum())
    assert sum(bins) == answer["ranked"] == len(sizes)
    assert client.get("/api/search", params={"q": "> 5 mm"}).json()["interval"]["high_mm"] is None


def test_filters_keep_what_they_say(client: TestClient, index: Path) -> None:
    table = open_index(index).read_columns([schema.DIAMETER_MM, schema.PATIENT_ID])
    two = table[schema.PATIENT_ID].unique(maintain_order=True)[:2].to_list()
    asked = {
        "q": "> 3 mm",
        "min": "4",
        "max": "9",
        "patients": f" {two[0].lower()}, {two[1]} nobody",
        "k": "200",
        "unique": "",
    }
    answer = client.get("/api/search", params=asked).json()
    expected = table.with_row_index("n").filter(
        pl.col(schema.PATIENT_ID).is_in(two), pl.col(schema.DIAMETER_MM).is_between(4, 9)
    )["n"]
    assert sorted(hit[schema.ROW] for hit in answer["hits"]) == expected.to_list()
    assert answer["ranked"] == len(expected) > 0
    nothing = client.get("/api/search", params={"q": "> 3 mm", "min": "90"}).json()
    assert nothing["hits"] == []
    assert "No row passes the filters." in nothing["notes"]


def test_neighbours_are_the_nearest_embeddings(client: TestClient, index: Path) -> None:
    embeddings = open_index(index).embeddings
    found = client.get("/api/nodule/5", params={"unique": ""}).json()
    nearest = [row for row in np.argsort(-np.vecdot(embeddings, embeddings[5]).clip(-1, 1), kind="stable") if row != 5][
        :12
    ]
    assert [hit[schema.ROW] for hit in found["neighbours"]] == nearest
    apart = client.get("/api/nodule/5").json()["neighbours"]
    ids = open_index(index).read_columns([schema.NODULE_ID])[schema.NODULE_ID]
    assert len({hit[schema.NODULE_ID] for hit in apart} | {ids[5]}) == len(apart) + 1


def test_the_slice_is_the_slice(client: TestClient, collection: Collection) -> None:
    nodule = client.get("/api/nodule/5").json()
    answer = client.get("/api/slice/5")
    ct = read_ct_slice(collection.roi_csv.parent / nodule["metadata"][schema.DICOM_PATH])
    shape = tuple(map(int, answer.headers["x-shape"].split(",")))
    assert np.array_equal(np.frombuffer(answer.content, "<i2").reshape(shape), ct.hu)
    assert tuple(map(float, answer.headers["x-spacing-mm"].split(","))) == ct.spacing_yx_mm
    left, top, right, bottom = nodule["box"]
    (mean,) = nodule["slice"]["mean"]
    assert all(left - 1 <= x <= right + 1 and top - 1 <= y <= bottom + 1 for x, y in mean)
    picture = Image.open(io.BytesIO(client.get("/picture/5.png").content))
    assert picture.size == (160, 160)
    assert (np.asarray(picture) == (255, 176, 0)).all(axis=-1).any()


def test_the_map_separates_what_differs_most(client: TestClient, index: Path) -> None:
    opened = open_index(index)
    count = opened.manifest.rows
    content = client.get("/api/map").content
    rows, points = np.frombuffer(content[: 4 * count], "<u4"), np.frombuffer(content[4 * count :], "<f4").reshape(-1, 4)
    assert rows.tolist() == list(range(count))
    assert points[:, 2] == pytest.approx(
        opened.read_columns([schema.DIAMETER_MM])[schema.DIAMETER_MM].to_numpy(), rel=1e-6
    )
    centred = opened.embeddings.astype(np.float64) - opened.embeddings.mean(axis=0, dtype=np.float64)
    singular = np.linalg.svd(centred, compute_uv=False)
    assert np.linalg.norm(points[:, :2], axis=0) == pytest.approx(singular[:2], rel=1e-4)
    some = np.array([3, 1])
    assert np.array_equal(project_to_plane(opened.embeddings, some), points[some, :2])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"q": ""}, "empty"),
        ({"q": "> 6 mm and < 2 mm"}, "contradict each other"),
        ({"q": "x" * 1001}, "1001 characters"),
        ({"q": "> 6 mm", "alpha": "1.1"}, "alpha must be a number in [0, 1], got '1.1'"),
        ({"q": "> 6 mm", "softness": "nan"}, "softness must be a number"),
        ({"q": "> 6 mm", "min": "inf"}, "min must be a number at least 0"),
        ({"q": "> 6 mm", "k": "2001"}, "k must be a number in [1, 2000]"),
        ({"q": "> 6 mm", "unique": "<b>"}, "unique must be one of"),
        ({"q": "> 6 mm", "where": "nosuch > 4"}, "no column 'nosuch'"),
        ({"q": "> 6 mm", "where": "diameter_mm +"}, "the condition 'diameter_mm +': not understood"),
        ({"q": "> 6 mm", "where": "diameter_mm"}, "not understood at its end"),
        ({"q": "> 6 mm", "where": "repeat(patient_id, 99999999) = '1'"}, "functions are not available"),
        ({"q": "> 6 mm", "where": "(" * 499}, "the condition '((("),
        ({"q": "> 6 mm", "where": "1" * 501}, "501 characters"),
        ({"q": "> 6 mm", "patients": "1" * 4001}, "4001 characters"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(client: TestClient, asked: dict[str, str], said: str) -> None:
    for address in ("/api/search", "/topk.csv"):
        answer = client.get(address, params=asked)
        assert answer.status_code == 422
        assert said in answer.json()["error"]


@pytest.mark.parametrize(
    "where",
    [
        "diameter_mm IN (SELECT x FROM read_csv/**/('{}'))", "diameter_mm IN (SELECT x FROM read_csv('{}'))",
        "patient_id = (SELECT x FROM read_parquet/**/('{}'))", "rpad/**/(patient_id, 200000000, 'x') = '{}'",
    ],
)  # fmt: skip
def test_a_condition_cannot_read_a_file(client: TestClient, tmp_path: Path, where: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("hunter2\n1\n")
    answer = client.get("/api/search", params={"q": "> 6 mm", "where": where.format(secret)})
    assert answer.status_code == 422
    assert "hunter2" not in answer.text
    assert "not understood" in answer.json()["error"]


def test_the_rule_is_one_of_fuse() -> None:
    assert parse_request({"q": "> 6 mm", "rule": "estimated"}).rule == "estimated"
    with pytest.raises(UsageError, match="rule must be measured or estimated, got 'guessed'"):
        parse_request({"q": "> 6 mm", "rule": "guessed"})


def test_defaults_are_those_of_fuse() -> None:
    search = parse_request({"q": "x", "alpha": " "})
    assert search.rule == "measured"
    assert (search.alpha, search.softness_mm) == (0.5, 1.5)
    assert search.k is not None
    assert search.k <= MOST_HITS


# Who may ask


def test_every_answer_has_the_strict_headers(client: TestClient) -> None:
    for address, status in (
        ("/", 200),
        ("/static/explorer.js", 200),
        ("/api/search?q=", 422),
        ("/nothing", 404),
        ("/picture/1.png", 200),
    ):
        answer = client.get(address)
        assert answer.status_code == status
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"


def test_the_page_takes_nothing_from_elsewhere_and_has_no_script_in_it(client: TestClient) -> None:
    page = client.get("/").text
    assert "http" not in page.replace("<!doctype html>", "")
    assert page.count("<script") == 1
    assert "style=" not in page
    modules = [path.name for path in Path(app.__file__).with_name("static").glob("*.js")]
    script = "".join(client.get(f"/static/{name}").text for name in modules)
    assert len(modules) > 5
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)
    assert re.findall(r"https?:[^\"]*", script) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_was_made_to_point_here_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/api/collection", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:9000", "LOCALHOST", "[::1]:8765"])
def test_this_machine_is_known_by_its_names(client: TestClient, host: str) -> None:
    assert client.get("/api/collection", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed(client: TestClient, method: str) -> None:
    assert client.request(method, "/api/collection").status_code == 403
    assert client.request(method, "/api/collection", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.request(method, "/api/collection", headers={"origin": "null"}).status_code == 403
    assert client.request(method, "/api/collection", headers={"origin": HERE}).status_code == 405


ALL = ("/", "/api/collection", "/api/search?q=x", "/api/nodule/1", "/api/stack/1", "/api/slice/1", "/picture/1.png",
       "/topk.csv?q=x", "/hits.html?q=x", "/hits.mrk.json?q=x", "/api/map", "/static/explorer.js",
       "/nothing")  # fmt: skip
LED = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
BY_LINK = {"sec-fetch-site": "none", **LED}


@pytest.mark.parametrize("address", ALL)
@pytest.mark.parametrize("site", ["cross-site", "same-site", "what"])
def test_another_page_may_lead_to_the_page_and_to_nothing_else(client: TestClient, address: str, site: str) -> None:
    led = client.get(address, headers={"sec-fetch-site": site, **LED}).status_code
    assert led == (200 if address == "/" else 403)
    for kind in ({"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, {"sec-fetch-mode": "cors"},
                 {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}):  # fmt: skip
        assert client.get(address, headers={"sec-fetch-site": site, **kind}).status_code == 403


@pytest.mark.parametrize("address", ALL)
@pytest.mark.parametrize("kind", ["iframe", "frame", "embed", "object", "fencedframe", "what"])
def test_no_page_is_put_into_another(client: TestClient, address: str, kind: str) -> None:
    for site in ("cross-site", "same-site", "same-origin", "none"):
        headers = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": kind}
        answer = client.get(address, headers=headers)
        assert answer.status_code == 403
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("address", ALL)
def test_an_origin_other_than_its_own_is_refused(client: TestClient, address: str) -> None:
    own = client.get(address).status_code
    for origin in ("null", "http://evil.example", "http://127.0.0.1:8766", "http://127.0.0.1", "file://127.0.0.1:8765",
                   "http://127.0.0.1:8765.evil.example", "http://[::1", "127.0.0.1:8765", ""):  # fmt: skip
        assert client.get(address, headers={"origin": origin}).status_code == 403, origin
        assert client.get(address, headers=[("origin", HERE), ("origin", origin)]).status_code == 403
    assert client.get(address, headers={"origin": HERE}).status_code == own


@pytest.mark.parametrize("address", ALL)
def test_an_old_browser_is_known_by_where_it_comes_from(client: TestClient, address: str) -> None:
    own = client.get(address).status_code
    for referrer in ("http://evil.example/", "http://127.0.0.1:8766/", "http://127.0.0.1/", "http://[::1"):
        assert client.get(address, headers={"referer": referrer}).status_code == (200 if address == "/" else 403)
    assert client.get(address, headers={"referer": f"{HERE}/?q=x"}).status_code == own


def test_its_own_page_and_a_command_line_are_answered(client: TestClient) -> None:
    own = {"sec-fetch-site": "same-origin", "referer": f"{HERE}/"}
    for headers in ({}, {"accept": "*/*"}, BY_LINK, {**own, "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"},
                    {**own, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, {**own, **LED}):  # fmt: skip
        assert client.get("/picture/1.png", headers=headers).status_code == 200


def test_a_token_opens_once_and_stays_as_a_cookie(index: Path) -> None:
    client = open_client(index, token=TOKEN)
    for address in ("/", "/?token=wrong", "/api/collection", f"/api/collection?token={TOKEN}", "/static/explorer.js"):
        assert client.get(address).status_code == 401, address
    opened = client.get("/", params={"token": TOKEN, "q": "> 6 mm"})
    assert (opened.status_code, opened.headers["location"]) == (303, "/?q=%3E+6+mm")
    cookie = opened.headers["set-cookie"]
    value = re.fullmatch(r"noduleclip-8765=([\w-]{43}); HttpOnly; Path=/; SameSite=strict", cookie)
    assert value is not None, cookie
    assert TOKEN not in cookie
    assert hashlib.sha256(TOKEN.encode()).hexdigest() not in cookie
    assert client.get("/api/collection").status_code == 200
    other = open_client(index, token=TOKEN)
    assert other.get("/api/collection", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert other.get("/api/collection", headers=[(b"cookie", "noduleclip-8765=é".encode())]).status_code == 401
    for old in (value.group(1), TOKEN, hashlib.sha256(TOKEN.encode()).hexdigest()):  # of a server that has ended
        for name in ("noduleclip", "noduleclip-8765", "noduleclip-80", "__Host-noduleclip-8765"):
            assert other.get("/api/collection", headers={"cookie": f"{name}={old}"}).status_code == 401


def test_the_cookie_is_of_the_port_that_the_browser_sees_and_of_tls_where_there_is_any(index: Path) -> None:
    client = open_client(index, token=TOKEN)
    for host, secure, start in (
        ("127.0.0.1:9000", False, "noduleclip-9000="), ("localhost", False, "noduleclip-80="),
        ("localhost", True, "__Host-noduleclip-443="), ("[::1]:9", True, "__Host-noduleclip-9="),
    ):  # fmt: skip
        headers = {"host": host, **({"x-forwarded-proto": "https"} if secure else {})}
        opened = client.get(f"/?token={TOKEN}", headers=headers)
        cookie = opened.headers["set-cookie"]
        assert cookie.startswith(start)
        assert ("; Secure" in cookie) == secure
        client.cookies.clear()
        given = {"cookie": cookie.split(";")[0]}
        assert client.get("/api/collection", headers={**headers, **given}).status_code == 200
        assert client.get("/api/collection", headers={"host": "127.0.0.1:1", **given}).status_code == 401


@pytest.mark.parametrize(
    ("token", "said"),
    [
        (" " * 16, "--token has 0 characters"), ("\t \n" * 8, "--token has 0 characters"),
        ("abcdefgh       ", "--token has 8 characters"), (" abcdefghijklmno ", "--token has 15 characters"),
        ("abcdefgh abcdefgh", "letters, digits and signs of ASCII"),
        ("abcdefghabcdefgh\0", "letters, digits and signs"),
        ("abcdefghabcdefgh\x7f", "letters, digits and signs"), ("äbcdefghäbcdefgh", "letters, digits and signs"),
        ("a" * 32, "--token has 1 different characters, at least 8"), ("ab" * 16, "--token has 2 different characters"),
    ],
)  # fmt: skip
def test_a_token_that_is_none_is_refused(
    index: Path, noduleclip: Command, monkeypatch: pytest.MonkeyPatch, token: str, said: str
) -> None:
    done = noduleclip("serve", "--emb-dir", index, "--token", token)
    assert (done.code, said in done.err) == (2, True), done.err
    assert "Traceback" not in done.err
    if "\0" not in token:
        monkeypatch.setenv("NODULECLIP_SERVE_TOKEN", token)
        done = noduleclip("serve", "--emb-dir", index)
        assert (done.code, said in done.err) == (2, True), done.err


@pytest.mark.parametrize("host", ["192.168.0.7", "::", "example.org", "127.0.0.1.example.org"])
def test_who_listens_to_others_needs_a_token(index: Path, noduleclip: Command, host: str) -> None:
    done = noduleclip("serve", "--emb-dir", index, "--host", host)
    assert done.code == 2
    assert "other machines can reach this address" in done.err
    done = noduleclip("serve", "--emb-dir", index, "--host", host, "--token", "short")
    assert done.code == 2
    assert "--token has 5 characters; at least 16 are needed" in done.err


@pytest.mark.parametrize("host", ["a" * 70, "a..example.org", f"{'a' * 64}.example.org"])
@pytest.mark.enable_socket
def test_a_host_that_is_no_name_is_refused(index: Path, noduleclip: Command, host: str) -> None:
    done = noduleclip("serve", "--emb-dir", index, "--host", host, "--token", TOKEN, "--port", 0)
    assert (done.code, f"--host {host}: this is no host name" in done.err) == (2, True), done.err
    assert "Traceback" not in done.err


def test_a_body_with_two_lengths_is_refused(client: TestClient) -> None:
    answer = client.get("/", headers={"content-length": "0", "transfer-encoding": "chunked"})
    assert (answer.status_code, answer.headers["connection"]) == (400, "close")
    assert answer.text == "A request has Content-Length or Transfer-Encoding, not both."


@pytest.mark.parametrize("address", ["/api/nodule/{}", "/api/stack/{}", "/api/slice/{}", "/picture/{}.png"])
def test_only_rows_can_be_asked_for(client: TestClient, address: str) -> None:
    for row in ("-1", "1.0", "999999", "9" * 400, "../../etc/passwd", "%2e%2e%2fetc%2fpasswd", "0x1"):
        answer = client.get(address.format(row))
        assert answer.status_code == 404, row
        assert "root:" not in answer.text
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/..%2fapp.py"):
        assert client.get(path).status_code == 404


def rewrite_paths(index: Path, out: Path, path: str) -> Path:
    """Copy an index so that all its rows name a file, with a manifest that says nothing is wrong."""
    shutil.copytree(index, out)
    meta = out / schema.META
    pl.read_parquet(meta).with_columns(pl.lit(path).alias(schema.DICOM_PATH)).write_parquet(meta)
    manifest = json.loads((out / schema.INDEX_MANIFEST).read_text())
    manifest["files"][schema.META] = {"sha256": hash_file(meta), "bytes": meta.stat().st_size}
    (out / schema.INDEX_MANIFEST).write_text(json.dumps(manifest))
    return out


def test_a_slice_outside_its_folders_is_not_read(index: Path, collection: Collection, tmp_path: Path) -> None:
    secret = collection.roi_csv.parent / open_index(index).read_rows([0])[schema.DICOM_PATH][0]
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.dcm").symlink_to(secret)
    for number, named in enumerate((str(secret), f"../{secret.name}", "link.dcm", "a\0b")):
        hostile = rewrite_paths(index, tmp_path / f"index{number}", named)
        client = open_client(hostile, roots=(root,))
        for address in ("/picture/0.png", "/api/slice/0"):
            answer = client.get(address)
            assert answer.status_code == 404, named
            assert "lies outside the DICOM folders" in answer.json()["error"]
    inside = open_client(rewrite_paths(index, tmp_path / "inside", str(secret)), roots=(collection.roi_csv.parent,))
    assert inside.get("/api/slice/0").status_code == 200


def test_absolute_paths_are_followed_in_an_index_that_was_made_here(
    collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path, noduleclip: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    start = f"{collection.roi_csv.parent.absolute()}/"
    table = tmp_path / "table" / "roi.csv"
    table.parent.mkdir()
    rows = pl.read_csv(collection.roi_csv, infer_schema=False)
    rows.with_columns(pl.concat_str(pl.lit(start), schema.DICOM_PATH).alias(schema.DICOM_PATH)).write_csv(table)
    out = tmp_path / "index"
    done = noduleclip("embed", "--roi-csv", table, "--model", checkpoint, "--out-dir", out, "--device", "cpu")
    assert done.code == 0, done.err
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    addresses = ("/picture/0.png", "/api/slice/0")
    for roots in ((), (tmp_path,)):
        client = open_client(out, roots=roots)
        assert [client.get(address).status_code for address in addresses] == [200, 200]
        assert "data:image" in client.get("/hits.html", params={"q": "> 3 mm", "k": "1"}).text

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # of another user, who did not make it
    for roots in ((), (tmp_path,)):
        strange = open_client(out, roots=roots)
        assert [strange.get(address).status_code for address in addresses] == [404, 404]
        assert "data:image" not in strange.get("/hits.html", params={"q": "> 3 mm", "k": "1"}).text
    inside = open_client(out, roots=(collection.roi_csv.parent,))
    assert [inside.get(address).status_code for address in addresses] == [200, 200]


def test_a_slice_that_is_gone_is_a_reason(index: Path, tmp_path: Path) -> None:
    answer = open_client(index, roots=(tmp_path,)).get("/picture/0.png")
    assert answer.status_code == 404
    assert "no such file" in answer.json()["error"]


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_the_server_never_loads_torch() -> None:
    heavy = "{'torch', 'timm', 'onnxscript', 'matplotlib'}"
    code = f"import sys, noduleclip.web.serving, noduleclip.cli.search; print({heavy} & set(sys.modules))"
    assert run_python(code) == "set()\n"
