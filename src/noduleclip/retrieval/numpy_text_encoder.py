"""The text encoder in numpy: computes `models.text_encoder` from the weights of an ONNX file whose graph is not run.

An ONNX graph is a program, and an index may come from anybody. So the operations of a file are read and never
executed: those that hold weights or mix tokens must be the text encoder's, in its order, and all weights must have the
shapes that follow from the vocabulary and the configuration. See docs/decisions/0004-text-encoder.md.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from noduleclip.config import ModelConfig
from noduleclip.errors import ConfigError
from noduleclip.language.vocabulary import MAX_TOKENS
from noduleclip.retrieval.onnx_file import Node, OnnxFile, Tensor

Floats = NDArray[np.float32]

_PAD = 0
_HEAD_WIDTH = 16
_NORM_EPSILON = 1e-5
_LEAST_LENGTH = 1e-12
_SENTENCES_AT_ONCE = 8
_TOKENS_AT_ONCE = 16
_MOST_PRODUCTS_OF_A_THREAD = 1 << 18  # from there on OpenBLAS wakes its threads: 10 ms each time on a busy machine

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


@dataclass(frozen=True)
class _Norm:
    weight: Floats
    bias: Floats

    def __call__(self, tokens: Floats) -> Floats:
        centred = tokens - tokens.mean(-1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(_NORM_EPSILON))
        return np.asarray(centred / spread * self.weight + self.bias)


@dataclass(frozen=True)
class _Linear:
    weight: Floats  # (inputs, outputs)
    bias: Floats

    def __call__(self, values: Floats) -> Floats:
        inputs, outputs = self.weight.shape
        rows = values.size // inputs
        if _TOKENS_AT_ONCE * inputs * outputs <= _MOST_PRODUCTS_OF_A_THREAD:
            rows = min(values.shape[-2], _TOKENS_AT_ONCE)
        mapped = values.reshape(-1, rows, inputs) @ self.weight + self.bias
        return np.asarray(mapped.reshape(*values.shape[:-1], outputs))


@dataclass(frozen=True)
class _Layer:
    """`models.text_encoder.TransformerLayer`."""

    norm_attention: _Norm
    query_key_value: _Linear
    attended: _Linear
    norm_mlp: _Norm
    widen: _Linear
    narrow: _Linear

    def __call__(self, tokens: Floats, hidden: Floats) -> Floats:
        rows, length, width = tokens.shape
        heads = _count_heads(width)
        mixed = self.query_key_value(self.norm_attention(tokens))
        query, key, value = mixed.reshape(rows, length, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
        scores = query @ key.swapaxes(-1, -2) * np.float32((width // heads) ** -0.5) + hidden
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        summed = (shares @ value).swapaxes(1, 2).reshape(rows, length, width)
        tokens = tokens + self.attended(summed)
        return tokens + self.narrow(gelu(self.widen(self.norm_mlp(tokens))))


@dataclass(frozen=True)
class NumpyTextEncoder:
    """Sentence tokens to unit vectors, as `models.text_encoder.NumpyTextEncoder`.

    Attributes:
        entries: (V, W) embedding table.
        positions: (T, W) added to the tokens.
        layers: The transformer layers.
        norm: Before the mean over the tokens.
        project: To the width D of the output.
    """

    entries: Floats
    positions: Floats
    layers: tuple[_Layer, ...]
    norm: _Norm
    project: _Linear

    @property
    def emb(self) -> int:
        """Width D of the output."""
        return int(self.project.bias.size)

    def __call__(self, left: NDArray[np.int64], right: NDArray[np.int64], share: Floats) -> Floats:
        """Embed sentences, a few at a time, so that memory does not grow with their number.

        Args:
            left: (P, T) entry ids, 0 = padding.
            right: (P, T) entry ids.
            share: (P, T) weight of `right` in [0, 1].

        Returns:
            (P, D) unit vectors.
        """
        parts = [slice(start, start + _SENTENCES_AT_ONCE) for start in range(0, len(left), _SENTENCES_AT_ONCE)]
        with np.errstate(all="ignore"):  # the caller looks for vectors that are not finite
            vectors = [self._embed(left[part], right[part], share[part]) for part in parts]
        return np.concatenate([np.empty((0, self.emb), np.float32), *vectors])

    def _embed(self, left: NDArray[np.int64], right: NDArray[np.int64], share: Floats) -> Floats:
        weight = share[..., None]
        tokens = self.entries[left] * (1 - weight) + self.entries[right] * weight + self.positions
        counts = (left != _PAD).astype(np.float32)
        hidden = ((counts - 1) * np.float32(1e4))[:, None, None, :]
        for layer in self.layers:
            tokens = layer(tokens, hidden)
        mean = (self.norm(tokens) * counts[..., None]).sum(1) / counts.sum(1, keepdims=True)
        vectors = self.project(mean[:, None])[:, 0]
        length = np.sqrt(np.square(vectors).sum(-1, keepdims=True))
        return np.asarray(vectors / np.maximum(length, np.float32(_LEAST_LENGTH)))


def gelu(values: Floats) -> Floats:
    """Return `x / 2 * (1 + erf(x / sqrt(2)))`; erf by the rational function of Eigen, to 1e-6 where |x| < 12."""
    scaled = np.clip(values * np.float32(0.5**0.5), -4, 4)
    square = scaled * scaled
    above = _polynomial(square, _ERF_ABOVE) * scaled
    return np.asarray(values * np.float32(0.5) * (1 + above / _polynomial(square, _ERF_BELOW)))


_ERF_ABOVE = (
    *(-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05),
    *(-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02),
)
_ERF_BELOW = (
    *(-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03),
    *(-7.37332916720468e-03, -1.42647390514189e-02),
)


def _polynomial(values: Floats, coefficients: Sequence[float]) -> Floats:
    total = np.full_like(values, coefficients[0])
    for coefficient in coefficients[1:]:
        total *= values
        total += np.float32(coefficient)
    return total


def _count_heads(width: int) -> int:
    return max(1, width // _HEAD_WIDTH)


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

    def norm() -> _Norm:
        weight, bias = next(weights)
        return _Norm(take(weight, width), take(bias, width))

    def linear(inputs: int, outputs: int) -> _Linear:
        return _Linear(take(next(weights)[0], inputs, outputs), take(next(weights)[0], outputs))

    table = take(entries[0], vocabulary_size, width)
    places = take(positions[0], MAX_TOKENS, width)
    made = tuple(
        _Layer(
            norm(), linear(width, 3 * width), linear(width, width),
            norm(), linear(width, 4 * width), linear(4 * width, width),
        )
        for _ in range(layers)
    )  # fmt: skip
    last = norm()
    weight, bias = next(weights)
    emb = weight.shape[0]
    _check_config(width, layers, emb)
    project = _Linear(np.ascontiguousarray(take(weight, emb, width).T), take(bias, emb))
    return NumpyTextEncoder(table, places, made, last, project)


def _check_config(width: int, layers: int, emb: int = ModelConfig.emb) -> None:
    try:
        ModelConfig(text_width=width, text_layers=layers, emb=emb)
    except ConfigError as error:
        raise NotATextEncoderError(f"weights of an impossible encoder: {error}") from error
    if width % _count_heads(width):
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
