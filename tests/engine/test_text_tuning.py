"""The text encoder learns calibrated probabilities from fixed embeddings."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

import noduleclip as nc
from conftest import Collection
from discs import make_discs
from noduleclip import schema
from noduleclip.config import CropConfig, ModelConfig, TrainConfig
from noduleclip.engine.prompts import list_rating_sentences, list_size_sentences, make_vocabulary
from noduleclip.engine.text_tuning import FrozenImages, embed_copies, tune_text_encoder
from noduleclip.language import ATTRIBUTES, last_rating
from noduleclip.language.query import parse_query
from noduleclip.models.clip import ClipModel, trim_padding
from noduleclip.retrieval.estimates import make_sweep

MODEL = ModelConfig(emb=16, text_width=32, text_layers=1, views=1, crop=CropConfig(size_px=32))


def make_images(count: int) -> FrozenImages:
    """Return unit vectors that encode a diameter of 4 to 20 mm and a margin of 1 to 5, seen with noise by 2 readers."""
    generator = torch.Generator().manual_seed(0)
    diameter, margin = torch.rand(count, generator=generator) * 16 + 4, torch.rand(count, generator=generator) * 4 + 1
    features = torch.stack([diameter / 8, margin / 2, torch.ones(count)], dim=1)
    vectors = F.normalize(features @ torch.randn(3, MODEL.emb, generator=generator), dim=1)
    noise = torch.randn(count, 2, generator=generator)
    ratings = (margin[:, None] + noise).round().clamp(1, 5)[:, :, None]
    return FrozenImages(vectors[None], (diameter[:, None] + noise)[None], ratings, (schema.MARGIN,))


def probabilities(model: ClipModel, sentence: str, vectors: torch.Tensor) -> NDArray[np.float32]:
    with torch.no_grad():
        text = model.encode_text([model.vocabulary.encode(sentence)])
        logits = (text @ vectors.T)[0] * model.log_scale.exp() + model.bias
    return np.asarray(logits.sigmoid().numpy(), np.float32)


@pytest.fixture(scope="module")
def tuned() -> tuple[ClipModel, FrozenImages]:
    torch.manual_seed(0)
    model, images = ClipModel(MODEL, make_vocabulary((schema.MARGIN,))), make_images(400)
    tune_text_encoder(model, images, steps=600, seed=0)
    return model.eval(), images


@pytest.mark.parametrize("limit_mm", [6, 8.5, 10, 15])
def test_probability_of_a_size_is_the_share_of_readers(tuned: tuple[ClipModel, FrozenImages], limit_mm: float) -> None:
    model, images = tuned
    found = probabilities(model, f"a lung nodule with diameter > {limit_mm:g} mm", images.vectors[0])
    share = (images.diameters_mm[0] > limit_mm).float().mean(dim=1).numpy()
    assert abs(found.mean() - share.mean()) < 0.08
    assert np.corrcoef(found, share)[0, 1] > 0.7


@pytest.mark.parametrize("least", [2, 3, 4, 5])
def test_probability_of_a_rating_is_the_share_of_readers(tuned: tuple[ClipModel, FrozenImages], least: int) -> None:
    model, images = tuned
    found = probabilities(model, f"a lung nodule, margin >= {least}", images.vectors[0])
    share = (images.ratings[:, :, 0] >= least).float().mean(dim=1).numpy()
    assert abs(found.mean() - share.mean()) < 0.08
    assert np.corrcoef(found, share)[0, 1] > 0.5


def test_result_depends_on_images_and_seed_alone() -> None:
    images, texts = make_images(64), []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = ClipModel(MODEL, make_vocabulary((schema.MARGIN,)))
        tune_text_encoder(model, images, steps=3, seed=5)
        texts.append({**model.text.state_dict(), "scale": model.log_scale.detach(), "bias": model.bias.detach()})
    assert all(torch.equal(texts[0][name], texts[1][name]) for name in texts[0])


def test_copies_are_embedded_as_embed_does_and_follow_the_zoom() -> None:
    model, samples = ClipModel(MODEL, make_vocabulary()).eval(), make_discs(12, 0, MODEL.crop)
    counted: list[int] = []
    images = embed_copies(model, samples, TrainConfig(), 2, counted.append)
    assert images.vectors.shape == (2, 12, MODEL.emb)
    assert sum(counted) == 24
    assert torch.allclose(images.vectors.norm(dim=2), torch.ones(2, 12), atol=1e-5)
    zoom = images.diameters_mm / samples.diameters_mm
    assert zoom.nan_to_num(1).min() >= 1 / 1.25 - 1e-5
    assert zoom.nan_to_num(1).max() <= 1.25 + 1e-5
    assert zoom[0, 0, 0] != zoom[1, 0, 0]


def test_every_range_that_excludes_a_rating_is_asked_for() -> None:
    asked = {parsed.ratings for parsed in list_rating_sentences(ATTRIBUTES)}
    expected = sum(last_rating(name) * (last_rating(name) + 1) // 2 - 1 for name in ATTRIBUTES)
    assert len(asked) == expected


def test_padding_does_not_change_a_sentence() -> None:
    torch.manual_seed(0)
    model = ClipModel(MODEL, make_vocabulary((schema.MARGIN,))).eval()
    sentences = ["> 6 mm", "a lung nodule with a sharp margin between 6 and 10 mm"]
    tokens = [model.vocabulary.encode(sentence) for sentence in sentences]
    left, right = (torch.tensor([getattr(one, name) for one in tokens]) for name in ("left", "right"))
    share = torch.tensor([one.share for one in tokens])
    assert trim_padding(left, right, share)[0].shape[1] < left.shape[1]
    with torch.no_grad():
        assert torch.allclose(model.text(left, right, share), model.encode_text(tokens), atol=1e-6)


def test_every_threshold_of_the_estimates_is_asked_for() -> None:
    asked = {parsed.interval for parsed in list_size_sentences()}
    assert {parse_query(sentence).interval for sentence in make_sweep()} <= asked


def test_a_short_run_keeps_the_text_encoder_of_its_epochs(collection: Collection, tmp_path: Path) -> None:
    config = TrainConfig(epochs=1, bs=16, prompts=8, rating_prompts=0)
    result = nc.train(
        collection.roi_csv,
        train_patients=collection.train,
        out=tmp_path / "run",
        model=MODEL,
        config=config,
        device="cpu",
    )
    assert json.loads((result.out / schema.RUN_RECORD).read_text(encoding="utf-8"))["tuned"] is None
