"""The columns of an index are the estimates of its embeddings, in every place where an index can lie."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.io.index.open import open_index
from noduleclip.language import last_rating
from noduleclip.retrieval.estimate_columns import make_columns
from noduleclip.retrieval.estimates import PHRASES, estimate
from noduleclip.retrieval.text_query import SentenceEncoder


def test_columns_are_the_estimates_of_the_embeddings(index: Path) -> None:
    opened, encoder = open_index(index), SentenceEncoder(index / schema.TEXT_TOWER)
    found = estimate(encoder, opened.embeddings)
    meta = opened.load_table(schema.META)
    assert meta.select(make_columns(found).columns).equals(make_columns(found))
    np.testing.assert_allclose(meta[schema.ESTIMATED_DIAMETER], found.diameter_mm, atol=0.0051)
    assert encoder.attributes
    for name in encoder.attributes:
        assert meta[f"estimated_{name}"].to_list() == found.ratings[name].tolist()
        shares = meta.select(f"probability_{name}_{rating}" for rating in range(1, last_rating(name) + 1)).to_numpy()
        np.testing.assert_allclose(shares, found.distributions[name], atol=5.1e-5)
    for name in found.phrases:
        assert name in PHRASES
        np.testing.assert_allclose(meta[f"probability_{name}"], found.phrases[name], atol=5.1e-5)
    kinds = {meta.schema[name] for name in meta.columns if name.startswith(("estimated_", "probability_"))}
    assert kinds == {pl.Float32()}
    assert meta[schema.DESCRIPTION].str.contains(r"^(about [\d.]+|under 2|over 45) mm \([\d.]+-[\d.]+\)").all()


def test_hits_carry_the_estimates_but_not_the_probabilities(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", "> 6 mm", "--out", tmp_path)
    assert done.code == 0
    hits = pl.read_csv(tmp_path / schema.TOP_K_CSV)
    meta = open_index(index).load_table(schema.META)
    assert [name for name in hits.columns if name.startswith(schema.PROBABILITY_PREFIX)] == []
    assert set(meta.columns) - set(hits.columns) == {name for name in meta.columns if name.startswith("probability_")}
    best = meta[hits[schema.ROW].to_list()]
    assert hits[schema.ESTIMATED_DIAMETER].cast(pl.Float32).to_list() == best[schema.ESTIMATED_DIAMETER].to_list()
    assert hits[schema.DESCRIPTION].to_list() == best[schema.DESCRIPTION].to_list()


def test_conditions_take_all_of_them(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    """Values of rows are selected by `>=`, `<=` and `IN`: columns hold what is printed."""
    meta = open_index(index).load_table(schema.META)
    median = meta[schema.ESTIMATED_DIAMETER].to_list()[3]
    name = next(name for name in meta.columns if name.startswith("probability_"))
    share = meta[name].to_list()[5]
    where = f"estimated_diameter_mm >= {median:.2f} AND {name} <= {share:.4f} AND {name} NOT IN (2.7)"
    done = noduleclip(
        "query", "--emb-dir", index, "--query", "> 2 mm", "--topk", 1000, "--where", where, "--out", tmp_path
    )
    assert done.code == 0, done.err
    kept = meta.with_row_index(schema.ROW).filter(
        (pl.col(schema.ESTIMATED_DIAMETER) >= median) & (pl.col(name) <= share)
    )
    assert sorted(pl.read_csv(tmp_path / schema.TOP_K_CSV)[schema.ROW]) == kept[schema.ROW].to_list()
    assert kept.height


def without_estimates(index: Path, folder: Path) -> Path:
    """The index as an earlier version wrote it, without estimates."""
    from noduleclip.io.index.folder_writer import write_index_files

    opened = open_index(index)
    meta = opened.load_table(schema.META)
    folder.mkdir()
    write_index_files(
        folder,
        meta=meta.select(name for name in meta.columns if not name.startswith(("estimated_", "probability_", "desc"))),
        outlines=None,
        vectors=[np.asarray(opened.embeddings)],
        text_file=index / schema.TEXT_TOWER,
        manifest=opened.manifest,
    )
    return folder


@pytest.mark.parametrize("column", ["estimated_diameter_mm", "probability_spiculated", "description"])
def test_an_index_without_them_says_to_embed_again(
    noduleclip: Command, index: Path, tmp_path: Path, column: str
) -> None:
    old = without_estimates(index, tmp_path / "old")
    done = noduleclip("query", "--emb-dir", old, "--query", "> 2 mm", "--where", f"{column} IS NULL")
    assert done.code == 2
    assert f"no column '{column}', as it was made by an earlier version; embed again" in done.err
    assert noduleclip("query", "--emb-dir", old, "--query", "> 2 mm").code == 0


def test_an_unknown_column_is_answered_by_those_that_there_are(noduleclip: Command, index: Path) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", "> 2 mm", "--where", "probability_large > 0.5")
    assert done.code == 2
    assert "no column 'probability_large'; it has" in done.err
    assert "of probability_…" in done.err
    assert "probability_subtle" not in done.err


def test_a_kept_column_cannot_have_the_name_of_an_estimate(
    noduleclip: Command, collection: Collection, checkpoint: Path, tmp_path: Path
) -> None:
    table = tmp_path / "rois.csv"
    frame = pl.read_csv(collection.roi_csv)
    frame.with_columns(pl.lit(1.0).alias("estimated_diameter_mm")).write_csv(table)
    done = noduleclip(
        "embed", "--roi-csv", table, "--dicom-root", collection.roi_csv.parent, "--model", checkpoint,
        "--out-dir", tmp_path / "index", "--keep", "estimated_diameter_mm",
    )  # fmt: skip
    assert done.code == 3
    assert "column 'estimated_diameter_mm' cannot be kept under this name; rename it" in done.err
