"""The weights of a text encoder in an ONNX file whose graph is not run.

An ONNX graph is a program, and an index may come from anybody. So the operations of a file are read and never
executed: those that hold weights or mix tokens must be the text encoder's, in its order, and all weights must have the
shapes that follow from the vocabulary and the configuration. See docs/decisions/0004-text-encoder.md.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from noduleclip.config import ModelConfig
from noduleclip.errors import ConfigError
from noduleclip.language.vocabulary import MAX_TOKENS
from noduleclip.retrieval.numpy_text_encoder import Floats, Layer, Linear, Norm, NumpyTextEncoder, count_heads
from noduleclip.retrieval.onnx_file import Node, OnnxFile, Tensor

# What torch's exporters from 2.6 (opset 18) to 2.14 (opset 20) make of an encoder. The operations that hold weights or
# mix tokens come in one order; the others number at most so many, and so many more for each layer; moving values about
# takes an exporter as many as it likes.
_SPINE_TYPES = {"Gather", "LayerNormalization", "MatMul", "Softmax", "Gelu", "Erf", "Gemm"}
_MOST_OF_A_TYPE = {
    "Add": (2, 8),
    "Mul": (4, 3),
    "Div": (2, 1),
    "Sub": (2, 0),
    "Concat": (3, 2),
    "Expand": (1, 0),
    "Clip": (1, 0),
    "ReduceSum": (2, 0),
    "ReduceL2": (1, 0),
    "Equal": (1, 0),
    "Not": (1, 0),
    "Shape": (1, 0),
}
_MOVING_TYPES = {
    *("Cast", "CastLike", "Constant", "Identity", "Reshape", "SequenceAt", "Slice", "Split", "SplitToSequence"),
    *("Squeeze", "Transpose", "Unsqueeze"),
}
_ALLOWED_TYPES = _SPINE_TYPES | set(_MOST_OF_A_TYPE) | _MOVING_TYPES
_LINEAR = ("MatMul+weight", "Add+weight")
_LAYER = (
    *("LayerNormalization+weight", *_LINEAR, "MatMul", "Softmax", "MatMul", *_LINEAR),
    *("LayerNormalization+weight", *_LINEAR, "Gelu", *_LINEAR),
)
_FIRST = ("Gather+weight", "Gather+weight", "Add+weight")
_LAST = ("LayerNormalization+weight", "Gemm+weight")


class NotATextEncoderError(ValueError):
    """An ONNX file whose graph or weights are not the text encoder's; the message completes "it holds"."""


def load_text_encoder(file: OnnxFile, vocabulary_size: int) -> NumpyTextEncoder:
    """Take the weights out of a file.

    Args:
        file: The file.
        vocabulary_size: Entries of its vocabulary.

    Raises:
        ValueError: Its operations are not those of a text encoder, or its weights have other types or shapes than
            follow from the vocabulary and from what `ModelConfig` allows.
    """
    steps = list(_find_spine(file))
    layers = (len(steps) - len(_FIRST) - len(_LAST)) // len(_LAYER)
    if [step.name for step in steps] != [*_FIRST, *_LAYER * max(layers, 1), *_LAST]:
        raise NotATextEncoderError("other operations than a text encoder, or in another order")
    counts = Counter(node.op_type for node in file.nodes)
    for op_type, (once, per_layer) in _MOST_OF_A_TYPE.items():
        if counts[op_type] > once + per_layer * layers:
            raise NotATextEncoderError(f"the operation {op_type} {counts[op_type]:,} times")
    weights = iter([step.weights for step in steps if step.weights])
    entries, same_entries, positions = next(weights), next(weights), next(weights)
    if len(entries[0].shape) != 2 or same_entries != entries:
        raise NotATextEncoderError("no table of its vocabulary")
    width = entries[0].shape[1]
    _check_config(width, layers)

    def take(tensor: _Weight, *shape: int) -> Floats:
        if tensor.shape != shape:
            raise NotATextEncoderError(f"weights of {tensor.shape} where {shape} are needed")
        return tensor.read()

    def norm() -> Norm:
        weight, bias = next(weights)
        return Norm(take(weight, width), take(bias, width))

    def linear(inputs: int, outputs: int) -> Linear:
        return Linear(take(next(weights)[0], inputs, outputs), take(next(weights)[0], outputs))

    table = take(entries[0], vocabulary_size, width)
    places = take(positions[0], MAX_TOKENS, width)
    made = tuple(
        Layer(
            norm(), linear(width, 3 * width), linear(width, width),
            norm(), linear(width, 4 * width), linear(4 * width, width),
        )
        for _ in range(layers)
    )  # fmt: skip
    last = norm()
    weight, bias = next(weights)
    emb = weight.shape[0]
    _check_config(width, layers, emb)
    project = Linear(np.ascontiguousarray(take(weight, emb, width).T), take(bias, emb))
    return NumpyTextEncoder(table, places, made, last, project)


def _check_config(width: int, layers: int, emb: int = ModelConfig.emb) -> None:
    try:
        ModelConfig(text_width=width, text_layers=layers, emb=emb)
    except ConfigError as error:
        raise NotATextEncoderError(f"weights of an impossible encoder: {error}") from error
    if width % count_heads(width):
        raise NotATextEncoderError(f"tokens of width {width}, which its heads do not divide")


@dataclass(frozen=True)
class _Weight:
    tensor: Tensor
    turned: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape[::-1] if self.turned else self.tensor.shape

    def read(self) -> Floats:
        values = self.tensor.read()
        return np.ascontiguousarray(values.T) if self.turned else values


@dataclass(frozen=True)
class _Step:
    name: str
    weights: tuple[_Weight, ...]


def _find_spine(file: OnnxFile) -> Iterator[_Step]:
    """Yield the operations that hold weights or mix tokens, in the order of the file.

    Weights are float32 constants of one axis or more, or such a matrix transposed.
    """
    known = {name: _Weight(tensor, False) for name, tensor in file.tensors.items() if tensor.is_float and tensor.shape}
    for node in file.nodes:
        if node.op_type not in _ALLOWED_TYPES:
            raise NotATextEncoderError(f"the operation {node.op_type[:40]!r}, which no text encoder has")
        held = tuple(known[name] for name in node.inputs if name in known)
        if node.op_type in ("Transpose", "Identity") and len(held) == len(node.outputs) == 1:
            known[node.outputs[0]] = _turn(held[0], node)
        elif node.op_type in _SPINE_TYPES or held:
            name = "Gelu" if node.op_type == "Erf" else node.op_type
            yield _Step(name + "+weight" * bool(held), held)


def _turn(weight: _Weight, node: Node) -> _Weight:
    if node.op_type == "Identity":
        return weight
    if len(weight.tensor.shape) != 2:
        raise NotATextEncoderError("weights of other axes than a text encoder")
    return _Weight(weight.tensor, not weight.turned)
