"""Models that come with the package, by name."""

from importlib import resources
from pathlib import Path

from noduleclip import schema
from noduleclip.errors import ArtefactError
from noduleclip.io.artefacts import read_json

SHIPPED = {"lidc": "in-slice"}  # and the diameters that they were trained on
_WEIGHTS = Path(str(resources.files("noduleclip"))) / "weights"


def find_checkpoint(model: Path) -> Path:
    """Return the file of a checkpoint: a path, or the name of a model that comes with the package.

    A file of that name in the working folder comes first.

    Raises:
        ArtefactError: There is neither.
    """
    if model.is_file():
        return model
    if str(model) in SHIPPED:
        return _WEIGHTS / f"{model}.pth"
    raise ArtefactError(
        f"{model}: no such checkpoint; noduleclip train writes one, and {' and '.join(SHIPPED)} comes with the package"
    )


def recall_diameter_kind(checkpoint: Path) -> str | None:
    """Return the kind of diameters that a model was trained on: a shipped one's, else as the record beside it says.

    Returns:
        None where nobody knows.
    """
    if checkpoint.parent == _WEIGHTS:
        return SHIPPED.get(checkpoint.stem)
    try:
        data = read_json(checkpoint.parent / schema.RUN_RECORD).get("data")
    except ArtefactError:
        return None
    kind = data.get(schema.DIAMETER_KIND) if isinstance(data, dict) else None
    return kind if isinstance(kind, str) else None
