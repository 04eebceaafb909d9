"""Text encoder: transformer layers over the word and number tokens of `language.vocabulary`."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from noduleclip.language.vocabulary import MAX_TOKENS

PAD = 0
_HEAD_WIDTH = 16


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and a feed-forward layer, of basic operations that ONNX can express."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // _HEAD_WIDTH)
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Compute one layer.

        Args:
            tokens: (P, T, W).
            hidden: (P, 1, 1, T) additive mask: 0 for a token, a large negative number for padding.

        Returns:
            (P, T, W).
        """
        rows, length, width = tokens.shape
        mixed = self.query_key_value(self.norm_attention(tokens))
        query, key, value = mixed.reshape(rows, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5 + hidden
        summed = (scores.softmax(dim=-1) @ value).transpose(1, 2).reshape(rows, length, width)
        tokens = tokens + self.attended(summed)
        mixed_in: Tensor = self.mlp(self.norm_mlp(tokens))
        return tokens + mixed_in


class TextEncoder(nn.Module):
    """Sentence tokens to unit vectors.

    Args:
        vocabulary_size: Entries of the embedding table.
        emb: Width D of the output.
        width: Width W of a token.
        layers: Transformer layers.
    """

    def __init__(self, vocabulary_size: int, emb: int, width: int, layers: int) -> None:
        super().__init__()
        self.entries = nn.Embedding(vocabulary_size, width)
        self.positions = nn.Parameter(torch.randn(MAX_TOKENS, width) * 0.02)
        self.layers = nn.ModuleList(TransformerLayer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, emb)
        nn.init.normal_(self.entries.weight, std=0.5)

    def forward(self, left: Tensor, right: Tensor, share: Tensor) -> Tensor:
        """Embed sentences.

        Args:
            left: (P, T) int64 entry ids, 0 = padding; T is at most `MAX_TOKENS`.
            right: (P, T) int64 entry ids.
            share: (P, T) float32 weight of `right` in [0, 1].

        Returns:
            (P, D) unit vectors.
        """
        weight = share.unsqueeze(-1)
        tokens = self.entries(left) * (1 - weight) + self.entries(right) * weight + self.positions[: left.shape[1]]
        counts = (left != PAD).to(tokens.dtype)
        hidden = ((counts - 1) * 1e4)[:, None, None, :]
        for layer in self.layers:
            tokens = layer(tokens, hidden)
        mean = (self.norm(tokens) * counts.unsqueeze(-1)).sum(dim=1) / counts.sum(dim=1, keepdim=True)
        return F.normalize(self.project(mean), dim=-1)
