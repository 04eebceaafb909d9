"""The bundled model: its weights, and its encoders exported from them."""

from pathlib import Path

import pytest

import noduleclip
from noduleclip.config import FLOAT32, INT8
from noduleclip.errors import ArtefactError
from noduleclip.io.bundled_model import BUNDLED, find_checkpoint, find_exported
from noduleclip.models.checkpoint import hash_model, load_model
from noduleclip.retrieval.image_query import IMAGE_FILES, OnnxImageEncoder
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.schema import TEXT_TOWER

LARGEST_BYTES = 25_000_000


def test_the_package_fits_a_wheel() -> None:
    files = [path for path in Path(noduleclip.__file__).parent.rglob("*") if "__pycache__" not in path.parts]
    assert 1_000_000 < sum(path.stat().st_size for path in files if path.is_file()) < LARGEST_BYTES


@pytest.mark.parametrize("name", BUNDLED)
def test_the_exported_encoders_are_of_the_weights(name: str) -> None:
    """benchmarks/lidc_model.py writes weights and exports together."""
    checkpoint = find_checkpoint(Path(name))
    model, folder = load_model(checkpoint), find_exported(checkpoint)
    assert folder is not None
    assert SentenceEncoder(folder / TEXT_TOWER).model_id == hash_model(model)
    for precision in (FLOAT32, INT8):
        image = OnnxImageEncoder(folder / IMAGE_FILES[precision])
        assert (image.model_id, image.config, image.precision) == (hash_model(model), model.config, precision)


def test_other_checkpoints_come_without_exports(tmp_path: Path) -> None:
    assert find_exported(tmp_path / "lidc.pth") is None


def test_a_file_of_the_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(Path("lidc")).parent.name == "weights"
    Path("lidc").write_text("mine")
    assert find_checkpoint(Path("lidc")) == Path("lidc")


def test_a_name_of_neither_is_an_error() -> None:
    with pytest.raises(ArtefactError, match=r"nosuch: no such checkpoint; .* lidc comes with the package"):
        find_checkpoint(Path("nosuch"))
