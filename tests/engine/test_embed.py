"""Row i of the embeddings is row i of the metadata, whatever failed, and a killed run goes on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pydicom
import pytest
import torch
from numpy.typing import NDArray

from conftest import Collection, Command
from enhanced_ct import enhance
from noduleclip import schema
from noduleclip.config import FLOAT32, CropConfig
from noduleclip.engine import chunks
from noduleclip.engine.embed import write_index
from noduleclip.engine.encoders import Encoder, open_encoders
from noduleclip.errors import ArtefactError
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.index import folder_writer
from noduleclip.io.index.open import open_index
from noduleclip.io.roi_table import read_roi_table
from noduleclip.io.slice_crops import CutSettings
from noduleclip.models.checkpoint import load_model


def one_by_one(index: Path, collection: Collection, checkpoint: Path) -> None:
    """Every row of an index beside its crop, cut and embedded alone."""
    opened = open_index(index)
    model = load_model(checkpoint)
    crop: CropConfig = model.config.crop
    meta = opened.scan().collect()
    table = read_roi_table(collection.roi_csv).frame
    for row in range(0, meta.height, 5):
        same = table.filter(pl.col(schema.CSV_ROW) == meta[row, schema.CSV_ROW])
        assert same[0, schema.SOP_UID] == meta[row, schema.SOP_UID]
        cache = CropCache(index.parent / "alone", same, CutSettings.for_crop(crop))
        cache.fill(1)
        with torch.no_grad():
            alone = model.encode_views(torch.from_numpy(cache.read([0])).float()).numpy()
        np.testing.assert_allclose(opened.embeddings[row : row + 1], alone, rtol=0, atol=1e-5)


def test_rows_stay_together(index: Path, collection: Collection, checkpoint: Path) -> None:
    opened = open_index(index)
    assert opened.embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(opened.embeddings, axis=1), 1, rtol=1e-5)
    assert opened.manifest.rows == pl.read_csv(collection.roi_csv).height
    one_by_one(index, collection, checkpoint)


@pytest.mark.parametrize("broken", [[0], [3, 4], [-1], [0, 7, -1]])
def test_rows_stay_together_when_some_fail(
    collection: Collection, checkpoint: Path, exported: Path, noduleclip: Command, tmp_path: Path, broken: list[int]
) -> None:
    frame = pl.read_csv(collection.roi_csv)
    paths = [str(collection.roi_csv.parent / path) for path in frame[schema.DICOM_PATH]]
    for row in broken:
        paths[row] = "gone.dcm"
    frame.with_columns(pl.Series(schema.DICOM_PATH, paths)).write_csv(tmp_path / "rois.csv")
    done = noduleclip(
        "embed", "--unit", "outline", "--roi-csv", tmp_path / "rois.csv",
        "--model", checkpoint, "--out-dir", tmp_path / "index",
        "--max-rejects", 0.5, "--device", "cpu", "--cache-dir", exported,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert open_index(tmp_path / "index").manifest.rows == frame.height - len(broken)
    one_by_one(tmp_path / "index", collection, checkpoint)
    rejects = pl.read_csv(tmp_path / "index" / schema.REJECTS_CSV)
    assert rejects[schema.CSV_ROW].to_list() == sorted(row % frame.height + 1 for row in broken)
    assert set(rejects[schema.REJECT_CODE]) == {"missing-file"}


def test_frames_of_an_enhanced_ct_are_embedded_as_their_slices_are(
    index: Path, collection: Collection, checkpoint: Path, exported: Path, noduleclip: Command, tmp_path: Path
) -> None:
    frame = pl.read_csv(collection.roi_csv).with_row_index(schema.ROW)
    slices = frame.group_by(schema.PATIENT_ID).agg(pl.n_unique(schema.DICOM_PATH)).sort(schema.DICOM_PATH)
    frame = frame.filter(pl.col(schema.PATIENT_ID) == slices[-1, schema.PATIENT_ID])
    paths = frame[schema.DICOM_PATH].unique(maintain_order=True).to_list()
    assert len(paths) > 1
    enhance([pydicom.dcmread(collection.roi_csv.parent / path) for path in paths], tmp_path / "volume.dcm")
    frames = [paths.index(path) + 1 for path in frame[schema.DICOM_PATH]]
    table = frame.drop(schema.ROW).with_columns(
        pl.lit("volume.dcm").alias(schema.DICOM_PATH), pl.Series(schema.FRAME, frames)
    )
    table.write_csv(tmp_path / "rois.csv")
    done = noduleclip(
        "embed", "--unit", "outline", "--roi-csv", tmp_path / "rois.csv",
        "--model", checkpoint, "--out-dir", tmp_path / "index",
        "--strict", "--device", "cpu", "--cache-dir", exported,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert f"on {len(paths)} slices" in done.err
    opened = open_index(tmp_path / "index")
    expected = open_index(index).embeddings[frame[schema.ROW].to_list()]
    np.testing.assert_allclose(opened.embeddings, expected, rtol=0, atol=1e-6)
    assert opened.read_columns([schema.FRAME])[schema.FRAME].to_list() == frames
    hits = noduleclip("query", "--emb-dir", tmp_path / "index", "--query", "> 8 mm", "--unique", "slice", "--topk", 99)
    kept = pl.read_csv(hits.out.encode())
    assert sorted(kept[schema.FRAME]) == list(range(1, len(paths) + 1))


def test_too_many_rejects_end_the_run_without_an_index(
    collection: Collection, checkpoint: Path, noduleclip: Command, tmp_path: Path
) -> None:
    frame = pl.read_csv(collection.roi_csv)
    frame.with_columns(pl.lit("gone.dcm").alias(schema.DICOM_PATH)).write_csv(tmp_path / "rois.csv")
    done = noduleclip(
        "embed",
        "--roi-csv",
        tmp_path / "rois.csv",
        "--unit",
        "outline",
        "--model",
        checkpoint,
        "--out-dir",
        tmp_path / "index",
    )
    assert done.code == 3
    assert f"{frame.height} of {frame.height} rows cannot be used ({frame.height} missing-file)" in done.err
    assert not (tmp_path / "index" / schema.INDEX_MANIFEST).exists()


@dataclass
class Watched:
    """An encoder that counts, and is interrupted once it has embedded so many."""

    encoder: Encoder
    most: int = 1_000_000
    embedded: int = 0

    def __post_init__(self) -> None:
        self.model_id, self.config, self.calibration = (
            self.encoder.model_id, self.encoder.config, self.encoder.calibration
        )  # fmt: skip
        self.views, self.precision = self.encoder.views, self.encoder.precision

    def encode(self, crops_hu: NDArray[np.int16]) -> NDArray[np.float32]:
        if self.embedded + len(crops_hu) > self.most:
            raise KeyboardInterrupt
        self.embedded += len(crops_hu)
        return self.encoder.encode(crops_hu)


def test_a_killed_run_continues_from_its_chunks(
    collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 8)
    encoders = open_encoders(checkpoint, exported, "cpu", precision=FLOAT32)
    frame = read_roi_table(collection.roi_csv).frame
    cache = CropCache(tmp_path / "cache", frame, CutSettings.for_crop(encoders.image.config.crop))
    cache.fill(1)
    with pytest.raises(KeyboardInterrupt):
        write_index(frame, cache, replace(encoders, image=Watched(encoders.image, 20)), tmp_path / "index", bs=8)
    assert not (tmp_path / "index" / schema.INDEX_MANIFEST).exists()
    watched = Watched(encoders.image)
    write_index(frame, cache, replace(encoders, image=watched), tmp_path / "index", bs=8)
    assert watched.embedded == frame.height - 16
    one_by_one(tmp_path / "index", collection, checkpoint)
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == sorted(
        [schema.EMBEDDINGS, schema.META, schema.OUTLINES, schema.TEXT_TOWER, schema.INDEX_MANIFEST]
    )


@pytest.mark.parametrize("early", [True, False])
def test_a_run_that_ends_while_it_replaces_an_index_leaves_the_old_one_or_none(
    collection: Collection,
    checkpoint: Path,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    early: bool,
) -> None:
    """Never the embeddings of one model beside the text encoder of another."""
    frame = read_roi_table(collection.roi_csv).frame
    encoders = open_encoders(checkpoint, exported, "cpu", precision=FLOAT32)
    cache = CropCache(tmp_path / "cache", frame, CutSettings.for_crop(encoders.image.config.crop))
    cache.fill(1)
    out = tmp_path / "index"
    old = write_index(frame, cache, encoders, out, bs=32)
    embeddings = (out / schema.EMBEDDINGS).read_bytes()
    image = Watched(encoders.image)
    image.model_id = "another"
    other = replace(encoders, image=image)

    move = Path.replace

    def stop(*_: object, **__: object) -> Path:
        raise KeyboardInterrupt

    def move_others(path: Path, target: Path) -> Path:
        return stop() if target.name == schema.INDEX_MANIFEST else move(path, target)

    monkeypatch.setattr(*((folder_writer, "format_manifest", stop) if early else (Path, "replace", move_others)))
    with pytest.raises(KeyboardInterrupt):
        write_index(frame, cache, other, out, bs=32)
    if early:
        assert open_index(out).manifest.model_id == old.model_id
        assert (out / schema.EMBEDDINGS).read_bytes() == embeddings
    else:
        with pytest.raises(ArtefactError, match="did not finish here"):
            open_index(out)


def test_settings_that_contradict_the_checkpoint_are_refused(
    collection: Collection, checkpoint: Path, noduleclip: Command, tmp_path: Path
) -> None:
    for option, value, known in (("--img-size", 64, 32), ("--emb", 128, 16)):
        done = noduleclip(
            "embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--out-dir", tmp_path / "i", option, value
        )
        assert done.code == 2
        assert f"{option} {value}: {checkpoint} was trained with {known}" in done.err
