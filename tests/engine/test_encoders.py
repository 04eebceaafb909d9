"""A checkpoint's encoders: in ONNX Runtime as in torch, exported once, and without torch from then on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from conftest import Collection
from noduleclip import schema
from noduleclip.config import FLOAT32, INT8, PRECISIONS
from noduleclip.engine import encoders as encoders_module
from noduleclip.engine import exports
from noduleclip.engine.encoders import open_encoders
from noduleclip.engine.torch_encoder import TorchEncoder
from noduleclip.errors import ArtefactError, LibraryError, UsageError
from noduleclip.io.bundled_model import find_checkpoint
from noduleclip.models.checkpoint import hash_model, load_model
from noduleclip.models.clip import ClipModel
from noduleclip.phantom.crops import densify, draw_crops
from noduleclip.retrieval.image_query import IMAGE_FILES, OnnxImageEncoder
from noduleclip.retrieval.text_query import SentenceEncoder


@pytest.mark.parametrize(("rows", "views"), [(1, None), (2, 1), (9, 2), (9, 4), (9, 8)])
def test_both_runtimes_return_the_embeddings_of_the_model(
    checkpoint: Path, exported: Path, rows: int, views: int | None
) -> None:
    model = load_model(checkpoint)
    side = model.config.crop.size_px
    crops = np.random.default_rng(rows).integers(-1024, 500, (rows, side, side)).astype(np.int16)
    with torch.no_grad():
        expected = model.encode_views(torch.from_numpy(crops).float(), views).numpy()
    encoders = open_encoders(checkpoint, exported, "cpu", views=views, precision=FLOAT32)
    assert isinstance(encoders.image, OnnxImageEncoder)
    in_torch = TorchEncoder(model, torch.device("cpu"), views)
    for encoder in (encoders.image, in_torch):
        np.testing.assert_allclose(encoder.encode(crops), expected, rtol=0, atol=1e-5)
        assert (encoder.model_id, encoder.config) == (hash_model(model), model.config)
        assert (encoder.views, encoder.precision) == (views or model.config.views, FLOAT32)
    assert encoders.image.calibration == in_torch.calibration
    assert SentenceEncoder(encoders.text_file).calibration == in_torch.calibration


def test_int8_is_as_near_for_calcified_nodules_of_the_bundled_model(tmp_path: Path) -> None:
    """With a first convolution in int8, and calibrated on phantoms as drawn, the least cosine was 0.9961."""
    exact, rounded = (
        open_encoders(find_checkpoint(Path("lidc")), tmp_path, "cpu", precision=one).image for one in PRECISIONS
    )
    crops = densify(draw_crops(48, exact.config.crop, seed=1), seed=1)
    assert (exact.encode(crops) * rounded.encode(crops)).sum(axis=1).min() > 0.998


def test_int8_returns_nearly_the_same_embeddings(checkpoint: Path, exported: Path) -> None:
    encoders = {one: open_encoders(checkpoint, exported, "cpu", precision=one).image for one in PRECISIONS}
    crops = draw_crops(24, encoders[FLOAT32].config.crop, seed=1)
    exact, rounded = (encoders[one].encode(crops) for one in PRECISIONS)
    assert encoders[INT8].precision == INT8
    assert encoders[INT8].model_id == encoders[FLOAT32].model_id
    assert np.median((exact * rounded).sum(axis=1)) > 0.999
    assert not np.array_equal(exact, rounded)


def test_a_crop_does_not_see_the_others_of_its_batch(checkpoint: Path, exported: Path) -> None:
    for precision in PRECISIONS:
        image = open_encoders(checkpoint, exported, "cpu", precision=precision).image
        crops = draw_crops(24, image.config.crop)
        np.testing.assert_array_equal(image.encode(crops)[:8], image.encode(crops[:8]))


@pytest.mark.slow
@pytest.mark.parametrize("name", [schema.TEXT_TOWER, *IMAGE_FILES.values()])
def test_encoders_are_exported_again_where_a_file_is_broken(
    checkpoint: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    of_model = open_encoders(checkpoint, exported, "cpu", precision=FLOAT32).text_file.parent
    kept = tmp_path / "cache" / "encoders" / of_model.name
    shutil.copytree(of_model, kept)
    asked: list[Path] = []

    def copy(file: Path, folder: Path) -> None:
        asked.append(file)
        shutil.copytree(of_model, folder, dirs_exist_ok=True)

    monkeypatch.setattr(encoders_module, "_export", copy)
    precision = INT8 if name == IMAGE_FILES[INT8] else FLOAT32
    open_encoders(checkpoint, tmp_path / "cache", "cpu", precision=precision)
    assert not asked
    (kept / name).write_bytes((kept / name).read_bytes()[:-100])
    open_encoders(checkpoint, tmp_path / "cache", "cpu", precision=precision)
    assert asked == [checkpoint]


def test_an_image_encoder_with_a_loop_is_exported_again(checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    image = open_encoders(checkpoint, exported, "cpu", precision=FLOAT32).text_file.parent / "image_tower.onnx"
    model = onnx.load(image)
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("body", onnx.GraphProto(name="body")))
    onnx.save(model, tmp_path / "image.onnx")
    OnnxImageEncoder(image)
    with pytest.raises(ArtefactError, match="operations within operations"):
        OnnxImageEncoder(tmp_path / "image.onnx")


def test_layers_that_do_not_export_stay_in_torch(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: ClipModel, path: Path) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(exports, "export_image_encoder", refuse)
    encoders = open_encoders(checkpoint, tmp_path, "cpu")
    assert isinstance(encoders.image, TorchEncoder)
    assert encoders.device == "cpu (as asked); ONNX Runtime does not take resnet10t: RuntimeError"
    with pytest.raises(UsageError, match="--precision int8: ONNX Runtime does not take resnet10t"):
        open_encoders(checkpoint, tmp_path, "cpu", precision=INT8)


def test_an_incompatible_exporter_is_not_blamed_on_the_backbone(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(model: ClipModel, path: Path) -> None:
        raise ImportError("cannot import name 'exporter'")

    monkeypatch.setattr(exports, "export_image_encoder", lack)
    with pytest.raises(ImportError, match="cannot import name"):
        open_encoders(checkpoint, tmp_path, "cpu")


def test_broken_files_and_other_devices_are_refused(checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(checkpoint.read_bytes()[:-5000])
    with pytest.raises(ArtefactError, match=r"broken\.pth"):
        open_encoders(tmp_path / "broken.pth", tmp_path, "cpu")
    with pytest.raises(UsageError, match="use auto, cpu, cuda"):
        open_encoders(checkpoint, tmp_path, "gpu!")
    with pytest.raises(ArtefactError, match="no image encoder of this tool"):
        OnnxImageEncoder(open_encoders(checkpoint, exported, "cpu", precision=FLOAT32).text_file)


def test_with_exported_encoders_embed_imports_no_torch(
    collection: Collection, checkpoint: Path, exported: Path, run_without_torch: Callable[..., None], tmp_path: Path
) -> None:
    run_without_torch(
        "embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--cache-dir", exported, "--workers", 1,
        "--out-dir", tmp_path / "index",
    )  # fmt: skip
    assert (tmp_path / "index" / schema.INDEX_MANIFEST).exists()


@pytest.mark.parametrize("newer", ["format", "operators"])
def test_an_encoder_of_a_newer_format_asks_for_a_newer_library(exported: Path, tmp_path: Path, newer: str) -> None:
    model = onnx.load(next(exported.rglob("image_tower.onnx")))
    if newer == "format":
        model.ir_version = 99
    else:
        model.opset_import[0].version = 999
    (tmp_path / "image_tower.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(LibraryError, match=r"onnxruntime [\d.]+ is too old for it .*; pip install --upgrade"):
        OnnxImageEncoder(tmp_path / "image_tower.onnx")


def test_a_lack_of_memory_is_not_a_broken_encoder(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = OnnxImageEncoder(next(exported.rglob("image_tower.onnx")))

    class Full:
        def run(self, *_arguments: object) -> None:
            raise RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 9")

    monkeypatch.setattr(encoder, "_session", Full())
    with pytest.raises(MemoryError, match="Failed to allocate memory"):
        encoder.encode(np.zeros((1, 32, 32), np.int16))
