"""The exported text encoder beside torch, on hundreds of sentences."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from noduleclip import schema
from noduleclip.errors import ArtefactError, SizeLanguageError
from noduleclip.language import CURATED_PROMPTS, EVALUATION_QUERIES, sample_prompts
from noduleclip.models.checkpoint import hash_model, load_model
from noduleclip.models.clip import ClipModel
from noduleclip.models.onnx_export import export_image_encoder, export_text_encoder
from noduleclip.retrieval.text_query import SentenceEncoder


def test_it_equals_torch_on_hundreds_of_sentences(checkpoint: Path, index: Path) -> None:
    model = load_model(checkpoint)
    encoder = SentenceEncoder(index / schema.TEXT_TOWER)
    sentences = [*CURATED_PROMPTS, *EVALUATION_QUERIES, "a spiculated nodule", "between 0.8 and 1.2 cm"]
    sentences += [prompt.text for prompt in sample_prompts(400, random.Random(5))]
    with torch.no_grad():
        expected = model.encode_text([model.vocabulary.encode(sentence) for sentence in sentences]).numpy()
    np.testing.assert_allclose(encoder.encode(sentences), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(sentences[:1]), expected[:1], rtol=0, atol=1e-5)
    assert encoder.model_id == hash_model(model)
    logit = float((model.log_scale.exp() * 0.3 + model.bias).detach())
    assert encoder.calibration.to_probability(np.array([0.3]))[0] == pytest.approx(1 / (1 + np.exp(-logit)))


@pytest.mark.slow
def test_files_hold_no_paths_of_the_machine(checkpoint: Path, tmp_path: Path) -> None:
    """The exporter notes a stack trace for each operation: the user's name is in it where he installed it at home."""
    model = load_model(checkpoint)
    for export in (export_text_encoder, export_image_encoder):
        export(model, tmp_path / "encoder.onnx")
        content = (tmp_path / "encoder.onnx").read_bytes()
        assert b".py" not in content
        assert str(Path(torch.__file__).parents[1]).encode() not in content


@pytest.mark.parametrize(
    ("emb", "width", "layers"),
    [
        (17, 20, 1),
        *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in ((8, 16, 1), (200, 48, 3), (64, 256, 2))),
    ],
)
def test_towers_of_other_sizes_equal_torch(checkpoint: Path, tmp_path: Path, emb: int, width: int, layers: int) -> None:
    """As they begin: weights that are equal are stored once."""
    made = load_model(checkpoint)
    config = dataclasses.replace(made.config, emb=emb, text_width=width, text_layers=layers)
    model = ClipModel(config, made.vocabulary).eval()
    export_text_encoder(model, tmp_path / "encoder.onnx")
    with torch.no_grad():
        expected = model.encode_text([model.vocabulary.encode(query) for query in EVALUATION_QUERIES]).numpy()
    vectors = SentenceEncoder(tmp_path / "encoder.onnx").encode(EVALUATION_QUERIES)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)


def test_files_that_are_no_text_tower_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="noduleclip embed writes it"):
        SentenceEncoder(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ArtefactError, match="not a readable text encoder"):
        SentenceEncoder(tmp_path / "text.onnx")


def test_an_empty_query_is_an_error(index: Path) -> None:
    with pytest.raises(SizeLanguageError, match="empty"):
        SentenceEncoder(index / "text_tower.onnx").encode([" "])
