"""Encoders of a checkpoint for `embed`: ONNX Runtime on the CPU, torch on an accelerator.

The package holds the exported encoders of a bundled model. Those of another checkpoint are exported once, which takes
seconds and torch, and cached. With exported encoders and no accelerator, torch is not loaded.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from noduleclip import __version__, schema
from noduleclip.config import INT8, PRECISIONS, ModelConfig
from noduleclip.engine.precision import choose_precision, recall_precision
from noduleclip.errors import ArtefactError, UsageError, shows_incompatibility
from noduleclip.io.artefacts import hash_file, read_json, write_json
from noduleclip.io.bundled_model import find_exported
from noduleclip.io.patient_hashes import PatientHashes
from noduleclip.machine import (
    CPU_ALONE,
    CPU_AS_ASKED,
    CPU_WITHOUT_TORCH,
    find_missing_library,
    may_have_accelerator,
    require_training_libraries,
)
from noduleclip.retrieval.estimates import Estimator
from noduleclip.retrieval.fusion import Calibration
from noduleclip.retrieval.image_query import IMAGE_FILES, OnnxImageEncoder
from noduleclip.retrieval.text_query import SentenceEncoder

AUTO: Final = "auto"
_PATIENTS_FILE: Final = "patients.json"
_PATIENTS: Final = "patients"


class Encoder(Protocol):
    """Image encoder, with the facts of the model that the index records."""

    model_id: str
    config: ModelConfig
    calibration: Calibration
    views: int
    precision: str

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
        patients: The patients that trained the model; None where the checkpoint does not say, and for a bundled model,
            whose patients are known by its checksum.
    """

    image: Encoder
    text_file: Path
    checkpoint_sha256: str
    device: str
    patients: PatientHashes | None = None

    def open_estimator(self) -> Estimator:
        """Open the text encoder to estimate sizes and ratings of embeddings.

        Raises:
            ArtefactError: It is broken.
        """
        return Estimator(SentenceEncoder(self.text_file))


def open_encoders(
    checkpoint: Path,
    cache: Path,
    device: str = AUTO,
    on_export: Callable[[], None] = lambda: None,
    *,
    views: int | None = None,
    precision: str = AUTO,
) -> Encoders:
    """Open the encoders of a checkpoint; they are exported where neither the package nor the cache has them.

    Args:
        checkpoint: File of the checkpoint.
        cache: Folder of exported encoders.
        device: "auto", or a device as `torch.device` takes it.
        on_export: Called before the export, which takes seconds.
        views: Views of a crop that the image encoder averages; None = the model's own number.
        precision: "float32", "int8", or "auto": the faster one on this machine.

    Raises:
        ArtefactError: The checkpoint is broken.
        UsageError: There is no such device, it has no such precision, or a library of training is missing and needed.
    """
    checksum = hash_file(checkpoint)
    kept = cache / "encoders" / f"{checksum[:32]}-{__version__}"
    folders = [folder for folder in (find_exported(checkpoint), kept) if folder is not None]
    if device == "cpu" or (device == AUTO and not may_have_accelerator()):
        why = CPU_AS_ASKED if device == "cpu" else CPU_ALONE
    elif device == AUTO and find_missing_library() is not None:
        why = CPU_WITHOUT_TORCH
    else:
        require_training_libraries(f"--device {device}")
        from noduleclip.engine.runtime import choose_device

        chosen = choose_device(device)
        why = chosen.why
        if chosen.device.type != "cpu":
            if precision == INT8:
                raise UsageError(f"--precision {INT8} runs on the CPU, not on {why}; add --device cpu")
            on_export()
            image, text_file, patients = _open_in_torch(checkpoint, folders, str(chosen.device), views)
            return Encoders(image, text_file, checksum, why, patients)
    for folder in folders:
        with contextlib.suppress(ArtefactError):  # not exported yet, or damaged
            patients = _read_patients(folder) if folder == kept else None
            return Encoders(*_open_exported(folder, kept, views, precision), checksum, why, patients)
    require_training_libraries(f"{checkpoint}: the export of its encoders")
    on_export()
    reason = _export(checkpoint, kept)
    if reason is None:
        return Encoders(*_open_exported(kept, kept, views, precision), checksum, why, _read_patients(kept))
    if precision == INT8:
        raise UsageError(f"--precision {INT8}: {reason}; leave the option out")
    image, text_file, patients = _open_in_torch(checkpoint, folders, "cpu", views)
    return Encoders(image, text_file, checksum, f"{why}; {reason}", patients)


