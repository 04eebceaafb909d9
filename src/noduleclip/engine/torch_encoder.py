"""The image encoder in torch, for GPUs."""

import numpy as np
import torch
from numpy.typing import NDArray

from noduleclip.config import FLOAT32
from noduleclip.engine.runtime import explaining_memory
from noduleclip.models.checkpoint import hash_model
from noduleclip.models.clip import ClipModel
from noduleclip.retrieval.fusion import Calibration


class TorchEncoder:
    """Crops to unit vectors on any device of torch.

    Args:
        model: The encoders.
        device: Device of the computation.
        views: Views of a crop to average; None = the model's own number.

    Attributes:
        model_id: The model's id.
        config: Architecture.
        calibration: Scale and bias that turn its cosines into probabilities.
        views: Views of a crop that are averaged.
        precision: Arithmetic: "float32".
    """

    def __init__(self, model: ClipModel, device: torch.device, views: int | None = None) -> None:
        self.model_id = hash_model(model)
        self.config = model.config
        self.calibration = Calibration(float(model.log_scale.detach().exp()), float(model.bias.detach()))
        self.views = views or model.config.views
        self.precision = FLOAT32
        self._model, self._device = model, device
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def encode(self, crops_hu: NDArray[np.int16]) -> NDArray[np.float32]:
        """Embed (B, Y, X) HU: (B, D) unit vectors."""
        with explaining_memory(len(crops_hu), "try a smaller --bs, or --device cpu"):
            crops = torch.from_numpy(crops_hu).to(self._device).float()
            return np.asarray(self._model.encode_views(crops, self.views).float().cpu().numpy(), "<f4")
