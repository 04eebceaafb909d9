"""From a checkpoint to the encoders that `embed` runs: on the CPU in ONNX Runtime, on a card in torch.

Exporting takes some seconds, so what was exported is kept. Where it is there and there is no card, torch is not loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from noduleclip import __version__, schema
from noduleclip.config import ModelConfig
from noduleclip.errors import ArtefactError, shows_incompatibility
from noduleclip.io.artefacts import hash_file, replacing
from noduleclip.machine import CPU_ALONE, CPU_AS_ASKED, may_have_accelerator
from noduleclip.retrieval.fusion import Calibration
from noduleclip.retrieval.image_query import OnnxImageEncoder
from noduleclip.retrieval.text_query import SentenceEncoder

_IMAGE_TOWER = "image_tower.onnx"


class Encoder(Protocol):
    """Crops to unit vectors, and what the index says of the model."""

    model_id: str
    config: ModelConfig
    calibration: Calibration

    def encode(self, crops_hu: NDArray[np.int16]) -> NDArray[np.float32]:
        """Embed (B, Y, X) HU: (B, D) unit vectors."""


@dataclass(frozen=True)
class Encoders:
    """A checkpoint's encoders, ready to run.

    Attributes:
        image: The image encoder.
        text_file: The text encoder as an ONNX file.
        checkpoint_sha256: Hash of the checkpoint's file.
        device: Where the image encoder runs, and why, for the user.
    """

    image: Encoder
    text_file: Path
    checkpoint_sha256: str
    device: str


def open_encoders(
    checkpoint: Path, cache: Path, device: str = "auto", on_export: Callable[[], None] = lambda: None
) -> Encoders:
    """Open a checkpoint's encoders, exporting them where that was not done before.

    Args:
        checkpoint: The file.
        cache: Folder that keeps what was exported.
        device: "auto", or what torch.device understands.
        on_export: Called before the export, which takes some seconds.

    Raises:
        ArtefactError: The checkpoint is broken.
        UsageError: There is no such device.
    """
    checksum = hash_file(checkpoint)
    kept = cache / "encoders" / f"{checksum[:32]}-{__version__}"
    text, image = kept / schema.TEXT_TOWER, kept / _IMAGE_TOWER
    if device == "cpu" or (device == "auto" and not may_have_accelerator()):
        why = CPU_AS_ASKED if device == "cpu" else CPU_ALONE
        try:
            encoder = OnnxImageEncoder(image)
            if SentenceEncoder(text).model_id == encoder.model_id:
                return Encoders(encoder, text, checksum, why)
        except ArtefactError:
            pass  # not exported yet, or broken
    on_export()
    return _export(checkpoint, checksum, text, image, device)


def _export(checkpoint: Path, checksum: str, text: Path, image: Path, device: str) -> Encoders:
    from noduleclip.engine.runtime import choose_device, keep_freed_memory
    from noduleclip.engine.torch_encoder import TorchEncoder
    from noduleclip.models.checkpoint import load_model
    from noduleclip.models.onnx_export import export_image_encoder, export_text_encoder

    model = load_model(checkpoint)
    chosen = choose_device(device)
    with replacing(text) as temporary:
        export_text_encoder(model, temporary)
        SentenceEncoder(temporary)  # what another version of torch exports could be read by no query
    why = chosen.why
    if chosen.device.type == "cpu":
        try:
            with replacing(image) as temporary:
                export_image_encoder(model, temporary)
            return Encoders(OnnxImageEncoder(image), text, checksum, why)
        except Exception as error:  # the exporter knows not every layer that timm has, and raises what it likes
            if shows_incompatibility(error):
                raise
            why = f"{why}; ONNX Runtime does not take {model.config.backbone}: {type(error).__name__}"
            keep_freed_memory()
    return Encoders(TorchEncoder(model, chosen.device), text, checksum, why)
