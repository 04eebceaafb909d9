"""`describe`: what an index holds of its nodules, or a table's nodules without an index, in every format."""

import io
import json
import re
from pathlib import Path

import polars as pl
import pytest

import noduleclip as nc
from conftest import Collection, Command
from noduleclip import schema
from noduleclip.io.index.open import open_index
from noduleclip.retrieval.estimate_columns import make_columns
from noduleclip.retrieval.estimates import estimate
from noduleclip.retrieval.text_query import SentenceEncoder
from retrieval.test_estimate_columns import without_estimates


def read(text: str) -> pl.DataFrame:
    return pl.read_csv(io.StringIO(text), infer_schema_length=None)


@pytest.fixture(scope="module")
def expected(index: Path) -> pl.DataFrame:
    """The estimates of the index by the definition."""
    return make_columns(estimate(SentenceEncoder(index / schema.TEXT_TOWER), open_index(index).embeddings))


def test_an_index_is_described(noduleclip: Command, index: Path, expected: pl.DataFrame, tmp_path: Path) -> None:
    done = noduleclip("describe", "--emb-dir", index, "--out", tmp_path, "--format", "csv")
    assert done.code == 0, done.err
    found = read(done.out)
    assert found.select(expected.columns).equals(read(expected.write_csv()))
    assert found[schema.ROW].to_list() == list(range(expected.height))
    assert (
        found[schema.DIAMETER_MM].to_list() == open_index(index).load_table(schema.META)[schema.DIAMETER_MM].to_list()
    )
    assert (tmp_path / schema.ESTIMATES_CSV).read_text() == done.out
    assert f"{expected.height} nodules in {tmp_path / schema.ESTIMATES_CSV}" in done.err
    refused = noduleclip("describe", "--emb-dir", index, "--out", tmp_path)
    assert refused.code == 2
    assert "--overwrite" in refused.err


def test_the_api_returns_the_same(noduleclip: Command, index: Path) -> None:
    where = "estimated_diameter_mm > 1 AND row < 30"
    table = nc.open_index(index).describe(where=where)
    done = noduleclip("describe", "--emb-dir", index, "--where", where, "--format", "csv")
    assert read(table.write_csv()).equals(read(done.out))
    assert table.height == 30


def test_json_is_an_object_a_nodule_with_the_values_of_csv(noduleclip: Command, index: Path) -> None:
    nodules = [
        json.loads(line) for line in noduleclip("describe", "--emb-dir", index, "--format", "json").out.splitlines()
    ]
    found = read(noduleclip("describe", "--emb-dir", index, "--format", "csv").out)
    assert [one[schema.ESTIMATED_DIAMETER] for one in nodules] == found[schema.ESTIMATED_DIAMETER].to_list()
    assert [one[schema.DESCRIPTION] for one in nodules] == found[schema.DESCRIPTION].to_list()


