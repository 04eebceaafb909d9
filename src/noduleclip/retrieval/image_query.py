"""The image encoder without torch: ONNX Runtime over an exported file."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.config import FLOAT32, INT8, PRECISIONS, VIEWS, ModelConfig
from noduleclip.errors import ArtefactError, ConfigError
from noduleclip.machine import count_cores
from noduleclip.retrieval.fusion import Calibration
from noduleclip.retrieval.onnx_session import open_session, run_encoder
from noduleclip.setting import from_mapping

IMAGE_FILES: Final = {FLOAT32: "image_tower.onnx", INT8: "image_tower_int8.onnx"}
"""Name of an exported image encoder by its precision."""
_CROPS_AT_ONCE: Final = 8  # their activations fit a core's cache: docs/decisions/0025-views-and-int8.md


class OnnxImageEncoder:
    """Crops to unit vectors on the CPU: each core encodes a few crops at a time.

    Args:
        path: The file.
        views: Views of a crop to average; None = the model's own number.

    Attributes:
        model_id: The model that the encoder belongs to.
        config: Architecture of that model.
        calibration: Scale and bias that turn its cosines into probabilities.
        views: Views of a crop that are averaged.
        precision: Arithmetic of its convolutions: "float32" or "int8".

    Raises:
        ArtefactError: The file is missing or is no image encoder.
    """

    def __init__(self, path: Path, views: int | None = None) -> None:
        self._session, metadata = open_session(path, "image encoder", 1, ("crops",))
        self._path = path
        self._cores = ThreadPoolExecutor(count_cores())
        try:
            self.model_id: str = metadata["model_id"]
            self.config = from_mapping(ModelConfig, json.loads(metadata["config"]), str(path))
            self.calibration = Calibration.from_texts(metadata)
            self.precision = PRECISIONS[PRECISIONS.index(metadata.get("precision", FLOAT32))]
        except (KeyError, ValueError, RecursionError, ConfigError) as error:
            raise ArtefactError(f"{path}: not an image encoder of this tool ({error!r})") from error
        self.views = views or self.config.views

    def encode(self, crops_hu: NDArray[np.int16]) -> NDArray[np.float32]:
        """Embed (B, Y, X) HU as the mean over their views: (B, D) unit vectors."""
        parts = [crops_hu[start : start + _CROPS_AT_ONCE] for start in range(0, len(crops_hu), _CROPS_AT_ONCE)]
        return np.concatenate(list(self._cores.map(self._encode_part, parts)))

    def _encode_part(self, crops_hu: NDArray[np.int16]) -> NDArray[np.float32]:
        embeddings = [
            self._run(np.rot90(crops_hu.swapaxes(1, 2) if mirrored else crops_hu, turns, (1, 2)))
            for mirrored, turns in VIEWS[self.views]
        ]
        total = np.sum(embeddings, axis=0)
        return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True), "<f4")

    def _run(self, view_hu: NDArray[np.int16]) -> NDArray[np.float32]:
        feed: dict[str, NDArray[np.generic]] = {"crops": np.ascontiguousarray(view_hu, np.float32)}
        return run_encoder(self._session, feed, len(view_hu), self._path)
