"""All nodules above a cut-off, and estimates where nothing was measured."""

import html
import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import noduleclip as nc
from conftest import Collection, Command
from noduleclip import schema
from noduleclip.errors import UsageError
from noduleclip.io.index.open import open_index
from noduleclip.retrieval.text_query import SentenceEncoder
from retrieval.test_estimate_columns import without_estimates

SENTENCE = "a lung nodule with diameter > 6 mm"


def read(text: str) -> pl.DataFrame:
    return pl.read_csv(io.StringIO(text), infer_schema_length=None)


@pytest.fixture(scope="module")
def probabilities(index: Path) -> np.ndarray:
    """The probability of the sentence for each row, by the definition."""
    encoder = SentenceEncoder(index / schema.TEXT_TOWER)
    return encoder.calibration.to_probability(
        encoder.encode([SENTENCE])[0] @ np.asarray(open_index(index).embeddings).T
    )


@pytest.fixture(scope="module")
def cut_off(probabilities: np.ndarray) -> float:
    """A probability that two fifths of the rows pass, with some room to the next row."""
    ordered = np.sort(probabilities)
    return round(float(ordered[int(0.6 * len(ordered))]), 4)


@pytest.fixture(scope="module")
def unmeasured(
    noduleclip: Command,
    collection: Collection,
    checkpoint: Path,
    exported: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An index of the phantoms, of which every other row has no diameter."""
    folder = tmp_path_factory.mktemp("unmeasured")
    frame = pl.read_csv(collection.roi_csv).with_row_index()
    diameter = pl.when(pl.col("index") % 2 == 0).then(schema.DIAMETER_MM)
    paths = str(collection.roi_csv.parent) + "/" + pl.col(schema.DICOM_PATH)
    frame = frame.with_columns(diameter.alias(schema.DIAMETER_MM), paths.alias(schema.DICOM_PATH)).drop("index")
    frame.drop(schema.POINTS_JSON, schema.NODULE_ID).write_csv(folder / "rois.csv")
    done = noduleclip(
        "embed", "--roi-csv", folder / "rois.csv", "--model", checkpoint, "--out-dir", folder / "index",
        "--device", "cpu", "--cache-dir", exported,
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder / "index"


def test_all_rows_above_the_cut_off_are_hits(
    noduleclip: Command, index: Path, probabilities: np.ndarray, cut_off: float
) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", SENTENCE, "--min-probability", cut_off, "--format", "csv")
    assert done.code == 0, done.err
    hits, passing = read(done.out), np.flatnonzero(probabilities >= cut_off)
    assert sorted(hits[schema.ROW]) == passing.tolist()
    assert len(passing) > 10
    np.testing.assert_allclose(hits[schema.PROBABILITY], probabilities[hits[schema.ROW]], atol=1e-6)
    assert hits[schema.PROBABILITY].is_sorted(descending=True)
    kind = "nodules" if open_index(index).manifest.is_of_nodules else "rows"
    summary = f"{len(passing)} of {len(probabilities)} {kind} with probability >= {cut_off:g}"
    assert summary in done.err
    found = nc.open_index(index).query(SENTENCE, min_probability=cut_off)
    assert found.summary == summary
    assert read(found.table.write_csv()).equals(hits)


def test_the_count_is_that_of_all_where_fewer_are_printed(
    noduleclip: Command, index: Path, probabilities: np.ndarray, cut_off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    options = ["--query", SENTENCE, "--min-probability", cut_off, "--topk", 3, "--format", "table"]
    done = noduleclip("query", "--emb-dir", index, *options)
    assert done.code == 0, done.err
    passing = int((probabilities >= cut_off).sum())
    title = next(line for line in done.out.splitlines() if SENTENCE in line)
    assert f"{SENTENCE}: {passing} of {len(probabilities)}" in title
    assert "probability" in done.out
    assert len([line for line in done.out.splitlines() if line.strip().startswith(("1 ", "2 ", "3 ", "4 "))]) == 3


def test_a_page_has_the_count(index: Path, cut_off: float) -> None:
    hits = nc.open_index(index).query(SENTENCE, min_probability=cut_off)
    page = hits.to_html()
    assert html.escape(hits.summary) in page and "<dt>probability</dt>" in page
    assert hits.summary in repr(hits)


@pytest.mark.parametrize("unique", ["patient", "series"])
def test_groups_are_counted(index: Path, probabilities: np.ndarray, cut_off: float, unique: str) -> None:
    opened = nc.open_index(index)
    names = opened.table[schema.PATIENT_ID if unique == "patient" else schema.SERIES_UID].to_list()
    passing = {names[row] for row in np.flatnonzero(probabilities >= cut_off)}
    hits = opened.query(SENTENCE, min_probability=cut_off, unique=unique)
    assert len(hits) == len(passing)
    plural = {"patient": "patients", "series": "series"}[unique]
    assert hits.summary == f"{len(passing)} of {len(set(names))} {plural} with probability >= {cut_off:g}"


def test_filters_and_likeness_go_with_a_cut_off(index: Path, probabilities: np.ndarray, cut_off: float) -> None:
    opened = nc.open_index(index)
    hits = opened.query(SENTENCE, min_probability=cut_off, where="row < 40")
    passing = np.flatnonzero(probabilities[:40] >= cut_off).tolist()
    assert sorted(hits.table[schema.ROW]) == passing
    both = opened.query(SENTENCE, like=0, min_probability=cut_off)
    assert both.table[schema.PROBABILITY].min() >= cut_off  # type: ignore[operator]
    assert both.table[schema.SCORE].is_sorted(descending=True)


def test_no_row_may_pass(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    options = ["--query", SENTENCE, "--min-probability", 1, "--out", tmp_path]
    for form in ("csv", "table", "json"):
        done = noduleclip("query", "--emb-dir", index, *options, "--format", form, "--overwrite")
        assert done.code == 0, done.err
        assert "0 of " in (done.out if form == "table" else done.err)
    assert pl.read_csv(tmp_path / schema.TOP_K_CSV).height == 0


def test_all_hits_are_ranked(noduleclip: Command, index: Path, probabilities: np.ndarray) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", SENTENCE, "--topk", "all", "--format", "csv")
    assert done.code == 0, done.err
    rows = read(done.out)[schema.ROW].to_list()
    assert sorted(rows) == list(range(len(probabilities)))
    assert (np.diff(probabilities[rows]) <= 1e-6).all()
    assert "asked for" not in done.err
    for k in ("all", None):
        assert nc.open_index(index).query(SENTENCE, k=k).table[schema.ROW].to_list() == rows
    assert len(nc.open_index(index).query(SENTENCE)) == 10


@pytest.mark.parametrize("text", ["0", "-3", "few", "1.5", "²"])
def test_another_number_of_hits_is_refused(noduleclip: Command, index: Path, text: str) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", SENTENCE, "--topk", text)
    assert done.code == 2
    assert f"--topk must be a number from 1, all or auto, got '{text}'" in done.err


def test_a_cut_off_that_nothing_passes_names_the_highest(
    noduleclip: Command, index: Path, probabilities: np.ndarray
) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", SENTENCE, "--min-probability", 1)
    assert read(done.out).height == 0
    assert f"probability >= 1; the highest is {probabilities.max():.5g}" in done.err


def test_a_cut_off_needs_a_sentence(index: Path) -> None:
    with pytest.raises(UsageError, match="--min-probability needs a sentence"):
        nc.open_index(index).query(like=0, min_probability=0.5)
    with pytest.raises(UsageError, match="min_probability must lie in"):
        nc.open_index(index).query("> 6 mm", min_probability=1.5)
    with pytest.raises(UsageError, match="rule must be measured or estimated"):
        nc.open_index(index).fuse("> 6 mm", alpha=0.5, rule="guessed")  # type: ignore[arg-type]


def test_fuse_returns_all_above_a_score(noduleclip: Command, index: Path) -> None:
    options = ["--query", SENTENCE, "--alpha", 0.4, "--format", "csv"]
    everything = read(noduleclip("fuse", "--emb-dir", index, *options, "--topk", "all").out)
    done = noduleclip("fuse", "--emb-dir", index, *options, "--min-score", 0.6)
    assert done.code == 0, done.err
    expected = everything.filter(pl.col(schema.SCORE) >= 0.6)
    assert read(done.out).equals(expected)
    assert 0 < expected.height < everything.height
    assert f"{expected.height} of {everything.height}" in done.err
    assert len(nc.open_index(index).fuse(SENTENCE, alpha=0.4, min_score=0.6)) == expected.height


def test_estimates_stand_in_where_it_is_asked_for(noduleclip: Command, unmeasured: Path) -> None:
    options = ["--emb-dir", unmeasured, "--query", SENTENCE, "--alpha", 0, "--topk", "all", "--format", "csv"]
    measured, estimated = noduleclip("fuse", *options), noduleclip("fuse", *options, "--rule", "estimated")
    assert estimated.code == 0, estimated.err
    lacking = open_index(unmeasured).load_table(schema.META)[schema.DIAMETER_MM].null_count()
    assert lacking > 10
    assert f"{lacking} row(s) have no diameter: ranked by image only; --rule estimated" in measured.err
    assert f"{lacking} row(s) have no measured value of what is asked for: the estimate is used" in estimated.err
    before, after = read(measured.out).sort(schema.ROW), read(estimated.out).sort(schema.ROW)
    is_lacking = before[schema.DIAMETER_MM].is_null()
    assert before.filter(~is_lacking)[schema.RULE].equals(after.filter(~is_lacking)[schema.RULE])
    assert before.filter(is_lacking)[schema.RULE].null_count() == lacking
    sizes = after.filter(is_lacking)[schema.ESTIMATED_DIAMETER].to_numpy()
    rule = np.where(sizes > 6, 1, np.exp(-0.5 * ((6 - sizes) / 1.5) ** 2))
    np.testing.assert_allclose(after.filter(is_lacking)[schema.RULE], rule, atol=1e-4)
    assert after.filter(is_lacking)[schema.SATISFIES].null_count() == lacking  # an estimate satisfies nothing
    by_api = nc.open_index(unmeasured).fuse(SENTENCE, alpha=0, k="all", rule="estimated")
    assert read(by_api.table.write_csv()).equals(read(estimated.out))


def test_tables_mark_an_estimate(noduleclip: Command, unmeasured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    options = ["--emb-dir", unmeasured, "--query", SENTENCE, "--topk", "all"]
    table, hits = (
        noduleclip("query", *options, "--format", "table"),
        read(noduleclip("query", *options, "--format", "csv").out),
    )
    for hit in hits.head(12).iter_rows(named=True):
        (line,) = [one for one in table.out.splitlines() if one.split()[:1] == [str(hit[schema.RANK])]]
        measured, estimate = hit[schema.DIAMETER_MM], hit[schema.ESTIMATED_DIAMETER]
        assert (f"~{estimate:.1f}" if measured is None else f" {measured:.1f} ") in line
        assert ("~" in line) == (measured is None)


def test_an_index_without_estimates_has_none_to_use(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    old = without_estimates(index, tmp_path / "old")
    done = noduleclip("fuse", "--emb-dir", old, "--query", SENTENCE, "--rule", "estimated")
    assert done.code == 2
    assert "made by an earlier version; embed again" in done.err
