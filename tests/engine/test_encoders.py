"""A checkpoint's encoders: in ONNX Runtime as in torch, exported once, and without torch from then on."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from conftest import Collection
from noduleclip.engine import encoders as encoders_module
from noduleclip.engine.encoders import Encoders, open_encoders
from noduleclip.engine.torch_encoder import TorchEncoder
from noduleclip.errors import ArtefactError, LibraryError, UsageError
from noduleclip.models import onnx_export
from noduleclip.models.checkpoint import hash_model, load_model
from noduleclip.models.clip import ClipModel
from noduleclip.retrieval.image_query import OnnxImageEncoder
from noduleclip.retrieval.text_query import SentenceEncoder


@pytest.mark.parametrize("rows", [1, 2, 9])
def test_both_runtimes_return_the_embeddings_of_the_model(checkpoint: Path, exported: Path, rows: int) -> None:
    model = load_model(checkpoint)
    side = model.config.crop.size_px
    crops = np.random.default_rng(rows).integers(-1024, 500, (rows, side, side)).astype(np.int16)
    with torch.no_grad():
        expected = model.encode_views(torch.from_numpy(crops).float()).numpy()
    encoders = open_encoders(checkpoint, exported, "cpu")
    assert isinstance(encoders.image, OnnxImageEncoder)
    in_torch = TorchEncoder(model, torch.device("cpu"))
    for encoder in (encoders.image, in_torch):
        np.testing.assert_allclose(encoder.encode(crops), expected, rtol=0, atol=1e-5)
        assert (encoder.model_id, encoder.config) == (hash_model(model), model.config)
    assert encoders.image.calibration == in_torch.calibration
    assert SentenceEncoder(encoders.text_file).calibration == in_torch.calibration


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_tower.onnx", "image_tower.onnx"])
def test_encoders_are_exported_again_where_a_file_is_broken(
    checkpoint: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: list[Path] = []
    export = encoders_module._export

    def count(file: Path, checksum: str, text: Path, image: Path, device: str) -> Encoders:
        asked.append(file)
        if name == "image_tower.onnx":
            return export(file, checksum, text, image, device)
        return open_encoders(file, exported, device)

    of_model = open_encoders(checkpoint, exported, "cpu").text_file.parent
    kept = tmp_path / "cache" / "encoders" / of_model.name
    shutil.copytree(of_model, kept)
    monkeypatch.setattr(encoders_module, "_export", count)
    open_encoders(checkpoint, tmp_path / "cache", "cpu")
    assert not asked
    (kept / name).write_bytes((kept / name).read_bytes()[:-100])
    open_encoders(checkpoint, tmp_path / "cache", "cpu")
    assert asked == [checkpoint]


def test_an_image_encoder_with_a_loop_is_exported_again(checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    image = open_encoders(checkpoint, exported, "cpu").text_file.parent / "image_tower.onnx"
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

    monkeypatch.setattr(onnx_export, "export_image_encoder", refuse)
    encoders = open_encoders(checkpoint, tmp_path, "cpu")
    assert isinstance(encoders.image, TorchEncoder)
    assert encoders.device == "cpu (as asked); ONNX Runtime does not take resnet10t: RuntimeError"


def test_an_incompatible_exporter_is_not_blamed_on_the_backbone(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(model: ClipModel, path: Path) -> None:
        raise ImportError("cannot import name 'exporter'")

    monkeypatch.setattr(onnx_export, "export_image_encoder", lack)
    with pytest.raises(ImportError, match="cannot import name"):
        open_encoders(checkpoint, tmp_path, "cpu")


def test_broken_files_and_other_devices_are_refused(checkpoint: Path, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.pth").write_bytes(checkpoint.read_bytes()[:-5000])
    with pytest.raises(ArtefactError, match=r"broken\.pth"):
        open_encoders(tmp_path / "broken.pth", tmp_path, "cpu")
    with pytest.raises(UsageError, match="use auto, cpu, cuda"):
        open_encoders(checkpoint, tmp_path, "gpu!")
    with pytest.raises(ArtefactError, match="no image encoder of this tool"):
        OnnxImageEncoder(open_encoders(checkpoint, exported, "cpu").text_file)


def test_with_exported_encoders_embed_imports_no_torch(
    collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    command = (
        "embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--cache-dir", exported, "--workers", 1,
        "--out-dir", tmp_path / "index",
    )  # fmt: skip
    code = f"""
import sys
from noduleclip import machine
machine._DRIVERS = ()
from noduleclip.cli import main
try:
    main({[str(text) for text in command]!r})
except SystemExit as end:
    assert not end.code, end.code
assert not {{name.split(".")[0] for name in sys.modules}} & {{"torch", "timm", "onnx"}}
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "index" / "index.json").exists()


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
