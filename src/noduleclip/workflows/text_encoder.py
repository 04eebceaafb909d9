"""The text encoder of an index."""

from noduleclip import schema
from noduleclip.errors import ArtefactError, IndexReplacedError
from noduleclip.io.index.base import Index
from noduleclip.retrieval.text_query import SentenceEncoder


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
