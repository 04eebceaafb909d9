"""query and fuse as a user calls them."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.io.index.open import open_index
from noduleclip.retrieval.text_query import SentenceEncoder

SENTENCE = "a lung nodule with diameter > 6 mm"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def cosines_of(index: Path, sentence: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    vector = SentenceEncoder(index / schema.TEXT_TOWER).encode([sentence])[0]
    return np.asarray(open_index(index).embeddings @ vector)


def test_query_writes_and_prints_the_same_hits(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", SENTENCE, "--topk", 7, "--out", tmp_path / "q")
    assert done.code == 0, done.err
    assert "read as: diameter larger than 6 mm, (6, inf) mm" in done.err
    printed = rows_of(done.out)
    assert printed == rows_of((tmp_path / "q" / schema.TOP_K_CSV).read_text())
    best = np.argsort(-cosines_of(index, SENTENCE), kind="stable")[:7]
    assert [int(row[schema.ROW]) for row in printed] == best.tolist()
    assert [int(row[schema.RANK]) for row in printed] == list(range(1, 8))
    for row in printed:
        assert row[schema.SATISFIES] == str(float(row[schema.DIAMETER_MM]) > 6).lower()
        assert row[schema.DICOM_PATH].startswith(f"dicom/{row[schema.PATIENT_ID]}/")


def test_fuse_adds_up(noduleclip: Command, index: Path) -> None:
    done = noduleclip("fuse", "--emb-dir", index, "--query", "6-10 mm", "--alpha", 0.3, "--topk", 500)
    rows = rows_of(done.out)
    assert len(rows) == open_index(index).manifest.rows
    assert "there are" in done.err
    for row in rows:
        expected = 0.3 * float(row[schema.COSINE]) + 0.7 * float(row[schema.RULE])
        assert float(row[schema.SCORE]) == pytest.approx(expected, abs=1e-9)
    scores = [float(row[schema.SCORE]) for row in rows]
    assert scores == sorted(scores, reverse=True)


def test_alpha_at_its_ends_is_the_image_and_the_rule(noduleclip: Command, index: Path) -> None:
    by_image = rows_of(noduleclip("fuse", "--emb-dir", index, "--query", "> 8 mm", "--alpha", 1).out)
    query = rows_of(noduleclip("query", "--emb-dir", index, "--query", "> 8 mm").out)
    assert [row[schema.ROW] for row in by_image] == [row[schema.ROW] for row in query]
    hard = noduleclip("fuse", "--emb-dir", index, "--query", "> 8 mm", "--alpha", 0, "--softness-mm", 0, "--topk", 500)
    for row in rows_of(hard.out):
        assert float(row[schema.RULE]) == float(float(row[schema.DIAMETER_MM]) > 8)


def test_filters_come_before_the_top_k(noduleclip: Command, index: Path, collection: Collection) -> None:
    meta = open_index(index).scan().collect()
    small = meta.filter(pl.col(schema.DIAMETER_MM) < 6)
    done = noduleclip("query", "--emb-dir", index, "--query", "> 10 mm", "--topk", 5, "--where", "diameter_mm < 6")
    rows = rows_of(done.out)
    assert len(rows) == min(5, small.height)
    assert all(float(row[schema.DIAMETER_MM]) < 6 for row in rows)
    patients = set(collection.test.read_text().split())
    done = noduleclip(
        "query", "--emb-dir", index, "--query", "> 10 mm", "--patients-file", collection.test, "--topk", 500
    )
    rows = rows_of(done.out)
    assert {row[schema.PATIENT_ID] for row in rows} == patients
    assert len(rows) == meta.filter(pl.col(schema.PATIENT_ID).is_in(list(patients))).height


@pytest.mark.parametrize(
    ("unique", "columns"),
    [
        ("patient", [schema.PATIENT_ID]),
        ("nodule", [schema.PATIENT_ID, schema.NODULE_ID]),
        ("slice", [schema.DICOM_PATH]),
        ("series", [schema.SERIES_UID]),
    ],
)
def test_unique_keeps_the_best_row_of_each(noduleclip: Command, index: Path, unique: str, columns: list[str]) -> None:
    arguments = ("query", "--emb-dir", index, "--query", "> 10 mm", "--topk", 500)
    every = rows_of(noduleclip(*arguments).out)
    kept = rows_of(noduleclip(*arguments, "--unique", unique).out)
    best: dict[tuple[str, ...], str] = {}
    for row in every:
        best.setdefault(tuple(row[name] for name in columns), row[schema.ROW])
    assert [row[schema.ROW] for row in kept] == list(best.values())


def test_many_sentences_at_once(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("# sizes\n>=3 mm\n\na large lung nodule\n", encoding="utf-8")
    done = noduleclip(
        "query", "--emb-dir", index, "--queries-file", tmp_path / "queries.txt", "--topk", 2, "--format", "json"
    )
    hits = [json.loads(line) for line in done.out.splitlines()]
    assert [(hit[schema.QUERY], hit[schema.RANK]) for hit in hits] == [
        (">=3 mm", 1), (">=3 mm", 2), ("a large lung nodule", 1), ("a large lung nodule", 2),
    ]  # fmt: skip
    alone = rows_of(noduleclip("query", "--emb-dir", index, "--query", "a large lung nodule", "--topk", 2).out)
    assert [hit[schema.ROW] for hit in hits[2:]] == [int(row[schema.ROW]) for row in alone]


def test_the_table_shows_rank_size_patient_and_slice(noduleclip: Command, index: Path) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", SENTENCE, "--format", "table", "--topk", 3)
    for text in (
        SENTENCE,
        "probability",
        "patient",
        "nodule",
        "slice",
        "PHANTOM-",
        "read as: diameter larger than 6 mm",
    ):
        assert text in done.out
    assert "✓" in done.out or "✗" in done.out
    assert done.out.count("read as") == 1
    assert "read as" not in done.err  # once is enough
    assert max(len(line) for line in done.out.splitlines()) <= 80


def test_paths_only(noduleclip: Command, index: Path) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", SENTENCE, "--paths-only", "--topk", 4)
    assert 1 <= len(done.out.splitlines()) <= 4
    assert all(line.endswith(".dcm") for line in done.out.splitlines())


def test_words_without_a_size_go_to_the_text_tower_alone(noduleclip: Command, index: Path) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", "a lung nodule", "--topk", 1)
    assert done.code == 0
    assert "no size" in done.err
    fused = noduleclip("fuse", "--emb-dir", index, "--query", "a lung nodule", "--topk", 3)
    assert "ranked by image only" in fused.err
    assert all(row[schema.SCORE] == row[schema.COSINE] and not row[schema.RULE] for row in rows_of(fused.out))


def test_rows_without_a_diameter_are_found_by_the_image(
    noduleclip: Command, collection: Collection, checkpoint: Path, tmp_path: Path
) -> None:
    frame = pl.read_csv(collection.roi_csv).with_columns(
        pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.col(schema.DIAMETER_MM)).alias(schema.DIAMETER_MM),
        (str(collection.roi_csv.parent) + "/" + pl.col(schema.DICOM_PATH)).alias(schema.DICOM_PATH),
    )
    frame.write_csv(tmp_path / "rois.csv")
    index = tmp_path / "index"
    outlines = ("--roi-csv", tmp_path / "rois.csv", "--unit", "outline")
    assert noduleclip("embed", *outlines, "--model", checkpoint, "--out-dir", index).code == 0
    done = noduleclip("fuse", "--emb-dir", index, "--query", "> 6 mm", "--topk", 500)
    assert f"{frame.height // 2} row(s) have no diameter" in done.err
    rows = rows_of(done.out)
    assert len(rows) == frame.height
    assert all(row[schema.SCORE] == row[schema.COSINE] for row in rows if not row[schema.DIAMETER_MM])
    assert all(not row[schema.SATISFIES] for row in rows if not row[schema.DIAMETER_MM])
    table = noduleclip("fuse", "--emb-dir", index, "--query", "> 6 mm", "--topk", 500, "--format", "table").out
    for row in rows:
        size = row[schema.DIAMETER_MM] or row[schema.ESTIMATED_DIAMETER]
        assert re.search(rf" {'' if row[schema.DIAMETER_MM] else '~'}{float(size):.1f} ", table)


def test_alpha_auto_is_chosen_on_readers(noduleclip: Command, index: Path) -> None:
    done = noduleclip("fuse", "--emb-dir", index, "--query", "> 6 mm", "--alpha", "auto", "--val-emb-dir", index)
    assert done.code == 0, done.err
    assert "validation nodules; the diameter alone" in done.err
    without = noduleclip("fuse", "--emb-dir", index, "--query", "> 6 mm", "--alpha", "auto")
    assert without.code == 2
    assert "--alpha auto needs --val-emb-dir" in without.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--query", "> 10 and < 5 mm"], 2, "contradict"),
        (["--query", " "], 2, "empty"),
        (["--query", "x", "--queries-file", "y"], 2, "not both"),
        ([], 2, "without quotes the shell takes > and < for itself"),
        (["--query", "mm"], 2, "'mm' is a unit without a size; without quotes the shell takes"),
        (["--query", "> 6 mm", "--where", "diameter_mm >"], 2, "--where 'diameter_mm >': not understood at its end"),
        (["--query", "> 6 mm", "--where", "colour = 'red'"], 2, "colour"),
        (["--query", "> 6 mm", "--where", "diameter_mm + 1"], 2, "not understood at character 13"),
        (["--query", "> 6 mm", "--where", "diameter_mm > 900"], 3, "no row of"),
        (["--query", "> 6 mm", "--topk", "0"], 2, "topk"),
        (["--query", "> 6 mm", "--model", "none.pth"], 4, "no such checkpoint"),
    ],
)
def test_what_cannot_be_is_one_line(
    noduleclip: Command, index: Path, arguments: list[str], code: int, message: str
) -> None:
    done = noduleclip("query", "--emb-dir", index, *arguments)
    assert done.code == code
    assert message in done.err
    assert done.err.strip().splitlines()[-1].startswith("error: ")
    assert not done.out


def test_a_model_that_did_not_make_the_embeddings_is_refused(
    noduleclip: Command, index: Path, checkpoint: Path, tmp_path: Path
) -> None:
    arguments = ("query", "--emb-dir", index, "--query", SENTENCE, "--model")
    assert noduleclip(*arguments, checkpoint).code == 0
    other = tmp_path / "other.pth"
    other.write_bytes(checkpoint.read_bytes() + b"\0")
    refused = noduleclip(*arguments, other)
    assert refused.code == 4
    assert "did not make the embeddings" in refused.err


def test_a_text_tower_of_another_model_is_refused(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(index, tmp_path / "copy")
    manifest = json.loads((copy / schema.INDEX_MANIFEST).read_text())
    manifest["model_id"] = "0" * 16
    (copy / schema.INDEX_MANIFEST).write_text(json.dumps(manifest))
    refused = noduleclip("query", "--emb-dir", copy, "--query", SENTENCE)
    assert refused.code == 4
    assert "is of model" in refused.err


def test_results_are_not_replaced_unasked(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    arguments = ("query", "--emb-dir", index, "--query", SENTENCE, "--out", tmp_path)
    assert noduleclip(*arguments).code == 0
    refused = noduleclip(*arguments)
    assert refused.code == 2
    assert "already holds topk.csv; --overwrite replaces it" in refused.err
    assert noduleclip(*arguments, "--overwrite").code == 0


@pytest.mark.parametrize(
    "where", ["patient_id > 3", "CAST(patient_id AS INT) > 3", "max(diameter_mm) > 3", "diameter_mm"]
)
def test_a_condition_that_cannot_be_met_row_by_row_is_told(noduleclip: Command, index: Path, where: str) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", "> 6 mm", "--where", where)
    assert done.code == 2, done.err
    assert done.err.splitlines()[-1].startswith("error: --where")


@pytest.mark.parametrize("gap", ["", " ", "/**/", "\n"])
@pytest.mark.parametrize("function", ["read_csv", "read_parquet", "read_ndjson", "read_ipc"])
def test_a_condition_cannot_read_a_file(
    noduleclip: Command, index: Path, tmp_path: Path, function: str, gap: str
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("hunter2\n1\n")
    where = f"diameter_mm IN (SELECT x FROM {function}{gap}('{secret}'))"  # noqa: S608
    done = noduleclip("query", "--emb-dir", index, "--query", "> 6 mm", "--where", where)
    assert done.code == 2, done.err
    assert "hunter2" not in done.err
    assert "not understood at character 17" in done.err


@pytest.mark.parametrize("columns", [40, 50, 60, 80])
@pytest.mark.parametrize("command", ["query", "fuse"])
def test_narrow_windows_lose_columns_not_digits(
    noduleclip: Command, index: Path, command: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    table = noduleclip(command, "--emb-dir", index, "--query", "> 6 mm", "--topk", 5, "--format", "table").out
    rows = [line for line in table.splitlines() if re.match(r"\s+[1-5]  ", line)]
    assert len(rows) == 5
    for row in rows:
        assert re.search(r"\b\d\.\d{3}\b.* \d+\.\d [✓✗]", row)
        assert row.rstrip().endswith(".dcm")
    assert max(map(len, table.splitlines())) <= columns


def test_paths_are_printed_once(noduleclip: Command, index: Path) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", "> 6 mm", "--topk", 50, "--paths-only")
    paths = done.out.splitlines()
    assert len(paths) == len(set(paths)) > 1


@pytest.mark.parametrize("command", ["query", "fuse"])
@pytest.mark.parametrize(
    ("sentence", "options"), [("hello world", ("--free-text",)), ("a lung nodule", ())], ids=["unknown", "nothing"]
)
def test_words_that_ask_for_nothing_have_no_probability(
    noduleclip: Command, index: Path, tmp_path: Path, command: str, sentence: str, options: tuple[str, ...]
) -> None:
    asked = (command, index, sentence, *options, "--topk", 5)
    done = noduleclip(*asked, "--format", "csv", "--out", tmp_path / "hits", "--html", tmp_path / "hits.html")
    assert done.code == 0, done.err
    assert "ranked by similarity to the words alone, which is no probability" in done.err
    rows = rows_of((tmp_path / "hits" / schema.TOP_K_CSV).read_text())
    assert [row[schema.PROBABILITY] for row in rows] == [""] * 5
    best = np.sort(cosines_of(index, sentence))[::-1][:5]
    assert [float(row[schema.SIMILARITY]) for row in rows] == pytest.approx(best.tolist(), abs=1e-6)
    assert (schema.COSINE in rows[0]) == (command == "fuse")
    table = noduleclip(*asked, "--format", "table").out
    assert re.search(rf"# +{schema.SIMILARITY} +", table)
    assert schema.PROBABILITY not in table.splitlines()[2] and schema.SCORE not in table.splitlines()[2]
    assert f"{best[0]:.3f}" in table and "which is no probability" in " ".join(table.split())
    page = (tmp_path / "hits.html").read_text(encoding="utf-8")
    assert f"<dt>{schema.SIMILARITY}</dt><dd>{best[0]:.3f}</dd>" in page
    assert f"<dt>{schema.PROBABILITY}</dt>" not in page


def test_a_least_probability_needs_something_asked_for(noduleclip: Command, index: Path) -> None:
    for sentence, options in (("hello world", ("--free-text",)), ("a lung nodule", ())):
        done = noduleclip("query", index, sentence, *options, "--min-probability", 0.5)
        assert (done.code, done.out) == (2, "")
        assert f"{sentence!r}: --min-probability needs a size or a rating" in done.err
