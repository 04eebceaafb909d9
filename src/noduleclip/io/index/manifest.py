"""The manifest of an index, `index.json`: what made it, and the checksums of its files."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from noduleclip import schema
from noduleclip.config import FLOAT32, PRECISIONS, VIEWS, ModelConfig
from noduleclip.errors import ArtefactError, ConfigError, remedy_for_version
from noduleclip.io.artefacts import format_json, hash_file
from noduleclip.io.patient_hashes import PatientHashes
from noduleclip.setting import from_mapping, to_mapping

_MOST_BYTES = 1 << 50


@dataclass(frozen=True)
class Manifest:
    """Content of `index.json`.

    Attributes:
        schema_version: Version of the folder's layout.
        model_id: The model that made the embeddings.
        checkpoint_sha256: Hash of the checkpoint file that the model came from.
        model: Its configuration.
        rows: N.
        emb: D.
        scale: Scale of a cosine in the model's logit.
        bias: Bias of the model's logit.
        files: SHA-256 and size in bytes of each file.
        dicom_roots: Folders that relative DICOM paths started from when the index was made.
        made_by: Version of this tool.
        unit: What a row is: "nodule", or "outline", a reader's curve on one slice.
        views: Rotations and flips of a crop whose embeddings were averaged.
        precision: Arithmetic of the image encoder: "float32" or "int8".
        patients: Hashes of the patients that trained the model; None where the checkpoint has none.
    """

    schema_version: int
    model_id: str
    checkpoint_sha256: str
    model: ModelConfig
    rows: int
    emb: int
    scale: float
    bias: float
    files: dict[str, dict[str, Any]]
    made_by: str
    unit: str
    views: int
    precision: str
    dicom_roots: tuple[str, ...] = ()
    patients: PatientHashes | None = None

    @property
    def is_of_nodules(self) -> bool:
        """Whether a row is a nodule, with the values of all its readers."""
        return self.unit == schema.NODULE_UNIT


def describe_file(path: Path) -> dict[str, Any]:
    """Return the entry of a file in a manifest: its SHA-256 and its size in bytes."""
    return {"sha256": hash_file(path), "bytes": path.stat().st_size}


def format_manifest(manifest: Manifest) -> str:
    """Return the text of `index.json`."""
    values = {**asdict(manifest), "model": to_mapping(manifest.model)}
    del values["patients"]
    patients = {} if manifest.patients is None else {"patients": manifest.patients.to_mapping()}
    return format_json({**values, **patients})


def parse_manifest(values: dict[str, Any], path: str, files: set[str]) -> Manifest:
    """Parse a manifest.

    Args:
        values: Parsed JSON.
        path: Its place, for messages.
        files: The files that it must name, besides outlines.

    Raises:
        ArtefactError: It is no manifest of this tool.
    """
    found = values.get("schema_version")
    if found not in (schema.INDEX_SCHEMA_VERSION, schema.OUTLINE_SCHEMA_VERSION):
        remedy = remedy_for_version(found, schema.INDEX_SCHEMA_VERSION, "embed again")
        raise ArtefactError(
            f"{path}: schema version {found}, this noduleclip reads {schema.INDEX_SCHEMA_VERSION}; {remedy}"
        )
    try:
        model = from_mapping(ModelConfig, values["model"], path)
        if found == schema.OUTLINE_SCHEMA_VERSION:
            values = {**values, "unit": schema.OUTLINE_UNIT, "views": model.views, "precision": FLOAT32}
        patients = None if values.get("patients") is None else PatientHashes.from_mapping(values["patients"])
        parsed = {"model": model, "dicom_roots": tuple(values.get("dicom_roots", ())), "patients": patients}
        manifest = Manifest(**{**values, **parsed})
        counts = [manifest.rows, manifest.emb, *(file["bytes"] for file in manifest.files.values())]
        whole = all(type(count) is int and 1 <= count < _MOST_BYTES for count in counts)  # True is no count
        numbers = all(type(n) in (int, float) and abs(n) < math.inf for n in (manifest.scale, manifest.bias))
        named = all(
            isinstance(text, str) for text in (manifest.model_id, manifest.checkpoint_sha256, *manifest.dicom_roots)
        )
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise ArtefactError(f"{path}: not a manifest of this tool ({error})") from error
    if set(manifest.files) - {schema.OUTLINES} != files or not named or manifest.emb != model.emb:
        raise ArtefactError(f"{path}: not a manifest of this tool (its files, model or width are others)")
    if not whole or not numbers:
        raise ArtefactError(f"{path}: not a manifest of this tool (rows, sizes or calibration are no numbers)")
    for name, value, allowed in (
        ("unit", manifest.unit, schema.UNITS),
        ("views", manifest.views, tuple(VIEWS)),
        ("precision", manifest.precision, PRECISIONS),
    ):
        if value not in allowed:
            raise ArtefactError(f"{path}: {name} {value!r} is none of {', '.join(map(str, allowed))}")
    return manifest
