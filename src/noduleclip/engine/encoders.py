"""Encoders of a checkpoint for `embed`: ONNX Runtime on the CPU, torch on an accelerator.

The export to ONNX takes seconds, so its files are cached. With cached files and no accelerator, torch is not loaded.
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
from noduleclip.retrieval.estimates import Estimator
from noduleclip.retrieval.fusion import Calibration
from noduleclip.retrieval.image_query import OnnxImageEncoder
from noduleclip.retrieval.text_query import SentenceEncoder

_IMAGE_FILE = "image_tower.onnx"


class Encoder(Protocol):
    """Image encoder, with the facts of the model that the index records."""

    model_id: str
    config: ModelConfig
    calibration: Calibration

    def encode(self, crops_hu: NDArray[np.int16]) -> NDArray[np.float32]:
        """Embed (B, Y, X) HU: (B, D) unit vectors."""


@dataclass(frozen=True)
class Encoders:
    """Encoders of a checkpoint, ready to run.

    Attributes:
        image: The image encoder.
        text_file: ONNX file of the text encoder.
        checkpoint_sha256: Hash of the checkpoint's file.
        device: Device of the image encoder and why, for messages.
    """

    image: Encoder
    text_file: Path
    checkpoint_sha256: str
    device: str

    def open_estimator(self) -> Estimator:
        """Open the text encoder to estimate sizes and ratings of embeddings.

        Raises:
            ArtefactError: It is broken.
        """
        return Estimator(SentenceEncoder(self.text_file))


def open_encoders(
    checkpoint: Path, cache: Path, device: str = "auto", on_export: Callable[[], None] = lambda: None
) -> Encoders:
    """Open the encoders of a checkpoint; they are exported where the cache lacks them.

    Args:
        checkpoint: File of the checkpoint.
        cache: Folder of exported encoders.
        device: "auto", or a device as `torch.device` takes it.
        on_export: Called before the export, which takes seconds.

    Raises:
        ArtefactError: The checkpoint is broken.
        UsageError: There is no such device.
    """
    checksum = hash_file(checkpoint)
    kept = cache / "encoders" / f"{checksum[:32]}-{__version__}"
    text, image = kept / schema.TEXT_TOWER, kept / _IMAGE_FILE
    if device == "cpu" or (device == "auto" and not may_have_accelerator()):
        why = CPU_AS_ASKED if device == "cpu" else CPU_ALONE
        try:
            encoder = OnnxImageEncoder(image)
            if SentenceEncoder(text).model_id == encoder.model_id:
                return Encoders(encoder, text, checksum, why)
        except ArtefactError:
            pass  # not exported yet, or damaged
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
        SentenceEncoder(temporary)  # fails now rather than at the first query
    why = chosen.why
    if chosen.device.type == "cpu":
        try:
            with replacing(image) as temporary:
                export_image_encoder(model, temporary)
            return Encoders(OnnxImageEncoder(image), text, checksum, why)
        except Exception as error:  # the exporter lacks some layers of timm, and raises errors of any class
            if shows_incompatibility(error):
                raise
            why = f"{why}; ONNX Runtime does not take {model.config.backbone}: {type(error).__name__}"
            keep_freed_memory()
    return Encoders(TorchEncoder(model, chosen.device), text, checksum, why)
