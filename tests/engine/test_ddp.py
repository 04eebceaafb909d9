"""A share of a batch that holds no nodules."""

import pytest
import torch

from noduleclip.config import CropConfig, ModelConfig, TrainConfig
from noduleclip.engine.ddp import Objective
from noduleclip.engine.train import make_vocabulary
from noduleclip.models.clip import ClipModel


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet", "test_convnext"])
def test_a_share_of_nothing_loses_nothing_and_has_a_gradient_for_all(backbone: str) -> None:
    """The other processes wait for it; a transformer cannot take no crops at all."""
    crop = CropConfig(size_px=32)
    model = ClipModel(ModelConfig(backbone=backbone, emb=16, text_width=32, crop=crop), make_vocabulary()).train()
    objective = Objective(model, TrainConfig())
    if backbone == "test_resnet":
        model.eval()  # in training its norms are replaced by those of all processes
    tokens = [model.vocabulary.encode(text) for text in ("> 6 mm", "<= 6 mm")]
    none = torch.zeros(0, 2)
    pairs, outlines = objective(torch.zeros(0, 32, 32), tokens, none, none, torch.zeros(0, 16, 16), none[:, 0] > 0)
    assert (pairs.item(), outlines.item()) == (0, 0)
    (pairs + outlines).backward()
    weights = dict(model.named_parameters())
    assert weights["log_scale"].grad is not None
    reached = [name for name, weight in weights.items() if weight.grad is not None]
    assert len(reached) > len(weights) / 2
    assert all(not weight.grad.any() for weight in weights.values() if weight.grad is not None)
