"""Opening of an index for a search: it must be of the model asked for, and one of an earlier version is noted."""

from pathlib import Path

from noduleclip import schema
from noduleclip.errors import ArtefactError
from noduleclip.io.artefacts import hash_file
from noduleclip.io.bundled_model import find_checkpoint
from noduleclip.io.index.base import Index
from noduleclip.io.index.open import open_index
from noduleclip.workflows.reporter import SILENT, Reporter


def open_stored_index(location: Path | str, model: Path | None = None, reporter: Reporter = SILENT) -> Index:
    """Open an index that is to be searched, described or evaluated.

    Args:
        location: A folder, or the address of a Lance store.
        model: Checkpoint that must have made the embeddings; None = not checked.
        reporter: Receives one warning where the index is of a version that knew no nodules.

    Raises:
        ArtefactError: There is no index, it is broken, or another model made it.
    """
    index = open_index(str(location))
    if model is not None and hash_file(find_checkpoint(model)) != index.manifest.checkpoint_sha256:
        raise ArtefactError(
            f"{model} did not make the embeddings in {index.location}; embed again, or leave --model out"
        )
    if index.manifest.schema_version == schema.OUTLINE_SCHEMA_VERSION:
        reporter.warning(
            f"{index.location}: an index of outlines, made by an earlier version: a nodule may have several rows; "
            "embed again for one of nodules"
        )
    return index
