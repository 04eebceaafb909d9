"""The image encoder and the text encoder, with the scale and bias that turn a cosine into a probability."""

import math

import torch
from torch import Tensor, nn

from noduleclip.config import VIEWS, ModelConfig
from noduleclip.language.vocabulary import Tokens, Vocabulary, stack_tokens
from noduleclip.models.image_encoder import ImageEncoder
from noduleclip.models.text_encoder import PAD, TextEncoder

_INITIAL_SCALE = 10.0


class ClipModel(nn.Module):
    """An image encoder and a text encoder with a shared embedding space.

    The probability that a sentence is true of a crop is `sigmoid(exp(log_scale) * cosine + bias)`.

    Args:
        config: Architecture.
        vocabulary: Words of the text encoder.
        pretrained: Load the backbone's published weights, which timm may download.
    """

    def __init__(self, config: ModelConfig, vocabulary: Vocabulary, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.image = ImageEncoder(config.backbone, config.emb, config.crop, config.outline_width, pretrained)
        self.reset_text()

    def reset_text(self) -> None:
        """Set the text encoder, scale and bias to new random or initial values, on the CPU."""
        config = self.config
        self.text = TextEncoder(self.vocabulary.size, config.emb, config.text_width, config.text_layers)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_INITIAL_SCALE)))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def encode_text(self, tokens: list[Tokens]) -> Tensor:
        """Embed P tokenised sentences: (P, D) unit vectors."""
        return self.text(*trim_padding(*self.stack_tokens(tokens)))  # type: ignore[no-any-return]

    def stack_tokens(self, tokens: list[Tokens]) -> tuple[Tensor, Tensor, Tensor]:
        """Return tokenised sentences as the text encoder takes them: (P, T) left ids, right ids and shares."""
        left, right, share = stack_tokens(tokens)
        device = self.bias.device
        return (
            torch.tensor(left, device=device),
            torch.tensor(right, device=device),
            torch.tensor(share, dtype=torch.float32, device=device),
        )

    def encode_views(self, crops_hu: Tensor, views: int | None = None) -> Tensor:
        """Embed crops as the mean over some of their rotations and flips.

        Args:
            crops_hu: (B, Y, X) HU.
            views: A key of `config.VIEWS`; None = the model's own number.

        Returns:
            (B, D) unit vectors.
        """
        embeddings = [
            self.image(torch.rot90(crops_hu.mT if mirrored else crops_hu, turns, (1, 2)).contiguous())
            for mirrored, turns in VIEWS[views or self.config.views]
        ]
        return nn.functional.normalize(torch.stack(embeddings).sum(dim=0), dim=-1)


def trim_padding(left: Tensor, right: Tensor, share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Remove the last columns of tokens (P, T) that are padding in every sentence: most sentences are short."""
    length = int((left != PAD).sum(dim=1).max())
    return left[:, :length], right[:, :length], share[:, :length]


def prior_logit(share: float) -> float:
    """Return the bias at which a cosine of 0 is this probability, clipped to [0.01, 0.99]: the share of true pairs."""
    share = min(max(share, 0.01), 0.99)
    return math.log(share / (1 - share))
