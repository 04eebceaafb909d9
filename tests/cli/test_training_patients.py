"""evaluate says which patients trained the model, and gives the figures of the unseen ones apart."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

import noduleclip as nc
from conftest import Collection, Command, train_arguments
from noduleclip import schema
from noduleclip.io.bundled_model import find_checkpoint
from noduleclip.io.index.open import open_index
from noduleclip.io.patient_hashes import PatientHashes
from noduleclip.io.patients import read_patient_list
from noduleclip.models.checkpoint import read_checkpoint, save_checkpoint

QUICK = ("--resamples", 10, "--draws", 5)


@pytest.fixture(scope="module")
def unseen_index(
    noduleclip: Command,
    collection: Collection,
    checkpoint: Path,
    exported: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The test patients alone."""
    out = tmp_path_factory.mktemp("unseen") / "index"
    done = noduleclip("embed", *_embed(collection, checkpoint, out), "--patients-file", collection.test)
    assert done.code == 0, done.err
    return out


def _embed(collection: Collection, checkpoint: Path, out: Path) -> tuple[object, ...]:
    table = ("--roi-csv", collection.roi_csv, "--unit", "outline", "--device", "cpu")
    return (*table, "--model", checkpoint, "--out-dir", out)


def _evaluate(noduleclip: Command, index: Path, *more: object) -> tuple[dict[str, object], str]:
    done = noduleclip("evaluate", "--emb-dir", index, "--format", "json", *QUICK, *more)
    assert done.code == 0, done.err
    return json.loads(done.out), done.err


def test_the_unseen_patients_are_evaluated_as_if_they_were_alone(
    noduleclip: Command, collection: Collection, index: Path, unseen_index: Path
) -> None:
    found, message = _evaluate(noduleclip, index)
    lists = {name: len(read_patient_list(getattr(collection, name))) for name in ("train", "val", "test")}
    counts = {"patients": 12, "trained": lists["train"], "validated": lists["val"], "unseen": lists["test"]}
    assert found["training_patients"] == counts
    assert message.count("the figures of the unseen ones are given apart") == 1
    alone, quiet = _evaluate(noduleclip, unseen_index)
    assert alone["training_patients"] == {
        "patients": lists["test"],
        "trained": 0,
        "validated": 0,
        "unseen": lists["test"],
    }
    assert alone["unseen"] is None and "none of 2 patients trained the model" in quiet
    apart = found["unseen"]
    assert isinstance(apart, dict)
    for name in ("nodules", "common", "queries", "model", "readers", "sizes", "coverage"):
        assert apart[name] == alone[name], name


