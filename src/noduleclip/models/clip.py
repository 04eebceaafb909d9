"""The image encoder and the text encoder, with the scale and bias that turn a cosine into a probability."""

import math

import torch
from torch import Tensor, nn

from noduleclip.config import ModelConfig
from noduleclip.language.vocabulary import Tokens, Vocabulary, stack_tokens
from noduleclip.models.image_encoder import ImageEncoder
from noduleclip.models.text_encoder import TextEncoder

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
        self.text = TextEncoder(vocabulary.size, config.emb, config.text_width, config.text_layers)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_INITIAL_SCALE)))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def encode_text(self, tokens: list[Tokens]) -> Tensor:
        """Embed P tokenised sentences: (P, D) unit vectors."""
        left, right, share = stack_tokens(tokens)
        device = self.bias.device
        return self.text(  # type: ignore[no-any-return]
            torch.tensor(left, device=device),
            torch.tensor(right, device=device),
            torch.tensor(share, dtype=torch.float32, device=device),
        )

    def encode_views(self, crops_hu: Tensor) -> Tensor:
        """Embed crops as the mean over `config.views` rotations and flips.

        Args:
            crops_hu: (B, Y, X) HU.

        Returns:
            (B, D) unit vectors.
        """
        views = [crops_hu]
        if self.config.views == 8:
            both = [crops_hu, crops_hu.transpose(1, 2)]
            views = [torch.rot90(crop, turns, (1, 2)) for crop in both for turns in range(4)]
        total = torch.stack([self.image(view.contiguous()) for view in views]).sum(dim=0)
        return nn.functional.normalize(total, dim=-1)


def prior_logit(share: float) -> float:
    """Return the bias at which a cosine of 0 is this probability, clipped to [0.01, 0.99]: the share of true pairs."""
    share = min(max(share, 0.01), 0.99)
    return math.log(share / (1 - share))
