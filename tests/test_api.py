"""The Python API returns what the commands return, and importing the package loads nothing."""

import doctest
import html
import inspect
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

import noduleclip as nc
from conftest import Collection, Command
from noduleclip import schema
from noduleclip.config import CropConfig, ModelConfig, TrainConfig
from noduleclip.errors import ArtefactError, InputError, UsageError
from noduleclip.io.index.open import open_index as open_stored_index
from noduleclip.io.index.rows import UNIQUE_COLUMNS
from noduleclip.workflows.train import TrainResult

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "python.md"
SENTENCE = "a solid nodule > 4 mm"


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys; before = set(sys.modules); import noduleclip; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded <= sys.stdlib_module_names | {"noduleclip"}
    assert not [name for name in done.stdout.split() if name.startswith("noduleclip.")]


def test_searching_loads_no_torch(index: Path) -> None:
    code = f"""
import sys, noduleclip as nc
index = nc.open_index({str(index)!r})
index.query("> 6 mm"), index.fuse("> 6 mm", alpha=0.5), index.query(like=0), index.describe()
assert not {{"torch", "timm", "pydicom", "typer", "rich"}} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_public_names_are_listed_and_lazy() -> None:
    assert set(nc.__all__) <= set(dir(nc))
    for name in nc.__all__:
        assert getattr(nc, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        nc.nothing  # noqa: B018


def read_csv(text: str) -> pl.DataFrame:
    return pl.read_csv(io.StringIO(text), infer_schema_length=None)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({}, []),
        ({"k": 3, "where": "diameter_mm > 5 AND row < 40"}, ["--topk", 3, "--where", "diameter_mm > 5 AND row < 40"]),
        ({"unique": "patient"}, ["--unique", "patient"]),
        ({"like": 3}, ["--like", 3]),
        (
            {"like": 3, "like_weight": 0.2, "unique": "nodule"},
            ["--like", 3, "--like-weight", 0.2, "--unique", "nodule"],
        ),
    ],
)
def test_query_returns_what_the_command_prints(
    noduleclip: Command, index: Path, arguments: dict[str, object], options: list[object]
) -> None:
    done = noduleclip("query", "--emb-dir", index, "--query", SENTENCE, *options, "--format", "csv")
    hits = nc.open_index(index).query(SENTENCE, **arguments)  # type: ignore[arg-type]
    assert read_csv(hits.table.write_csv()).equals(read_csv(done.out))
    assert hits.description in done.err


def test_fuse_returns_what_the_command_prints(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    opened = nc.open_index(str(index))
    listed = opened.table[schema.PATIENT_ID].unique().sort().to_list()[:3]
    (tmp_path / "patients.txt").write_text("\n".join(listed))
    done = noduleclip(
        "fuse", "--emb-dir", index, "--query", SENTENCE, "--alpha", 0.3, "--softness-mm", 2, "--format", "csv",
        "--patients-file", tmp_path / "patients.txt",
    )  # fmt: skip
    for patients in (listed, tmp_path / "patients.txt"):
        hits = opened.fuse(SENTENCE, alpha=0.3, softness_mm=2, patients=patients)
        assert read_csv(hits.table.write_csv()).equals(read_csv(done.out))
    again = opened.fuse(SENTENCE, alpha=0.3, softness_mm=2, patients=listed)
    assert again.table.equals(hits.table)


def test_like_alone_needs_no_sentence(noduleclip: Command, index: Path) -> None:
    done = noduleclip("query", "--emb-dir", index, "--like", 2, "--format", "csv")
    assert read_csv(nc.open_index(index).query(like=2).table.write_csv()).equals(read_csv(done.out))


def test_an_index_is_read_as_arrays(index: Path) -> None:
    opened, stored = nc.open_index(index), open_stored_index(index)
    assert len(opened) == stored.manifest.rows == opened.table.height
    assert opened.embeddings.dtype == np.float32
    assert np.array_equal(opened.embeddings, np.asarray(stored.embeddings))
    assert repr(opened) == f"<noduleclip.Index of {len(opened)} rows in {index}>"


def test_an_opened_index_answers_from_its_generation(index: Path, tmp_path: Path) -> None:
    place = shutil.copytree(index, tmp_path / "index")
    opened = nc.open_index(place)
    before = opened.query(SENTENCE).table
    shutil.rmtree(place)
    assert opened.query(SENTENCE).table.equals(before)


def test_hits_are_a_gallery_in_a_notebook(index: Path) -> None:
    hits = nc.open_index(index).query(SENTENCE, k=4)
    shown = hits._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "sandbox" in shown
    page = html.unescape(shown)
    assert page.count("<polygon") >= 4
    assert "<script" not in page
    assert len(hits) == 4


def test_hits_are_converted_to_pandas_where_it_is_installed(index: Path) -> None:
    hits = nc.open_index(index).query(SENTENCE, k=2)
    try:
        import pandas as pd  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(UsageError, match=r"noduleclip\[pandas\]"):
            hits.to_pandas()
    else:
        assert hits.to_pandas()[schema.DIAMETER_MM].tolist() == hits.table[schema.DIAMETER_MM].to_list()


def test_hits_without_slices_say_why(index: Path, tmp_path: Path) -> None:
    hits = nc.open_index(index, dicom_roots=[tmp_path]).query("> 4 mm", k=2)
    assert "polygon" not in hits.to_html() or "no such file" in hits.to_html()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs a sentence, or a nodule to resemble (like)"),
        ({"sentence": "> 6 mm", "k": 0}, "k must be at least 1"),
        ({"sentence": "> 6 mm", "unique": "lobe"}, "unique must be one of nodule, slice, series, patient"),
        ({"sentence": "> 6 mm", "like": 0, "like_weight": 2}, "like_weight must lie in"),
        ({"sentence": "> 6 mm", "where": "diameter_mm >"}, "not understood at its end"),
        ({"sentence": "> 6 mm", "patients": "LIDC-IDRI-0001"}, "a sequence of ids"),
        ({"sentence": "> 900 mm"}, "900"),
        ({"like": 10**9}, "the rows of"),
    ],
)
def test_what_cannot_be_asked_is_a_usage_error(index: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        nc.open_index(index).query(**arguments)  # type: ignore[arg-type]


def test_other_errors_have_their_classes(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no such index"):
        nc.open_index(tmp_path / "nothing")
    with pytest.raises(InputError, match="no row of"):
        nc.open_index(index).query("> 6 mm", where="diameter_mm > 99")
    with pytest.raises(UsageError, match="alpha must lie in"):
        nc.open_index(index).fuse("> 6 mm", alpha=1.5)
    assert set(UNIQUE_COLUMNS) == {"nodule", "slice", "series", "patient"}


def test_train_makes_the_run_of_the_command(collection: Collection, checkpoint: Path, tmp_path: Path) -> None:
    records: list[dict[str, object]] = []

    def train() -> TrainResult:
        return nc.train(
            collection.roi_csv, train_patients=collection.train, val_patients=collection.val, out=tmp_path / "run",
            model=ModelConfig(emb=16, crop=CropConfig(size_px=32)), config=TrainConfig(epochs=2, bs=8), device="cpu",
            on_epoch=records.append,
        )  # fmt: skip

    run = train()
    lines = (checkpoint.parent / schema.METRICS_LOG).read_text().splitlines()
    of_command = [json.loads(line) for line in lines]
    for key in ("loss", "val_map", "lr"):
        assert [record[key] for record in run.history] == [record[key] for record in of_command]
    assert records == run.history
    assert run.val_map == run.history[run.best_epoch - 1]["val_map"]
    assert {path.name for path in run.out.iterdir()} == {path.name for path in checkpoint.parent.iterdir()}
    with pytest.raises(UsageError, match="already holds"):
        train()


def test_embed_writes_what_the_command_writes(
    collection: Collection, checkpoint: Path, exported: Path, nodule_index: Path, tmp_path: Path
) -> None:
    opened = nc.embed(
        collection.roi_csv,
        out_dir=tmp_path / "index",
        model=checkpoint,
        precision="float32",
        device="cpu",
        cache_dir=exported,
    )
    assert (tmp_path / "index" / schema.EMBEDDINGS).read_bytes() == (nodule_index / schema.EMBEDDINGS).read_bytes()
    assert len(opened) == len(nc.open_index(nodule_index))
    with pytest.raises(UsageError, match="already holds"):
        nc.embed(collection.roi_csv, out_dir=tmp_path / "index", model=checkpoint)


def test_embed_warns_of_unusable_rows(collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    paths = pl.Series([str(collection.roi_csv.parent / "gone.dcm")])
    frame = pl.read_csv(collection.roi_csv, infer_schema=False)
    changed = frame.with_columns(
        (str(collection.roi_csv.parent) + "/" + pl.col(schema.DICOM_PATH)).alias(schema.DICOM_PATH)
    )
    changed = pl.concat([changed.head(1).with_columns(paths.alias(schema.DICOM_PATH)), changed.slice(1)])
    changed.write_csv(tmp_path / "rois.csv")
    with pytest.warns(UserWarning, match="1 of .* rows cannot be used"):
        opened = nc.embed(
            tmp_path / "rois.csv", out_dir=tmp_path / "index", model=checkpoint, device="cpu", cache_dir=exported,
            max_rejects=0.5, unit="outline",
        )  # fmt: skip
    assert len(opened) == frame.height - 1


def test_evaluate_returns_what_the_command_returns(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    evaluation = nc.evaluate(nc.open_index(index), draws=5, resamples=10)
    options = ("evaluate", "--emb-dir", index, "--draws", 5, "--resamples", 10)
    done = noduleclip(*options, "--format", "csv", "--out", tmp_path / "command")
    assert done.code == 0, done.err
    assert read_csv(evaluation.table.write_csv()).equals(read_csv(done.out))
    assert f"mean AP {evaluation.mean_ap:.3f}" in repr(evaluation)
    page = evaluation.save(tmp_path / "api")
    assert page.name == schema.EVALUATION_PAGE
    for name in (schema.EVALUATION_JSON, schema.EVALUATION_PAGE):
        assert (tmp_path / "api" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    with pytest.raises(UsageError, match="already holds"):
        evaluation.save(tmp_path / "api")
    own = nc.evaluate(nc.open_index(index), queries=["> 7 mm", "<= 9 mm"], draws=5, resamples=10)
    assert own.table["query"].to_list() == ["> 7 mm", "<= 9 mm"]


def test_evaluate_by_published_rules_returns_what_the_command_returns(
    noduleclip: Command, rated_index: Path, tmp_path: Path
) -> None:
    evaluation = nc.evaluate(nc.open_index(rated_index), protocol="credanno", resamples=10)
    options = ("evaluate", "--emb-dir", rated_index, "--protocol", "credanno", "--resamples", 10)
    done = noduleclip(*options, "--format", "csv", "--out", tmp_path / "command")
    assert done.code == 0, done.err
    assert read_csv(evaluation.table.write_csv()).equals(read_csv(done.out))
    assert repr(evaluation).endswith("nodules by credanno>")
    page = evaluation.save(tmp_path / "api")
    for name in (page.name, schema.EVALUATION_JSON):
        assert (tmp_path / "api" / name).read_bytes() == (tmp_path / "command" / name).read_bytes()
    with pytest.raises(UsageError, match="already holds"):
        evaluation.save(tmp_path / "api")
    with pytest.raises(UsageError, match="protocol must be default or credanno or proto-caps, got 'own'"):
        nc.evaluate(nc.open_index(rated_index), protocol="own")  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="queries are for the protocol default"):
        nc.evaluate(nc.open_index(rated_index), protocol="credanno", queries=["> 6 mm"])  # type: ignore[call-overload]


def list_examples(value: object) -> list[str]:
    """Return the examples in the docstrings of a public name and of its methods."""
    documented = [value, *vars(value).values()] if isinstance(value, type) else [value]
    texts = [inspect.getdoc(one) or "" for one in documented if inspect.isroutine(one) or one is value]
    return [example.source for text in texts for example in doctest.DocTestParser().get_examples(text)]


@pytest.mark.slow
def test_the_examples_of_the_page_and_of_docstrings_run(
    index: Path, rated_index: Path, collection: Collection, tmp_path: Path
) -> None:
    shutil.copytree(index, tmp_path / "idx")
    shutil.copytree(rated_index, tmp_path / "rated_idx")
    row = open_stored_index(index).read_rows([0]).row(0, named=True)
    roots = open_stored_index(index).manifest.dicom_roots
    shutil.copy(next(Path(root) / row[schema.DICOM_PATH] for root in roots), tmp_path / "slice.dcm")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    shutil.copytree(collection.folder / "splits", tmp_path / "splits")
    shutil.copytree(collection.roi_csv.parent, tmp_path / "phantoms")
    assert len(blocks) == 10
    examples_of = {name: list_examples(getattr(nc, name)) for name in nc.__all__}
    assert all(examples_of.values()), examples_of
    examples = [example for some in examples_of.values() for example in some]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*blocks, *examples])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "(8, 12] mm" in done.stdout


def test_every_public_name_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in (
        "open_index",
        "parse_query",
        "read_crop",
        "query",
        "fuse",
        "embeddings",
        "table",
        "to_pandas",
        "train",
        "embed",
        "evaluate",
        "save",
        "mean_ap",
    ):
        assert name in text


def test_a_note_names_ratings_that_no_hit_has(index: Path) -> None:
    hits = nc.open_index(index).query("a nodule with calcification 6", k=3)
    assert hits.table["satisfies"].null_count() == 3
    assert "no hit has a rating of calcification: whether it satisfies the sentence is not known" in hits.notes


def test_phantoms_of_a_notebook_are_those_of_the_command(noduleclip: Command, tmp_path: Path) -> None:
    roi_csv = nc.make_phantoms(tmp_path / "one", patients=3, seed=3, workers=1)
    done = noduleclip("phantom", "--out", tmp_path / "two", "--patients", 3, "--seed", 3, "--workers", 1)
    assert done.code == 0, done.err
    assert roi_csv.read_bytes() == (tmp_path / "two" / roi_csv.name).read_bytes()


def test_a_page_saved_from_python_names_no_command(index: Path) -> None:
    assert "<code></code>" not in nc.open_index(index).query("> 6 mm", k=2).to_html()
