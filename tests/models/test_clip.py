"""Shapes, unit vectors, padding, views, and numbers that no training sentence held."""

import numpy as np
import pytest
import torch

from noduleclip.config import CropConfig, ModelConfig
from noduleclip.engine.prompts import make_vocabulary
from noduleclip.errors import ConfigError, InputError
from noduleclip.language.vocabulary import MAX_TOKENS
from noduleclip.models.clip import ClipModel
from noduleclip.models.image_encoder import HuWindows, ImageEncoder


@pytest.fixture(scope="module")
def model() -> ClipModel:
    torch.manual_seed(0)
    crop = CropConfig(size_px=32, fov_mm=48)
    return ClipModel(ModelConfig(emb=16, text_width=32, crop=crop), make_vocabulary()).eval()


@torch.no_grad()
def test_both_towers_give_unit_vectors_of_one_width(model: ClipModel) -> None:
    images = model.encode_views(torch.randn(3, 32, 32) * 300 - 500)
    sentences = model.encode_text([model.vocabulary.encode(text) for text in ("> 6 mm", "a large lung nodule")])
    assert images.shape == (3, 16)
    assert sentences.shape == (2, 16)
    for vectors in (images, sentences):
        np.testing.assert_allclose(vectors.norm(dim=1), 1, rtol=1e-5)


@torch.no_grad()
def test_fewer_views_do_not_see_a_turn_by_their_own_angle(model: ClipModel) -> None:
    crops = torch.randn(2, 32, 32) * 300 - 500
    for views, turns in ((2, 2), (4, 1)):
        seen, other = (model.encode_views(some, views) for some in (crops, torch.rot90(crops, turns, (1, 2))))
        torch.testing.assert_close(other, seen, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.encode_views(crops, 1), model.image(crops))
    half_turn = model.image(crops) + model.image(crops.flip(1, 2))
    torch.testing.assert_close(model.encode_views(crops, 2), torch.nn.functional.normalize(half_turn, dim=1))


@torch.no_grad()
def test_eight_views_do_not_see_a_turned_or_mirrored_crop(model: ClipModel) -> None:
    crops = torch.randn(2, 32, 32) * 300 - 500
    seen = model.encode_views(crops, 8)
    for other in (torch.rot90(crops, 1, (1, 2)), crops.flip(2), crops.transpose(1, 2)):
        torch.testing.assert_close(model.encode_views(other, 8), seen, rtol=0, atol=1e-5)
    assert not torch.allclose(model.image(torch.rot90(crops, 1, (1, 2))), model.image(crops), atol=1e-3)


@torch.no_grad()
def test_a_sentence_is_embedded_alike_whatever_stands_beside_it(model: ClipModel) -> None:
    short, long = (
        model.vocabulary.encode("> 6 mm"),
        model.vocabulary.encode("between 6 and 9 mm" + ", lung nodule" * 20),
    )
    together = model.encode_text([short, long])
    torch.testing.assert_close(together[:1], model.encode_text([short]), rtol=0, atol=1e-6)
    assert sum(entry != 0 for entry in long.left) == MAX_TOKENS


@torch.no_grad()
def test_a_threshold_lies_between_its_neighbours_on_the_grid(model: ClipModel) -> None:
    six, half, seven = model.encode_text([model.vocabulary.encode(f"> {mm} mm") for mm in (6, 6.5, 7)])
    assert half @ six > six @ seven
    assert half @ seven > six @ seven


def test_windows_map_their_edges_to_minus_one_and_one() -> None:
    windows = HuWindows([(-1350, 150), (-160, 240)])
    channels = windows(torch.tensor([[[-2000.0, -600.0, 40.0, 3000.0]]]))
    expected = [[-1, 0, 1 - 2 * 110 / 1500, 1], [-1, -1, 0, 1]]
    torch.testing.assert_close(channels[0, :, 0], torch.tensor(expected))


@pytest.mark.parametrize(
    "backbone", ["resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_any_timm_backbone_serves(backbone: str) -> None:
    encoder = ImageEncoder(backbone, emb=8, crop=CropConfig(windows_hu=((-1000, 0), (-100, 200)))).eval()
    embedded, drawn = encoder.encode_and_segment(torch.zeros(2, 64, 64))
    assert embedded.shape == (2, 8)
    assert drawn.shape == (2, 32, 32)


def test_an_unknown_backbone_is_told_with_similar_names() -> None:
    with pytest.raises(ConfigError, match=r"no such model; did you mean .*resnet1"):
        ImageEncoder("resnet11t", emb=8, crop=CropConfig())


def test_weights_that_cannot_be_fetched_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, **options: object) -> None:
        if options.get("pretrained"):
            raise OSError("no network")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(InputError, match="needs the network once"):
        ImageEncoder("resnet10t", emb=8, crop=CropConfig(), pretrained=True)
