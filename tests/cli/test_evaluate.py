"""evaluate with its report, with readers and scores from elsewhere, and ratings in query and fuse."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.io.index.open import open_index
from noduleclip.language import EVALUATION_QUERIES
from noduleclip.retrieval.text_query import SentenceEncoder

QUICK = ("--resamples", 10, "--draws", 5)


def test_the_report_holds_what_was_printed(noduleclip: Command, index: Path, figures: None, tmp_path: Path) -> None:
    out = tmp_path / "<report> & more"
    done = noduleclip("evaluate", "--emb-dir", index, "--format", "json", "--out", out, *QUICK)
    assert done.code == 0, done.err
    assert json.loads((out / schema.EVALUATION_JSON).read_text()) == json.loads(done.out)
    page = (out / schema.EVALUATION_PAGE).read_text()
    assert page.count("<svg ") == 6
    for heading in (
        "By size",
        "By manufacturer",
        "Fused with the measured diameter",
        "Estimated ratings",
        "The 80 % interval of the diameter",
        "Similarity as a probability",
    ):
        assert f"<h2>{heading}</h2>" in page
    assert "<td>… 6-8 mm by another</td>" in page
    assert "<script" not in page and "http-equiv" not in page and 'src="' not in page
    for query in json.loads(done.out)["queries"]:
        assert f"{query['model']['ap']['mean']:.3f}" in page if query["model"]["ap"]["mean"] is not None else True
    again = noduleclip("evaluate", "--emb-dir", index, "--out", out, *QUICK)
    assert again.code == 2
    assert "already holds evaluation.json; --overwrite replaces it" in again.err
    assert noduleclip("evaluate", "--emb-dir", index, "--out", out, "--overwrite", *QUICK).code == 0


def test_estimates_are_compared_with_the_readers(noduleclip: Command, index: Path) -> None:
    found = json.loads(noduleclip("evaluate", "--emb-dir", index, "--format", "json", *QUICK).out)
    estimated = {measure["name"]: measure for measure in found["estimated_ratings"]}
    calibrated = {subject["name"]: subject for subject in found["calibration"]}
    assert estimated and {schema.DIAMETER_MM, *estimated} == set(calibrated)
    for name, measure in estimated.items():
        assert name in schema.RATING_COLUMNS and measure["nodules"] == found["common"]
        assert 0 <= measure["readers"]["panel"]["mean"] <= measure["readers"]["second_reader"]["mean"] < 5
    assert all(0 <= subject["error"] <= 1 for subject in calibrated.values())
    assert found["coverage"][0]["name"] == "all nodules" and found["coverage"][0]["nodules"] == found["nodules"]
    assert all(0 <= part["share"]["mean"] <= 1 and part["median_width_mm"] >= 0 for part in found["coverage"])
    table = noduleclip("evaluate", "--emb-dir", index, "--format", "table", "--verbose", *QUICK).out
    assert "the 80 % interval covers" in table and "mean absolute difference of a rating" in table


def test_markup_in_names_and_sentences_stays_text(
    noduleclip: Command, index: Path, figures: None, tmp_path: Path
) -> None:
    shutil.copytree(index, tmp_path / "<script>alert(1)")
    (tmp_path / "q.txt").write_text('over 6 mm & "quoted" $x$ nodule\n', encoding="utf-8")
    done = noduleclip(
        "evaluate",
        "--emb-dir",
        tmp_path / "<script>alert(1)",
        "--queries",
        tmp_path / "q.txt",
        "--out",
        tmp_path,
        *QUICK,
    )
    assert done.code == 0, done.err
    page = (tmp_path / schema.EVALUATION_PAGE).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&amp; &#34;quoted&#34; $x$ nodule" in page


def test_readers_of_another_table_are_used(
    noduleclip: Command, index: Path, checkpoint: Path, collection: Collection, tmp_path: Path
) -> None:
    """An index of one row a nodule, evaluated by the table of all readers, is the index of all rows."""
    rows = pl.read_csv(collection.roi_csv, infer_schema=False)
    first = rows.unique([schema.PATIENT_ID, schema.NODULE_ID, schema.DICOM_PATH], keep="first", maintain_order=True)
    table = collection.roi_csv.parent / "first_readers.csv"
    first.write_csv(table)
    embedded = noduleclip("embed", "--roi-csv", table, "--model", checkpoint, "--out-dir", tmp_path / "index")
    assert embedded.code == 0, embedded.err
    arguments = ("evaluate", "--format", "json", *QUICK)
    of_all = json.loads(noduleclip(*arguments, "--emb-dir", index).out)
    by_readers = noduleclip(*arguments, "--emb-dir", tmp_path / "index", "--readers", collection.roi_csv)
    assert by_readers.code == 0, by_readers.err
    found = json.loads(by_readers.out)
    for one, other in zip(found.pop("calibration"), of_all.pop("calibration"), strict=True):
        assert one == {**other, "error": pytest.approx(other["error"]), "worst_gap": pytest.approx(other["worst_gap"])}
    for one, other in zip(found.pop("coverage"), of_all.pop("coverage"), strict=True):
        assert one == {**other, "median_width_mm": pytest.approx(other["median_width_mm"])}
    apart, of_all_apart = found.pop("unseen"), of_all.pop("unseen")
    assert apart["queries"] == of_all_apart["queries"] and apart["sizes"] == of_all_apart["sizes"]
    assert found == of_all  # what is left is of ranks, or rounded
    alone = json.loads(noduleclip(*arguments, "--emb-dir", tmp_path / "index").out)
    assert alone["common"] == 0 and alone["readers"] == {} and alone["sizes"] == []


def test_scores_of_another_ranking_are_evaluated(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    """The model's own cosines, given as scores, are worth what the model is worth; a planted truth is perfect."""
    opened = open_index(index)
    cosines = SentenceEncoder(index / schema.TEXT_TOWER).encode(EVALUATION_QUERIES) @ opened.embeddings.T
    columns = {query: pl.Series(row.astype(np.float64)) for query, row in zip(EVALUATION_QUERIES, cosines, strict=True)}
    pl.DataFrame({schema.ROW: range(opened.manifest.rows), **columns}).write_csv(tmp_path / "own.csv")
    arguments = ("evaluate", "--emb-dir", index, "--format", "json", *QUICK)
    own = json.loads(noduleclip(*arguments, "--scores", tmp_path / "own.csv").out)
    model = json.loads(noduleclip(*arguments).out)
    assert own["model"]["ap"]["mean"] == pytest.approx(model["model"]["ap"]["mean"], abs=1e-6)
    assert own["sizes"] == [] and own["ratings"] is None
    assert own["estimated_ratings"] == own["coverage"] == own["calibration"] == []
    refused = noduleclip(*arguments, "--scores", tmp_path / "none.csv")
    assert refused.code == 3
    assert "no such table of scores" in refused.err


