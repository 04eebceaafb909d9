"""The text encoder without torch, from the file that `embed` wrote."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noduleclip.errors import ArtefactError
from noduleclip.language.vocabulary import Vocabulary, stack_tokens
from noduleclip.retrieval.fusion import Calibration
from noduleclip.retrieval.onnx_file import read_onnx
from noduleclip.retrieval.text_encoder_weights import NotATextEncoderError, load_text_encoder

_LONGEST_ID = 200
_BATCH_SENTENCES = 1024  # of a forward pass; its memory grows with them


class SentenceEncoder:
    """Sentences to unit vectors, with the vocabulary and calibration that the file carries.

    It is read once, and may be gone afterwards.

    Attributes:
        model_id: The model that the text encoder belongs to.
        calibration: What turns its cosines into probabilities.
        emb: Width of the vectors that it gives.
        attributes: The rated attributes that it knows, by column name.

    Raises:
        ArtefactError: The file is missing or is no text encoder.
    """

    def __init__(self, path: Path) -> None:
        file = read_onnx(path, "text encoder", ("left", "right", "share"))
        self._path = path
        try:
            self._read_metadata(file.texts, path)
            self._tower = load_text_encoder(file, self._vocabulary.size)
        except NotATextEncoderError as error:
            raise ArtefactError(f"{path}: not a text encoder of this tool (it holds {error}); embed again") from error
        except (LookupError, ValueError, TypeError, RecursionError) as error:
            raise ArtefactError(f"{path}: not a text encoder of this tool ({_shorten(error)})") from error
        self.emb = self._tower.emb

    def _read_metadata(self, metadata: dict[str, str], path: Path) -> None:
        self.model_id: str = metadata["model_id"]
        if len(self.model_id) > _LONGEST_ID:
            raise ValueError(f"a model id of {len(self.model_id):,} characters")
        self.calibration = Calibration.from_texts(metadata)
        vocabulary: dict[str, Any] = json.loads(metadata["vocabulary"])
        self._vocabulary = Vocabulary.from_mapping(vocabulary, str(path))
        self.attributes = self._vocabulary.attributes

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Embed sentences: (Q, D) unit vectors.

        Raises:
            ArtefactError: A vector is not finite.
            UsageError: A sentence is empty or contradicts itself.
        """
        parts = max(1, len(sentences) // _BATCH_SENTENCES)  # never one of a lone sentence, which rounds differently
        ends = [len(sentences) * part // parts for part in range(parts + 1)]
        return np.concatenate([self._encode(sentences[start:end]) for start, end in itertools.pairwise(ends)])

    def _encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        left, right, share = stack_tokens([self._vocabulary.encode(sentence) for sentence in sentences])
        vectors = self._tower(np.array(left, np.int64), np.array(right, np.int64), np.array(share, np.float32))
        if not np.isfinite(vectors).all():
            raise ArtefactError(f"{self._path}: gives vectors that are not finite; embed again")
        return vectors


def _shorten(error: Exception) -> str:
    """Return the start of a message; some quote their whole input."""
    text = repr(error)
    return text if len(text) <= 200 else f"{text[:200]}…"