def _read_patients(folder: Path) -> PatientHashes | None:
    """Read the patients that trained the exported encoders of a folder.

    Raises:
        ArtefactError: The file is missing or broken.
    """
    path = folder / _PATIENTS_FILE
    values = read_json(path)
    if values.get(_PATIENTS) is None:
        return None
    try:
        return PatientHashes.from_mapping(values[_PATIENTS])
    except ValueError as error:
        raise ArtefactError(f"{path}: cannot be read ({error})") from error


def _open_exported(folder: Path, kept: Path, views: int | None, precision: str) -> tuple[Encoder, Path]:
    """Open the exported encoders of a folder: the image encoder, and the file of the text encoder.

    Args:
        folder: The folder.
        kept: Folder that records the precision of this machine.
        views: As in `open_encoders`.
        precision: As in `open_encoders`.

    Raises:
        ArtefactError: A file is missing or broken, or they are of different models.
    """
    text = folder / schema.TEXT_TOWER
    model_id = SentenceEncoder(text).model_id

    def open_image(precision: str, views: int | None) -> OnnxImageEncoder:
        image = OnnxImageEncoder(folder / IMAGE_FILES[precision], views)
        if (image.model_id, image.precision) != (model_id, precision):
            raise ArtefactError(f"{folder}: its encoders are of different models")
        return image

    if precision == AUTO:
        chosen = recall_precision(kept)
        precision = chosen or choose_precision({one: open_image(one, 1) for one in PRECISIONS}, kept)
    return open_image(precision, views), text


def _export(checkpoint: Path, folder: Path) -> str | None:
    """Export the encoders of a checkpoint; return why it failed, or None.

    Raises:
        ArtefactError: The checkpoint is broken.
    """
    from noduleclip.engine.exports import export_encoders
    from noduleclip.models.checkpoint import read_checkpoint, unpack_model, unpack_patients

    values = read_checkpoint(checkpoint)
    model, patients = unpack_model(values, checkpoint), unpack_patients(values, checkpoint)
    try:
        export_encoders(model, folder)
        write_json(folder / _PATIENTS_FILE, {_PATIENTS: None if patients is None else patients.to_mapping()})
    except Exception as error:  # the exporter lacks some layers of timm, and raises errors of any class
        if shows_incompatibility(error):
            raise
        return f"ONNX Runtime does not take {model.config.backbone}: {type(error).__name__}"
    return None


def _open_in_torch(
    checkpoint: Path, folders: list[Path], device: str, views: int | None
) -> tuple[Encoder, Path, PatientHashes | None]:
    """Load the image encoder into torch, and find the file of the text encoder or export it into the last folder.

    Returns:
        The image encoder, the file of the text encoder, and the patients that trained them.
    """
    import torch

    from noduleclip.engine.exports import export_text
    from noduleclip.engine.runtime import keep_freed_memory
    from noduleclip.engine.torch_encoder import TorchEncoder
    from noduleclip.models.checkpoint import load_model, read_checkpoint, unpack_model, unpack_patients

    if device == "cpu":
        keep_freed_memory()
    values = read_checkpoint(checkpoint)
    model, patients = unpack_model(values, checkpoint), unpack_patients(values, checkpoint)
    image = TorchEncoder(model, torch.device(device), views)
    for folder in folders:
        with contextlib.suppress(ArtefactError):
            if SentenceEncoder(folder / schema.TEXT_TOWER).model_id == image.model_id:
                return image, folder / schema.TEXT_TOWER, patients
    return image, export_text(load_model(checkpoint), folders[-1]), patients
