"""Validation: how well a model ranks nodules for the ten evaluation queries."""

import numpy as np
import torch
from numpy.typing import NDArray

from noduleclip.engine.batches import center_crop
from noduleclip.engine.samples import Samples
from noduleclip.evaluation.metrics import draw_readers, mean_average_precisions
from noduleclip.language import EVALUATION_QUERIES, parse_intervals
from noduleclip.models.clip import ClipModel

_READER_DRAWS = 50
_BATCH = 256


def validate(model: ClipModel, samples: Samples) -> tuple[float, dict[str, float]]:
    """Return the mean average precision over the ten queries, and the average precision of each query.

    Images are embedded in one view. A query that is true of no nodule is NaN and left out of the mean.
    """
    truth = draw_readers(samples.diameters_mm.double().numpy(), _READER_DRAWS).truth_mm
    values = mean_average_precisions(score_samples(model, samples), parse_intervals(EVALUATION_QUERIES), truth)
    return float(np.nanmean(values)), dict(zip(EVALUATION_QUERIES, values.tolist(), strict=True))


@torch.inference_mode()
def score_samples(model: ClipModel, samples: Samples) -> NDArray[np.float64]:
    """Return the cosines (10, N) of the ten evaluation queries and the nodules."""
    model.eval()
    device, size_px = model.bias.device, model.config.crop.size_px
    images = torch.cat(
        [
            model.image(center_crop(crops.to(device), size_px).float()).cpu()
            for crops in torch.split(samples.crops_hu, _BATCH)
        ]
    )
    sentences = model.encode_text([model.vocabulary.encode(query) for query in EVALUATION_QUERIES]).cpu()
    return np.asarray((sentences @ images.T).double().numpy())
