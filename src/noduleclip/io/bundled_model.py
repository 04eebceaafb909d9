"""Models bundled with the package, by name."""

from importlib import resources
from pathlib import Path

from noduleclip import schema
from noduleclip.errors import ArtefactError
from noduleclip.io.artefacts import hash_file, read_json
from noduleclip.io.patient_hashes import PatientHashes
from noduleclip.io.patients import read_patient_list

BUNDLED = {"lidc": "in-slice"}  # and the diameters that they were trained on
_WEIGHTS = Path(str(resources.files("noduleclip"))) / "weights"


def find_checkpoint(model: Path) -> Path:
    """Return the file of a checkpoint: a path, or the name of a bundled model.

    A file of that name in the working folder comes first.

    Raises:
        ArtefactError: There is neither.
    """
    if model.is_file():
        return model
    if str(model) in BUNDLED:
        return _WEIGHTS / f"{model}.pth"
    raise ArtefactError(
        f"{model}: no such checkpoint; noduleclip train writes one, and {' and '.join(BUNDLED)} comes with the package"
    )


def _find_bundled(checkpoint_sha256: str) -> str | None:
    return next((name for name in BUNDLED if hash_file(_WEIGHTS / f"{name}.pth") == checkpoint_sha256), None)


def recall_patients(checkpoint_sha256: str) -> PatientHashes | None:
    """Return the patients that trained the bundled model with this checksum; None for any other checkpoint."""
    name = _find_bundled(checkpoint_sha256)
    if name is None:
        return None
    return PatientHashes.from_ids("", read_patient_list(_WEIGHTS / name / schema.TRAIN_PATIENTS))


def recall_estimate_kind(checkpoint_sha256: str) -> str:
    """Return the kind of diameters that the bundled model with this checksum estimates; empty for any other one."""
    return BUNDLED.get(_find_bundled(checkpoint_sha256) or "", "")


def find_exported(checkpoint: Path) -> Path | None:
    """Return the folder of the exported encoders of a bundled model; None for any other checkpoint."""
    return _WEIGHTS / checkpoint.stem if checkpoint.parent == _WEIGHTS else None


def recall_diameter_kind(checkpoint: Path) -> str | None:
    """Return the kind of diameters that a model was trained on: of other models, as the run record beside it has it.

    Returns:
        None where nobody knows.
    """
    if checkpoint.parent == _WEIGHTS:
        return BUNDLED.get(checkpoint.stem)
    try:
        data = read_json(checkpoint.parent / schema.RUN_RECORD).get("data")
    except ArtefactError:
        return None
    kind = data.get(schema.DIAMETER_KIND) if isinstance(data, dict) else None
    return kind if isinstance(kind, str) else None
