"""`clip_best.pth`: encoders, vocabulary and configuration in one file, loaded with `weights_only=True`."""

import hashlib
import math
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noduleclip import schema
from noduleclip.config import ModelConfig
from noduleclip.errors import ArtefactError, ConfigError, remedy_for_version, shows_incompatibility
from noduleclip.io.artefacts import replacing
from noduleclip.io.patient_hashes import PatientHashes
from noduleclip.language.vocabulary import Vocabulary
from noduleclip.models.clip import ClipModel
from noduleclip.models.resource_limits import (
    AllocationError,
    AllocationLimit,
    check_archive_size,
    check_tensor_sizes,
    count_bytes,
)
from noduleclip.setting import from_mapping, to_mapping

# Building encoders may allocate so many times their weights, because timm builds a backbone twice, and so many bytes
# more, because it is built whole where small crops use its first stages only.
_TIMES_ITS_WEIGHTS, _SMALL_BYTES = 4, 1 << 29
_IMAGE, _TEXT, _SCALARS = "image_encoder", "text_encoder", ("log_scale", "bias")
_PATIENTS = "patients"


def pack_model(model: ClipModel, patients: PatientHashes | None = None) -> dict[str, Any]:
    """Return the content of a checkpoint: tensors, numbers, strings, lists and dictionaries only.

    Args:
        model: The encoders.
        patients: The patients that trained them, if they are known.
    """
    return {
        "schema_version": schema.CHECKPOINT_SCHEMA_VERSION,
        "config": to_mapping(model.config),
        "vocabulary": model.vocabulary.to_mapping(),
        _IMAGE: {name: tensor.detach().cpu() for name, tensor in model.image.state_dict().items()},
        _TEXT: {name: tensor.detach().cpu() for name, tensor in model.text.state_dict().items()},
        **{name: float(getattr(model, name).detach()) for name in _SCALARS},
        _PATIENTS: None if patients is None else patients.to_mapping(),
    }


def save_checkpoint(path: Path, values: dict[str, Any]) -> None:
    """Write a checkpoint atomically."""
    with replacing(path) as temporary:
        torch.save(values, temporary)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint without running any code in it.

    Raises:
        ArtefactError: The file is missing or broken, or contains other than plain values.
    """
    if not path.is_file():
        raise ArtefactError(f"{path}: no such checkpoint; noduleclip train writes {schema.BEST_CHECKPOINT}")
    try:
        check_archive_size(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
        check_tensor_sizes(values, path)
    except ArtefactError:
        raise
    except pickle.UnpicklingError as error:
        raise ArtefactError(f"{path}: refused, it is broken or holds code (weights_only=True)") from error
    except Exception as error:  # a broken archive or pickle raises whatever it runs into
        if shows_incompatibility(error):
            raise
        reason = (str(error).splitlines() or [""])[0][:200]
        raise ArtefactError(f"{path}: not a readable checkpoint ({type(error).__name__}: {reason})") from error
    if not isinstance(values, dict) or values.get("schema_version") != schema.CHECKPOINT_SCHEMA_VERSION:
        found = values.get("schema_version") if isinstance(values, dict) else type(values).__name__
        found = found if isinstance(found, int | str | None) else type(found).__name__
        raise ArtefactError(
            f"{path}: not a noduleclip checkpoint of version {schema.CHECKPOINT_SCHEMA_VERSION} (found {found}); "
            + remedy_for_version(found, schema.CHECKPOINT_SCHEMA_VERSION, "train again, or name another file")
        )
    return values


def load_model(path: Path) -> ClipModel:
    """Load the encoders from a checkpoint, in evaluation mode on the CPU.

    Raises:
        ArtefactError: The file is not a checkpoint of encoders.
    """
    return unpack_model(read_checkpoint(path), path)


def unpack_model(values: dict[str, Any], path: Path) -> ClipModel:
    """Build the encoders from the result of `pack_model`; `path` names the source in messages.

    Raises:
        ArtefactError: A tensor or setting is missing, not finite or of the wrong shape.
    """
    missing = [key for key in ("config", "vocabulary", _IMAGE, _TEXT, *_SCALARS) if key not in values]
    if missing:
        raise ArtefactError(f"{path}: holds no {missing[0]}")
    try:
        config = from_mapping(ModelConfig, values["config"], str(path))
        vocabulary = Vocabulary.from_mapping(values["vocabulary"], str(path))
        with AllocationLimit(_TIMES_ITS_WEIGHTS * count_bytes((values[_IMAGE], values[_TEXT]), path) + _SMALL_BYTES):
            model = ClipModel(config, vocabulary)
    except (ConfigError, AllocationError) as error:
        raise ArtefactError(f"{path}: its configuration cannot be used: {error}") from error
    for part, encoder in ((_IMAGE, model.image), (_TEXT, model.text)):
        try:
            encoder.load_state_dict(values[part])
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ArtefactError(f"{path}: {part} does not fit {config.backbone}: {reason}") from error
        for name, tensor in encoder.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                raise ArtefactError(f"{path}: tensor {name} of {part} is not finite")
    with torch.no_grad():
        for name in _SCALARS:
            value = values[name]
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ArtefactError(f"{path}: {name} is no finite number")
            getattr(model, name).fill_(float(value))
    return model.eval()


def unpack_patients(values: dict[str, Any], path: Path) -> PatientHashes | None:
    """Return the patients that trained the encoders of a checkpoint; `path` names it in messages.

    Returns:
        None where the checkpoint does not say, such as those of earlier versions.

    Raises:
        ArtefactError: What it says cannot be read.
    """
    if values.get(_PATIENTS) is None:
        return None
    try:
        return PatientHashes.from_mapping(values[_PATIENTS])
    except ValueError as error:
        raise ArtefactError(f"{path}: its hashes of patients cannot be read ({error})") from error


def hash_model(model: ClipModel) -> str:
    """Return the id of a model: a hash of configuration, vocabulary and weights."""
    packed = pack_model(model)
    digest = hashlib.sha256(repr((packed["config"], packed["vocabulary"])).encode())
    for part in (_IMAGE, _TEXT):
        tensors: dict[str, Tensor] = packed[part]
        for name in sorted(tensors):
            digest.update(name.encode())
            digest.update(tensors[name].contiguous().numpy().tobytes())
    digest.update(repr([packed[name] for name in _SCALARS]).encode())
    return digest.hexdigest()[:16]
