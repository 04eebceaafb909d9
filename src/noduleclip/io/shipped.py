"""Models that come with the package, by name."""

from importlib import resources
from pathlib import Path

from noduleclip.errors import ArtefactError

SHIPPED = ("lidc",)


def find_checkpoint(model: Path) -> Path:
    """Give the file of a checkpoint: a path, or the name of a model that comes with the package.

    A file of that name in the working folder comes first.

    Raises:
        ArtefactError: There is neither.
    """
    if model.is_file():
        return model
    if str(model) in SHIPPED:
        return Path(str(resources.files("noduleclip") / "weights" / f"{model}.pth"))
    raise ArtefactError(
        f"{model}: no such checkpoint; noduleclip train writes one, and {' and '.join(SHIPPED)} comes with the package"
    )
