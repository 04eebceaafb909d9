"""The text tower without torch: ONNX Runtime over the file that `embed` wrote."""

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
from noduleclip.retrieval.onnx_file import open_tower, run_tower

_BATCH_SENTENCES = 1024  # of a forward pass; its memory grows with them


class SentenceEncoder:
    """Sentences to unit vectors, with the vocabulary and calibration that the file carries.

    It is read once, and may be gone afterwards.

    Attributes:
        model_id: The model that the text tower belongs to.
        calibration: What turns its cosines into probabilities.
        emb: Width of the vectors that it says it gives.
        attributes: The rated attributes that it knows, by column name.

    Raises:
        ArtefactError: The file is missing or is no text tower.
    """

    def __init__(self, path: Path) -> None:
        self._session, metadata = open_tower(path, "text tower", 1, ("left", "right", "share"))
        self._path = path
        try:
            self.emb: object = self._session.get_outputs()[0].shape[-1]
            self._read_metadata(metadata, path)
        except (LookupError, ValueError, TypeError, RecursionError) as error:
            raise ArtefactError(f"{path}: not a text tower of this tool ({error!r})") from error

    def _read_metadata(self, metadata: dict[str, str], path: Path) -> None:
        self.model_id: str = metadata["model_id"]
        self.calibration = Calibration.from_texts(metadata)
        vocabulary: dict[str, Any] = json.loads(metadata["vocabulary"])
        self._vocabulary = Vocabulary.from_mapping(vocabulary, str(path))
        self.attributes = self._vocabulary.attributes

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Embed sentences: (Q, D) unit vectors.

        Raises:
            UsageError: A sentence is empty or contradicts itself.
        """
        parts = max(1, len(sentences) // _BATCH_SENTENCES)  # never one of a lone sentence, which rounds differently
        ends = [len(sentences) * part // parts for part in range(parts + 1)]
        return np.concatenate([self._encode(sentences[start:end]) for start, end in itertools.pairwise(ends)])

    def _encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        left, right, share = stack_tokens([self._vocabulary.encode(sentence) for sentence in sentences])
        feed: dict[str, NDArray[np.generic]] = {
            "left": np.array(left, np.int64),
            "right": np.array(right, np.int64),
            "share": np.array(share, np.float32),
        }
        return run_tower(self._session, feed, len(sentences), self._path)
