"""The text encoder of an index, and the check that a checkpoint belongs to it."""

from pathlib import Path

from noduleclip import schema
from noduleclip.errors import ArtefactError, IndexReplacedError
from noduleclip.io.artefacts import hash_file
from noduleclip.io.bundled_model import find_checkpoint
from noduleclip.io.index.base import Index
from noduleclip.retrieval.text_query import SentenceEncoder


def check_model(index: Index, checkpoint: Path | None) -> None:
    """Check that a checkpoint made the embeddings of an index.

    Raises:
        ArtefactError: It is missing, or another one made them.
    """
    if checkpoint is None:
        return
    if hash_file(find_checkpoint(checkpoint)) != index.manifest.checkpoint_sha256:
        raise ArtefactError(
            f"{checkpoint} did not make the embeddings in {index.location}; embed again, or leave --model out"
        )


def open_text_encoder(index: Index) -> SentenceEncoder:
    """Open the text encoder of an index.

    Raises:
        ArtefactError: It is broken or belongs to another model.
    """
    try:
        return _load_text_encoder(index)
    except IndexReplacedError:  # an opened folder still holds its own and returns a copy of it
        return _load_text_encoder(index)


def _load_text_encoder(index: Index) -> SentenceEncoder:
    with index.text_encoder_path() as file:
        encoder = SentenceEncoder(file)
    if encoder.emb != index.manifest.emb:
        raise ArtefactError(
            f"{index.location}: {schema.TEXT_TOWER} gives vectors of {encoder.emb} numbers, "
            f"the embeddings have {index.manifest.emb}; embed again"
        )
    if encoder.model_id != index.manifest.model_id:
        raise ArtefactError(
            f"{index.location}: {schema.TEXT_TOWER} is of model {encoder.model_id}, "
            f"the embeddings are of model {index.manifest.model_id}; embed again"
        )
    return encoder