def test_table_and_page_give_them_apart(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    found, _ = _evaluate(noduleclip, index, "--out", tmp_path)
    apart = found["unseen"]
    assert isinstance(apart, dict)
    table = noduleclip("evaluate", "--emb-dir", index, "--format", "table", *QUICK).out
    assert f"unseen patients alone: {apart['nodules']} nodules" in " ".join(table.split())
    assert "trained the model, " in table and "chose its epoch" in table
    assert len(table.splitlines()) <= 40
    assert table.count(f" {apart['model']['ap']['mean']:.3f} ") >= 1, "in the part of unseen patients"
    page = (tmp_path / schema.EVALUATION_PAGE).read_text(encoding="utf-8")
    assert "<h2>Unseen patients: sizes</h2>" in page and "chose its epoch" in page
    assert f"{apart['model']['ap']['mean']:.3f}" in page


def test_an_index_of_seen_patients_alone_is_warned_of_once(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    assert noduleclip("embed", *_embed(collection, checkpoint, out), "--patients-file", collection.train).code == 0
    found, message = _evaluate(noduleclip, out)
    assert found["unseen"] is None
    warnings = [line for line in message.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1 and "the model has seen all 8 patient(s) in training" in message.replace("\n", " ")


def test_a_checkpoint_without_hashes_leaves_it_open(
    noduleclip: Command, collection: Collection, checkpoint: Path, tmp_path: Path
) -> None:
    """As of an earlier version."""
    values = read_checkpoint(checkpoint)
    assert values.pop("patients") is not None
    save_checkpoint(tmp_path / "old.pth", values)
    assert noduleclip("embed", *_embed(collection, tmp_path / "old.pth", tmp_path / "index")).code == 0
    assert "patients" not in json.loads((tmp_path / "index" / schema.INDEX_MANIFEST).read_text())
    found, message = _evaluate(noduleclip, tmp_path / "index", "--out", tmp_path)
    assert found["training_patients"] is None and found["unseen"] is None
    assert "which patients trained the model is not known" in " ".join(message.split())
    assert "Which patients trained the model is not known." in (tmp_path / schema.EVALUATION_PAGE).read_text()


def test_no_id_leaves_the_table_in_clear(collection: Collection, checkpoint: Path, index: Path) -> None:
    patients = read_patient_list(collection.train)
    for content in (checkpoint.read_bytes(), (index / schema.INDEX_MANIFEST).read_bytes()):
        assert not [one for one in patients if one.encode() in content]


def test_hashes_are_those_of_the_patients_with_usable_nodules(
    noduleclip: Command, collection: Collection, tmp_path: Path
) -> None:
    """A listed patient of whom the table has nothing trained nothing."""
    listed = tmp_path / "train.txt"
    listed.write_text(collection.train.read_text() + "NOBODY\n", encoding="utf-8")
    arguments = [listed if one == collection.train else one for one in train_arguments(collection, tmp_path / "run")]
    done = noduleclip(*arguments, "--text-steps", 0, "--epochs", 1)
    assert done.code == 0, done.err
    values = read_checkpoint(tmp_path / "run" / schema.BEST_CHECKPOINT)["patients"]
    assert len(values["train"].split()) == len(read_patient_list(collection.train))
    resumed = noduleclip(*arguments, "--text-steps", 0, "--epochs", 1, "--resume")
    assert resumed.code == 0, resumed.err
    assert read_checkpoint(tmp_path / "run" / schema.BEST_CHECKPOINT)["patients"] == values


def test_merge_carries_the_hashes(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, index: Path, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    for shard in ("1/2", "2/2"):
        done = noduleclip("embed", *_embed(collection, checkpoint, out), "--shard", shard)
        assert done.code == 0, done.err
    assert noduleclip("merge", "--out-dir", out).code == 0
    hashes = open_index(index).manifest.patients
    assert hashes is not None and open_index(out).manifest.patients == hashes


def test_a_lance_store_carries_the_hashes(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    pytest.importorskip("lance")
    copy = tmp_path / "index"
    shutil.copytree(index, copy)
    store = f"lance://{tmp_path}/store"
    done = noduleclip("merge", "--out-dir", copy, "--store", store)
    assert done.code == 0, done.err
    assert open_index(store).manifest.patients == open_index(index).manifest.patients


def test_a_manifest_with_a_broken_list_is_refused(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    shutil.copytree(index, tmp_path / "index")
    path = tmp_path / "index" / schema.INDEX_MANIFEST
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "patients": {"salt": "", "train": "nonsense", "val": ""}}))
    done = noduleclip("evaluate", "--emb-dir", tmp_path / "index")
    assert done.code == 4 and "a hash does not have 16 hex digits" in " ".join(done.err.split())
    del values["patients"]
    path.write_text(json.dumps(values))
    assert open_index(tmp_path / "index").manifest.patients is None


def test_a_checkpoint_with_a_broken_list_is_refused(
    noduleclip: Command, collection: Collection, checkpoint: Path, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "odd.pth", {**read_checkpoint(checkpoint), "patients": ["a"]})
    done = noduleclip("embed", *_embed(collection, tmp_path / "odd.pth", tmp_path / "index"))
    assert done.code == 4 and "its hashes of patients cannot be read" in " ".join(done.err.split())


def test_the_same_from_python(index: Path, unseen_index: Path) -> None:
    evaluation = nc.evaluate(nc.open_index(index), draws=5, resamples=10)
    known, apart = evaluation.training_patients, evaluation.unseen_table
    assert known is not None and known.unseen == 2 and apart is not None
    alone = nc.evaluate(nc.open_index(unseen_index), draws=5, resamples=10)
    assert apart.equals(alone.table) and alone.unseen_table is None


def test_scores_of_another_ranking_are_nobodys_training(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    rows = open_index(index).manifest.rows
    sentence = "> 6 mm"
    pl.DataFrame({schema.ROW: range(rows), sentence: [0.5] * rows}).write_csv(tmp_path / "scores.csv")
    (tmp_path / "q.txt").write_text(f"{sentence}\n")
    found, message = _evaluate(noduleclip, index, "--scores", tmp_path / "scores.csv", "--queries", tmp_path / "q.txt")
    assert found["training_patients"] is None and "trained the model" not in message


def test_published_rules_give_them_apart(noduleclip: Command, rated_index: Path, tmp_path: Path) -> None:
    """None of the phantoms trained the bundled model; a manifest that says so of some is believed."""
    copy = tmp_path / "index"
    shutil.copytree(rated_index, copy)
    arguments = ("evaluate", "--emb-dir", copy, "--protocol", "proto-caps", "--resamples", 10)
    found = json.loads(noduleclip(*arguments, "--format", "json").out)
    assert found["training_patients"]["unseen"] == found["patients"] == found["training_patients"]["patients"]
    values = json.loads((copy / schema.INDEX_MANIFEST).read_text())
    patients = open_index(copy).read_columns([schema.PATIENT_ID])[schema.PATIENT_ID].unique().sort()
    hashes = PatientHashes.from_ids("", patients[: len(patients) // 2])
    (copy / schema.INDEX_MANIFEST).write_text(json.dumps({**values, "patients": hashes.to_mapping()}))
    done = noduleclip(*arguments, "--format", "json", "--out", tmp_path / "out")
    found = json.loads(done.out)
    known = found["training_patients"]
    assert 0 < known["unseen"] < known["patients"] and found["unseen"]["patients"] == known["unseen"]
    assert "Unseen patients" in (tmp_path / "out" / schema.EVALUATION_PAGE).read_text()
    assert "unseen patients alone" in noduleclip(*arguments, "--format", "table").out


def test_the_command_of_the_model_card_gives_its_unseen_patients(
    noduleclip: Command, shared_data: Path, tmp_path: Path
) -> None:
    """The table of all readers and seed 0; the table of one reader gives other lists."""
    table = shared_data / "lidc_crops" / "rois_all_readers.csv"
    assert noduleclip("split", "--roi-csv", table, "--out", tmp_path, "--seed", 0).code == 0
    everyone = set(pl.read_csv(table, columns=[schema.PATIENT_ID])[schema.PATIENT_ID])
    trained = set(read_patient_list(find_checkpoint(Path("lidc")).with_suffix("") / schema.TRAIN_PATIENTS))
    test = set(read_patient_list(tmp_path / schema.TEST_PATIENTS))
    assert len(test) == 140 and not test & trained and test | trained == everyone
