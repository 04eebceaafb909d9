"""The image encoder without torch: ONNX Runtime over a file that `embed` exported from a checkpoint."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noduleclip.config import ModelConfig, from_mapping
from noduleclip.errors import ArtefactError, ConfigError
from noduleclip.machine import count_cores
from noduleclip.retrieval.fusion import Calibration
from noduleclip.retrieval.onnx_session import open_session, run_encoder


class OnnxImageEncoder:
    """Crops to unit vectors on the CPU.

    Attributes:
        model_id: The model that the encoder belongs to.
        config: What that model is made of.
        calibration: What turns its cosines into probabilities.

    Raises:
        ArtefactError: The file is missing or is no image encoder.
    """

    def __init__(self, path: Path) -> None:
        self._session, metadata = open_session(path, "image encoder", count_cores(), ("crops",))
        self._path = path
        try:
            self.model_id: str = metadata["model_id"]
            self.config = from_mapping(ModelConfig, json.loads(metadata["config"]), str(path))
            self.calibration = Calibration.from_texts(metadata)
        except (KeyError, ValueError, RecursionError, ConfigError) as error:
            raise ArtefactError(f"{path}: not an image encoder of this tool ({error!r})") from error

    def encode(self, crops_hu: NDArray[np.int16]) -> NDArray[np.float32]:
        """Embed (B, Y, X) HU, as the mean over the rotations and flips of the configuration: (B, D) unit vectors."""
        views = [crops_hu]
        if self.config.views == 8:
            both = (crops_hu, crops_hu.transpose(0, 2, 1))
            views = [np.rot90(crops, turns, (1, 2)) for crops in both for turns in range(4)]
        total = sum(
            run_encoder(self._session, {"crops": np.ascontiguousarray(view, np.float32)}, len(view), self._path)
            for view in views
        )
        return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True), "<f4")
