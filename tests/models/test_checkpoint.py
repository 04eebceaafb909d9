"""A checkpoint gives back the same model, and nothing else passes for one."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from noduleclip.errors import ArtefactError
from noduleclip.models.checkpoint import hash_model, load_model, pack_model, read_checkpoint, save_checkpoint


class Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_saved_model_is_the_same_model(checkpoint: Path, tmp_path: Path) -> None:
    model = load_model(checkpoint)
    save_checkpoint(tmp_path / "copy.pth", pack_model(model))
    again = load_model(tmp_path / "copy.pth")
    assert hash_model(again) == hash_model(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_it_holds_what_the_contract_names(checkpoint: Path) -> None:
    values = torch.load(checkpoint, weights_only=True)
    assert {"image_encoder", "text_encoder", "vocabulary", "config"} <= set(values)


def test_another_weight_is_another_model(checkpoint: Path) -> None:
    model = load_model(checkpoint)
    before = hash_model(model)
    with torch.no_grad():
        model.bias.add_(1e-6)
    assert hash_model(model) != before


def test_code_in_a_checkpoint_is_refused_unrun(tmp_path: Path) -> None:
    path, target = tmp_path / "evil.pth", tmp_path / "touched"
    torch.save({"schema_version": 1, "config": Attack(target)}, path)
    with pytest.raises(ArtefactError, match="refused, it is broken or holds code"):
        load_model(path)
    with (tmp_path / "plain.pth").open("wb") as file:
        pickle.dump(Attack(target), file)
    with pytest.raises(ArtefactError, match=r"plain\.pth"):
        load_model(tmp_path / "plain.pth")
    assert not target.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_off_checkpoint_is_refused(checkpoint: Path, tmp_path: Path, share: float) -> None:
    content = checkpoint.read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtefactError, match=r"cut\.pth: (not a readable checkpoint|refused)"):
        load_model(tmp_path / "cut.pth")


def test_what_does_not_fit_is_named(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "changed.pth"

    def refused(change: dict[str, Any], message: str) -> None:
        save_checkpoint(path, {**read_checkpoint(checkpoint), **change})
        with pytest.raises(ArtefactError, match=message):
            load_model(path)

    values = read_checkpoint(checkpoint)
    refused({"schema_version": 99}, r"not a noduleclip checkpoint of version 2 \(found 99\)")
    refused({"config": {**values["config"], "backbone": "resnet18"}}, r"image_encoder does not fit resnet18")
    refused({"config": {**values["config"], "colour": 1}}, "unknown setting 'colour'")
    broken = {name: tensor.clone() for name, tensor in values["text_encoder"].items()}
    broken["project.bias"][0] = float("nan")
    refused({"text_encoder": broken}, r"tensor project\.bias of text_encoder is not finite")
    del values["vocabulary"]
    save_checkpoint(path, values)
    with pytest.raises(ArtefactError, match="holds no vocabulary"):
        load_model(path)


def test_a_missing_checkpoint_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="noduleclip train writes"):
        load_model(tmp_path / "none.pth")