@pytest.mark.parametrize("protocol", ["credanno", "proto-caps"])
def test_published_rules_are_printed_and_reported(
    noduleclip: Command, rated_index: Path, tmp_path: Path, protocol: str
) -> None:
    arguments = ("evaluate", "--emb-dir", rated_index, "--protocol", protocol, "--resamples", 10)
    done = noduleclip(*arguments, "--format", "json", "--out", tmp_path)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert json.loads((tmp_path / schema.EVALUATION_JSON).read_text()) == found
    names = [figure["name"] for figure in found["figures"]]
    assert names == ["malignancy below/above 3", "malignancy, AUC", "malignancy within one", *names[3:]]
    assert set(names[3:]) == {"subtlety within one", "texture within one"}, "what both phantoms and model rate"
    page, table = (tmp_path / schema.EVALUATION_PAGE).read_text(), noduleclip(*arguments, "--format", "table").out
    assert f"{found['nodules']} nodules of {found['patients']} patients" in table
    for figure in found["figures"]:
        assert 0 <= figure["model"]["low"] <= figure["model"]["mean"] <= figure["model"]["high"] <= 1
        for where in (page, table):
            assert f"{figure['model']['mean']:.3f}" in where and f"{figure['one_reader']['mean']:.3f}" in where
        assert figure["name"] in page
    assert "<script" not in page and 'src="' not in page


def test_published_rules_need_ratings_of_malignancy(
    noduleclip: Command, index: Path, rated_index: Path, tmp_path: Path
) -> None:
    untrained = noduleclip("evaluate", "--emb-dir", index, "--protocol", "credanno")
    assert untrained.code == 3
    assert "--protocol credanno needs a model trained on ratings of malignancy" in untrained.err
    (tmp_path / "q.txt").write_text("> 6 mm\n", encoding="utf-8")
    refused = noduleclip(
        "evaluate", "--emb-dir", rated_index, "--protocol", "credanno", "--queries", tmp_path / "q.txt"
    )
    assert refused.code == 2
    assert "queries are for the protocol default; credanno evaluates ratings" in refused.err


def test_query_shows_ratings_and_whether_they_satisfy(noduleclip: Command, index: Path) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", "a solid nodule > 8 mm", "--topk", 500)
    assert done.code == 0, done.err
    assert "read as: diameter larger than 8 mm, (8, inf) mm; texture at least 4" in done.err
    for row in csv.DictReader(io.StringIO(done.out)):
        fits = float(row[schema.DIAMETER_MM]) > 8 and float(row[schema.TEXTURE]) >= 4
        assert row[schema.SATISFIES] == str(fits).lower()
    table = noduleclip("query", "--emb-dir", index, "--query", "a solid nodule > 8 mm", "--format", "table")
    assert "texture" in table.out.splitlines()[2]


def test_the_rule_of_fuse_is_size_times_ratings(noduleclip: Command, index: Path) -> None:
    def rules(sentence: str) -> dict[str, float]:
        done = noduleclip("fuse", "--emb-dir", index, "--query", sentence, "--topk", 500, "--format", "csv")
        assert done.code == 0, done.err
        return {row[schema.ROW]: float(row[schema.RULE]) for row in csv.DictReader(io.StringIO(done.out))}

    both, sizes, textures = rules("a solid nodule > 8 mm"), rules("> 8 mm"), rules("a solid nodule")
    assert set(textures.values()) > {1.0}
    for row, rule in both.items():
        assert rule == pytest.approx(sizes[row] * textures[row])


def test_ratings_the_model_was_not_trained_on_are_a_warning(noduleclip: Command, index: Path) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", "a spiculated nodule")
    assert done.code == 0, done.err
    assert "not trained on ratings of spiculation" in done.err
    done = noduleclip("fuse", "--emb-dir", index, "--query", "a spiculated nodule > 6 mm")
    assert done.code == 0, done.err
    contradiction = noduleclip("query", "--emb-dir", index, "--query", "a solid ground-glass nodule")
    assert contradiction.code == 2
    assert "contradict each other" in contradiction.err
