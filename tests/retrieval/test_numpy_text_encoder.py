"""The text encoder in numpy: what earlier exporters wrote is read, and gives what ONNX Runtime makes of it."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from noduleclip.errors import ArtefactError
from noduleclip.language.vocabulary import Vocabulary, stack_tokens
from noduleclip.retrieval import numpy_text_encoder
from noduleclip.retrieval.numpy_text_encoder import gelu
from noduleclip.retrieval.text_query import SentenceEncoder

TOWERS = Path(__file__).parent / "encoders"
SENTENCES = ["a lung nodule > 6 mm", "between 0.8 and 1.2 cm", "a nodule", "<= 3 mm, spiculated"] * 5


@pytest.mark.parametrize("path", sorted(TOWERS.iterdir()), ids=lambda path: path.stem)
def test_towers_of_earlier_exporters_give_what_their_graphs_give(path: Path) -> None:
    """Weights transposed in the graph, GELU as Erf and sequences in torch 2.6; Split in 2.8."""
    vectors = SentenceEncoder(path).encode(SENTENCES)
    texts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    vocabulary = Vocabulary.from_mapping(json.loads(texts["vocabulary"]), "here")
    left, right, share = stack_tokens([vocabulary.encode(sentence) for sentence in SENTENCES])
    feed = {"left": np.array(left), "right": np.array(right), "share": np.array(share, np.float32)}
    (expected,) = onnxruntime.InferenceSession(path).run(None, feed)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-6)


def test_a_sentence_has_the_same_vector_alone_and_among_others() -> None:
    encoder = SentenceEncoder(TOWERS / "torch-2.8.onnx")
    vectors = encoder.encode(SENTENCES)
    assert len(SENTENCES) > numpy_text_encoder._SENTENCES_AT_ONCE
    for row in (0, 1, len(SENTENCES) - 1):
        np.testing.assert_array_equal(encoder.encode([SENTENCES[row]])[0], vectors[row])
    assert encoder.encode([]).shape == (0, encoder.emb)


def test_a_graph_is_not_run(tmp_path: Path) -> None:
    """Wires that lead elsewhere change nothing: only weights are taken."""
    model = onnx.load(TOWERS / "torch-2.8.onnx")
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.input[0] = "nowhere"
    onnx.save(model, tmp_path / "encoder.onnx")
    expected = SentenceEncoder(TOWERS / "torch-2.8.onnx").encode(SENTENCES)
    np.testing.assert_array_equal(SentenceEncoder(tmp_path / "encoder.onnx").encode(SENTENCES), expected)


def test_a_tower_is_read_once(tmp_path: Path) -> None:
    copy = tmp_path / "encoder.onnx"
    shutil.copy(TOWERS / "torch-2.8.onnx", copy)
    encoder = SentenceEncoder(copy)
    copy.write_bytes(b"")
    assert np.isfinite(encoder.encode(SENTENCES)).all()
    with pytest.raises(ArtefactError, match="not a readable text encoder"):
        SentenceEncoder(copy)


def test_gelu_is_that_of_the_error_function() -> None:
    values = np.linspace(-12, 12, 20_001, dtype=np.float32)
    expected = np.array([value / 2 * (1 + math.erf(value / math.sqrt(2))) for value in values.tolist()])
    np.testing.assert_allclose(gelu(values), expected, rtol=0, atol=1e-6)
