"""Which precision an image encoder runs in on a machine."""

import dataclasses
import time
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from noduleclip.config import FLOAT32, INT8, CropConfig, ModelConfig
from noduleclip.engine import precision
from noduleclip.engine.precision import choose_precision, recall_precision
from noduleclip.retrieval.image_query import OnnxImageEncoder


@dataclasses.dataclass
class Slow:
    """An encoder that takes some time, and gives (1, 0) turned by an angle."""

    seconds: float
    angle: float = 0.0
    config: ModelConfig = dataclasses.field(default_factory=lambda: ModelConfig(crop=CropConfig(size_px=16)))

    def encode(self, crops_hu: NDArray[np.int16]) -> NDArray[np.float32]:
        time.sleep(self.seconds)
        return np.tile(np.array([np.cos(self.angle), np.sin(self.angle)], np.float32), (len(crops_hu), 1))


@pytest.mark.parametrize(
    ("float_seconds", "int8_seconds", "angle", "chosen"),
    [(0.04, 0.01, 0.01, INT8), (0.01, 0.04, 0.01, FLOAT32), (0.04, 0.01, 0.1, FLOAT32)],
    ids=["faster", "slower", "other embeddings"],
)
def test_int8_runs_where_it_is_faster_and_right(
    tmp_path: Path, float_seconds: float, int8_seconds: float, angle: float, chosen: str
) -> None:
    encoders = {FLOAT32: Slow(float_seconds), INT8: Slow(int8_seconds, angle)}
    assert recall_precision(tmp_path) is None
    assert choose_precision(cast(dict[str, OnnxImageEncoder], encoders), tmp_path) == chosen
    assert recall_precision(tmp_path) == chosen


def test_another_machine_chooses_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoders = cast(dict[str, OnnxImageEncoder], {FLOAT32: Slow(0.0), INT8: Slow(0.02)})
    choose_precision(encoders, tmp_path)
    monkeypatch.setattr(precision, "describe_cpu", lambda: "another")
    assert recall_precision(tmp_path) is None


def test_a_damaged_record_is_no_choice(tmp_path: Path) -> None:
    encoders = cast(dict[str, OnnxImageEncoder], {FLOAT32: Slow(0.0), INT8: Slow(0.02)})
    choose_precision(encoders, tmp_path)
    for content in ("{", '{"precision": "int4"}'):
        next(tmp_path.iterdir()).write_text(content)
        assert recall_precision(tmp_path) is None
