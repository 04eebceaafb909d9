"""Validation: how well a model ranks nodules for the evaluation queries of sizes and ratings."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from noduleclip.engine.batches import center_crop
from noduleclip.engine.samples import Samples
from noduleclip.evaluation.metrics import average_precision, draw_readers, mean_average_precisions
from noduleclip.evaluation.readers import Readers, draw_labels, list_known
from noduleclip.language import EVALUATION_QUERIES, RATING_QUERIES, parse_intervals
from noduleclip.language.query import ParsedQuery, parse_queries
from noduleclip.models.clip import ClipModel

_READER_DRAWS = 50
_BATCH = 256


@dataclass(frozen=True)
class Validation:
    """Average precision on validation nodules, which choose the epoch.

    Attributes:
        size_map: Mean over the ten size queries; it alone chooses the epoch.
        ratings_map: Mean over the rating queries; None where the model or the nodules have no ratings.
        query_ap: Average precision of each query. A query that is true of no nodule is NaN and left out of the means.
    """

    size_map: float
    ratings_map: float | None
    query_ap: dict[str, float]


def validate(model: ClipModel, samples: Samples) -> Validation:
    """Evaluate a model on nodules, whose images are embedded in one view."""
    readers = Readers(samples.diameters_mm.double().numpy(), samples.ratings.double().numpy(), samples.attributes)
    attributes = set(model.vocabulary.attributes) & set(samples.attributes)
    rated = [RATING_QUERIES[at] for at in list_known(parse_queries(RATING_QUERIES), sorted(attributes))]
    scores = score_samples(model, samples, (*EVALUATION_QUERIES, *rated))
    truth_mm = draw_readers(readers.diameters_mm, _READER_DRAWS).truth_mm
    sizes = mean_average_precisions(scores[: len(EVALUATION_QUERIES)], parse_intervals(EVALUATION_QUERIES), truth_mm)
    ratings = [
        _measure_rating_query(row, readers, parsed)
        for row, parsed in zip(scores[len(EVALUATION_QUERIES) :], parse_queries(rated), strict=True)
    ]
    query_ap = dict(zip((*EVALUATION_QUERIES, *rated), [*sizes.tolist(), *ratings], strict=True))
    ratings_map = float(np.nanmean(ratings)) if np.isfinite(ratings).any() else None
    return Validation(float(np.nanmean(sizes)), ratings_map, query_ap)


def _measure_rating_query(scores: NDArray[np.float64], readers: Readers, parsed: ParsedQuery) -> float:
    """Return the average precision (N,) scores reach, mean over drawn readers; NaN where it is true of no nodule."""
    rows = readers.find_nodules(parsed, 1)
    if not len(rows):
        return math.nan
    truth = draw_labels(readers.take(rows), parsed, _READER_DRAWS, seed=0).truth
    precisions = average_precision(scores[rows], truth)
    known = precisions[np.isfinite(precisions)]
    return float(known.mean()) if known.size else math.nan


@torch.inference_mode()
def score_samples(
    model: ClipModel, samples: Samples, queries: Sequence[str] = EVALUATION_QUERIES
) -> NDArray[np.float64]:
    """Return the cosines (Q, N) of queries and nodules."""
    model.eval()
    device, size_px = model.bias.device, model.config.crop.size_px
    images = torch.cat(
        [
            model.image(center_crop(crops.to(device), size_px).float()).cpu()
            for crops in torch.split(samples.crops_hu, _BATCH)
        ]
    )
    sentences = model.encode_text([model.vocabulary.encode(query) for query in queries]).cpu()
    return np.asarray((sentences @ images.T).double().numpy())