def test_the_table_has_the_interval_and_the_words(
    noduleclip: Command, index: Path, expected: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = noduleclip("describe", "--emb-dir", index, "--format", "table")
    assert done.code == 0, done.err
    first = expected.row(0, named=True)
    low, high = first[schema.ESTIMATED_LOW], first[schema.ESTIMATED_HIGH]
    lines = [line for line in done.out.splitlines() if re.match(r"\s+0 ", line)]
    assert f"{first[schema.ESTIMATED_DIAMETER]:.1f} ({low:.1f}-{high:.1f})" in lines[0]
    assert first[schema.DESCRIPTION].partition(", ")[2] in lines[0]


def test_patients_and_conditions_filter(noduleclip: Command, index: Path, collection: Collection) -> None:
    found = read(noduleclip("describe", "--emb-dir", index, "--patients-file", collection.test, "--format", "csv").out)
    assert set(found[schema.PATIENT_ID]) == set(collection.test.read_text().split())
    none = noduleclip("describe", "--emb-dir", index, "--where", "estimated_diameter_mm > 99")
    assert none.code == 3
    assert "passes --where and --patients-file" in none.err


def test_an_index_without_estimates_is_described_all_the_same(
    noduleclip: Command, index: Path, expected: pl.DataFrame, tmp_path: Path
) -> None:
    old = without_estimates(index, tmp_path / "old")
    done = noduleclip("describe", "--emb-dir", old, "--where", "row >= 7", "--format", "csv")
    assert done.code == 0, done.err
    assert "holds no estimates, so they are computed; embed again to keep them" in done.err
    assert read(done.out).select(expected.columns).equals(read(expected[7:].write_csv()))


def points(collection: Collection, path: Path) -> Path:
    """The phantoms' table as points: places without a size, with a column of the user's."""
    frame = pl.read_csv(collection.roi_csv)
    boxed = frame.with_columns(
        pl.lit(None).alias(schema.DIAMETER_MM), (pl.col(schema.BBOX_XMIN) * 2).alias("candidate"),
        (str(collection.roi_csv.parent) + "/" + pl.col(schema.DICOM_PATH)).alias(schema.DICOM_PATH),
    ).drop(schema.POINTS_JSON)  # fmt: skip
    boxed.write_csv(path)
    return path


def test_a_table_is_described_without_an_index(
    noduleclip: Command,
    collection: Collection,
    checkpoint: Path,
    exported: Path,
    expected: pl.DataFrame,
    tmp_path: Path,
) -> None:
    table = points(collection, tmp_path / "points.csv")
    before = set(tmp_path.iterdir())
    done = noduleclip(
        "describe", "--roi-csv", table, "--model", checkpoint, "--device", "cpu", "--cache-dir", exported,
        "--keep", "candidate", "--format", "csv", "--precision", "float32", "--unit", "outline",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert set(tmp_path.iterdir()) == before
    found = read(done.out)
    assert found.select(expected.columns).equals(read(expected.write_csv()))
    assert found[schema.CSV_ROW].to_list() == list(range(1, expected.height + 1))
    assert found["candidate"].to_list() == pl.read_csv(table)["candidate"].to_list()
    assert found[schema.DIAMETER_MM].null_count() == found.height
    by_api = nc.describe(
        table,
        model=checkpoint,
        device="cpu",
        cache_dir=exported,
        keep=["candidate"],
        precision="float32",
        unit="outline",
    )
    assert read(by_api.write_csv()).equals(found)


def test_unusable_rows_of_a_table_are_listed(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    table = points(collection, tmp_path / "points.csv")
    frame = pl.read_csv(table, infer_schema=False)
    pl.concat([frame.head(3), frame.head(1).with_columns(pl.lit("gone.dcm").alias(schema.DICOM_PATH))]).write_csv(table)
    options = [
        "--roi-csv", table, "--unit", "outline", "--model", checkpoint, "--device", "cpu", "--cache-dir", exported,
        "--out", tmp_path,
    ]  # fmt: skip
    assert noduleclip("describe", *options).code == 3
    done = noduleclip("describe", *options, "--max-rejects", 0.5, "--format", "csv")
    assert done.code == 0, done.err
    assert "1 of 4 rows cannot be used" in done.err
    assert read(done.out)[schema.CSV_ROW].to_list() == [1, 2, 3]
    assert pl.read_csv(tmp_path / schema.REJECTS_CSV)[schema.CSV_ROW].to_list() == [4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give an index with --emb-dir, or a table with --roi-csv, not both"),
        (["--emb-dir", "idx", "--roi-csv", "rois.csv"], "give an index with --emb-dir, or a table with --roi-csv"),
        (["--roi-csv", "rois.csv", "--where", "row > 3"], "--where is for an index"),
        (["--emb-dir", "idx", "--limit", "3"], "--limit needs --roi-csv"),
        (["--emb-dir", "idx", "--views", "2"], "--views needs --roi-csv"),
    ],
)
def test_options_that_contradict_each_other(noduleclip: Command, options: list[str], message: str) -> None:
    done = noduleclip("describe", *options)
    assert done.code == 2
    assert message in done.err
