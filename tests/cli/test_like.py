"""`query --like`: nodules similar to one, as a user asks for them."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.io.index.open import open_index
from noduleclip.retrieval.text_query import SentenceEncoder


@pytest.fixture(scope="module")
def meta(index: Path) -> pl.DataFrame:
    """The rows of the index."""
    return open_index(index).scan().collect()


@pytest.fixture(scope="module")
def reader_index(
    noduleclip: Command,
    collection: Collection,
    checkpoint: Path,
    exported: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Three slices, each nodule outlined by a second reader a pixel beside the first; no nodule ids, and spacings."""
    folder = tmp_path_factory.mktemp("readers")
    frame = pl.read_csv(collection.roi_csv)
    first = frame.filter(
        pl.col(schema.DICOM_PATH).is_in(frame[schema.DICOM_PATH].unique(maintain_order=True).head(3).to_list())
    )
    beside = first.with_columns(pl.col(schema.BBOX_XMIN) + 1, pl.col(schema.BBOX_XMAX) + 1)
    ids = [name for name in (schema.NODULE_ID, schema.READER) if name in frame.columns]
    pl.concat([first, beside]).drop(ids).write_csv(folder / "rois.csv")
    done = noduleclip(
        "embed", "--roi-csv", folder / "rois.csv", "--dicom-root", collection.roi_csv.parent, "--model", checkpoint,
        "--out-dir", folder / "index", "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder / "index"


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def numbers_of(text: str) -> list[int]:
    return [int(row[schema.ROW]) for row in rows_of(text)]


def rank_by_hand(index: Path, row: int) -> list[int]:
    """All rows but those of the same nodule, by numpy."""
    opened = open_index(index)
    frame = opened.scan().collect()
    own = frame.row(row, named=True)
    same = (frame[schema.PATIENT_ID] == own[schema.PATIENT_ID]) & (frame[schema.NODULE_ID] == own[schema.NODULE_ID])
    cosines = np.array([float(np.vecdot(vector, opened.embeddings[row])) for vector in opened.embeddings], np.float32)
    order = np.argsort(-cosines, kind="stable")
    return [int(at) for at in order if not same[int(at)]]


@pytest.mark.parametrize("row", [0, 5])
def test_hits_are_the_nearest_rows_but_for_the_nodule_itself(noduleclip: Command, index: Path, row: int) -> None:
    done = noduleclip("query", "--emb-dir", index, "--like", row, "--topk", 500)
    assert done.code == 0, done.err
    assert numbers_of(done.out) == rank_by_hand(index, row)
    opened = open_index(index)
    for hit in rows_of(done.out):
        cosine = float(opened.embeddings[int(hit[schema.ROW])] @ opened.embeddings[row])
        assert float(hit[schema.SIMILARITY]) == pytest.approx(cosine, abs=1e-6)
        assert hit[schema.QUERY] == f"like row {row}"
        assert not hit[schema.SATISFIES]
    facts = opened.read_rows([row]).row(0, named=True)
    nodule = f"{facts[schema.DIAMETER_MM]:.1f} mm, {facts[schema.NODULE_ID]}, {facts[schema.DICOM_PATH]}"
    assert f"similar to row {row}: {nodule}" in done.err


def test_readers_of_one_nodule_are_left_out(noduleclip: Command, reader_index: Path) -> None:
    frame = open_index(reader_index).scan().collect()
    first = frame.row(0, named=True)
    half = frame.height // 2
    done = noduleclip("query", "--emb-dir", reader_index, "--like", 0, "--topk", 500)
    found = numbers_of(done.out)
    assert 0 not in found
    assert half not in found, "the second reader's outline of it"
    far = np.hypot(frame[schema.CENTER_X] - first[schema.CENTER_X], frame[schema.CENTER_Y] - first[schema.CENTER_Y])
    others = frame.filter((pl.col(schema.DICOM_PATH) != first[schema.DICOM_PATH]) | (pl.Series(far) > 20))
    assert set(others[schema.ROW]) <= set(found)


def test_a_slice_stands_for_its_only_nodule(
    noduleclip: Command, index: Path, meta: pl.DataFrame, collection: Collection
) -> None:
    lone = meta.filter(pl.len().over(schema.DICOM_PATH) == 1).row(0, named=True)
    row, path = lone[schema.ROW], lone[schema.DICOM_PATH]
    expected = noduleclip("query", "--emb-dir", index, "--like", row).out
    for text in (path, path.replace("/", "\\"), f"./{path}", collection.roi_csv.parent / path):
        assert noduleclip("query", "--emb-dir", index, "--like", text).out == expected


def test_of_several_nodules_a_place_chooses(noduleclip: Command, index: Path, meta: pl.DataFrame) -> None:
    several = meta.filter(pl.col(schema.NODULE_ID).n_unique().over(schema.DICOM_PATH) > 1)
    path = several[0, schema.DICOM_PATH]
    refused = noduleclip("query", "--emb-dir", index, "--like", path)
    assert refused.code == 2
    for hit in (
        several.filter(pl.col(schema.DICOM_PATH) == path)
        .unique(schema.NODULE_ID, maintain_order=True)
        .iter_rows(named=True)
    ):
        x, y, row = hit[schema.CENTER_X], hit[schema.CENTER_Y], hit[schema.ROW]
        assert f"row {row} at {x:g},{y:g}" in refused.err
        placed = noduleclip("query", "--emb-dir", index, "--like", f"{path}:{x + 0.1},{y}")
        assert placed.out == noduleclip("query", "--emb-dir", index, "--like", row).out


@pytest.mark.parametrize("copied", [True, False], ids=["copy", "another slice"])
def test_a_file_outside_the_index_is_embedded(
    noduleclip: Command, index: Path, meta: pl.DataFrame, collection: Collection, checkpoint: Path, tmp_path: Path,
    copied: bool,
) -> None:  # fmt: skip
    one = meta.row(3, named=True)
    file = tmp_path / "a:b.dcm"
    shutil.copy(collection.roi_csv.parent / one[schema.DICOM_PATH], file)
    if not copied:
        slice_ = pydicom.dcmread(file)
        slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.3")
        slice_.save_as(file)
    place = f"{file}:{one[schema.CENTER_X]},{one[schema.CENTER_Y]}"
    arguments = ("query", "--emb-dir", index, "--topk", 20, "--like")
    unknown = noduleclip(*arguments, place)
    assert unknown.code == 4
    assert "give it with --model" in unknown.err
    found = noduleclip(*arguments, place, "--model", checkpoint)
    assert found.code == 0, found.err
    assert "outside the index" in found.err
    numbers = numbers_of(found.out)
    if not copied:  # then nothing says that a row shows the same nodule, and that row is the nearest
        assert numbers[0] == 3
        assert float(rows_of(found.out)[0][schema.SIMILARITY]) == pytest.approx(1, abs=1e-5)
        return
    assert numbers == numbers_of(noduleclip(*arguments, 3).out)


def test_a_sentence_is_mixed_in(noduleclip: Command, index: Path) -> None:
    arguments = ("query", "--emb-dir", index, "--query", "> 6 mm", "--like", 0, "--topk", 500)
    done = noduleclip(*arguments, "--like-weight", 0.3)
    assert "read as: diameter larger than 6 mm, (6, inf) mm; similar to row 0: " in done.err
    encoder, vectors = SentenceEncoder(index / schema.TEXT_TOWER), open_index(index).embeddings
    rows = rows_of(done.out)
    for hit in rows:
        vector = vectors[int(hit[schema.ROW])]
        logit = encoder.calibration.scale * (vector @ encoder.encode(["> 6 mm"])[0]) + encoder.calibration.bias
        expected = 0.7 / (1 + np.exp(-logit)) + 0.3 * (1 + vector @ vectors[0]) / 2
        assert float(hit[schema.SCORE]) == pytest.approx(float(expected), abs=1e-5)
        assert float(hit[schema.LIKENESS]) == pytest.approx(float(vector @ vectors[0]), abs=1e-6)
        assert hit[schema.QUERY] == "> 6 mm, like row 0"
        assert hit[schema.SATISFIES] == str(float(hit[schema.DIAMETER_MM]) > 6).lower()
    scores = [float(hit[schema.SCORE]) for hit in rows]
    assert scores == sorted(scores, reverse=True)
    assert numbers_of(noduleclip(*arguments, "--like-weight", 1).out) == rank_by_hand(index, 0)


def test_filters_apply_as_before(noduleclip: Command, index: Path) -> None:
    arguments = ("query", "--emb-dir", index, "--like", 0, "--topk", 500)
    small = rows_of(noduleclip(*arguments, "--where", "diameter_mm < 6", "--unique", "patient").out)
    patients = [hit[schema.PATIENT_ID] for hit in small]
    assert len(patients) == len(set(patients)) > 1
    assert all(float(hit[schema.DIAMETER_MM]) < 6 for hit in small)
    alone = noduleclip(*arguments, "--where", "row = 0")
    assert alone.code == 3
    assert "only rows of row 0 itself are left" in alone.err


@pytest.mark.parametrize(
    ("like", "code", "message"),
    [
        ("99999", 2, "the rows of"),
        ("none.dcm", 2, "no row of"),
        (r"C:\x.dcm", 2, r"--like C:\x.dcm: no row of"),
        (r"C:\x.dcm:3,4", 2, "there is no such file"),
        ("none.dcm:3,", 2, "PATH:x,y"),
        ("", 2, "no row of"),
        ("\0:1,2", 2, "no such file"),
    ],
)
def test_what_is_no_nodule_is_one_line(noduleclip: Command, index: Path, like: str, code: int, message: str) -> None:
    done = noduleclip("query", "--emb-dir", index, "--like", like)
    assert done.code == code, done.err
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
