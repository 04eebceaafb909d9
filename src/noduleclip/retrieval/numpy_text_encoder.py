"""The text encoder in numpy: computes what `models.text_encoder` computes. See docs/decisions/0004-text-encoder.md."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_PAD = 0
_HEAD_WIDTH = 16
_NORM_EPSILON = 1e-5
_LEAST_LENGTH = 1e-12
_SENTENCES_AT_ONCE = 8
_TOKENS_AT_ONCE = 16
_MOST_PRODUCTS_OF_A_THREAD = 1 << 18  # from there on OpenBLAS wakes its threads: 10 ms each time on a busy machine


@dataclass(frozen=True)
class Norm:
    """Layer normalisation.

    Attributes:
        weight: (W,).
        bias: (W,).
    """

    weight: Floats
    bias: Floats

    def __call__(self, tokens: Floats) -> Floats:
        """Normalise (..., W) tokens."""
        centred = tokens - tokens.mean(-1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(_NORM_EPSILON))
        return np.asarray(centred / spread * self.weight + self.bias)


@dataclass(frozen=True)
class Linear:
    """A linear map.

    Attributes:
        weight: (inputs, outputs).
        bias: (outputs,).
    """

    weight: Floats
    bias: Floats

    def __call__(self, values: Floats) -> Floats:
        """Map (..., n, inputs) values to (..., n, outputs)."""
        inputs, outputs = self.weight.shape
        rows = values.size // inputs
        if _TOKENS_AT_ONCE * inputs * outputs <= _MOST_PRODUCTS_OF_A_THREAD:
            rows = min(values.shape[-2], _TOKENS_AT_ONCE)
        mapped = values.reshape(-1, rows, inputs) @ self.weight + self.bias
        return np.asarray(mapped.reshape(*values.shape[:-1], outputs))


@dataclass(frozen=True)
class Layer:
    """`models.text_encoder.TransformerLayer`."""

    norm_attention: Norm
    query_key_value: Linear
    attended: Linear
    norm_mlp: Norm
    widen: Linear
    narrow: Linear

    def __call__(self, tokens: Floats, hidden: Floats) -> Floats:
        """Transform (P, T, W) tokens; (P, 1, 1, T) `hidden` is far below zero where there is no token."""
        rows, length, width = tokens.shape
        heads = count_heads(width)
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
    layers: tuple[Layer, ...]
    norm: Norm
    project: Linear

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


def count_heads(width: int) -> int:
    """Return the attention heads of an encoder with tokens of a width."""
    return max(1, width // _HEAD_WIDTH)
