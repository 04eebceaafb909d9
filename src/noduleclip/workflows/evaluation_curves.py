"""Curves and breakdown of an evaluation, for its page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from noduleclip.config import SOFTNESS_MM
from noduleclip.evaluation.breakdown import BANDS, Breakdown, evaluate_bands, evaluate_groups, sweep_alpha
from noduleclip.evaluation.calibration import Reliability, trace_reliability
from noduleclip.evaluation.curves import PrecisionCurves, trace_precision
from noduleclip.evaluation.sizes import SizeErrors, compare_sizes
from noduleclip.language import EVALUATION_QUERIES, parse_intervals
from noduleclip.language.query import parse_queries
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.workflows.evaluate import EvaluateRequest, EvaluationResult, rank_nodules, score_nodules
from noduleclip.workflows.evaluated_nodules import EvaluatedNodules
from noduleclip.workflows.reporter import SILENT, Reporter


@dataclass(frozen=True)
class EvaluationCurves:
    """Curves and breakdown of an evaluation, which its page plots.

    Attributes:
        precision: Precision over recall of each sentence; None where it has no nodules of two readers.
        sizes: Implied and read diameters; None for scores from a file.
        reliability: Probabilities beside the readers' agreement; None for scores from a file.
        breakdown: Results by size, manufacturer and alpha; None for scores from a file.
    """

    precision: Sequence[PrecisionCurves | None]
    sizes: SizeErrors | None = None
    reliability: Reliability | None = None
    breakdown: Breakdown | None = None


def trace_curves(result: EvaluationResult, reporter: Reporter = SILENT) -> EvaluationCurves:
    """Compute the curves and the breakdown of an evaluation, from the same rankings and draws."""
    request, nodules, encoder = result.request, result.nodules, result.encoder
    parsed_queries = parse_queries(result.queries)
    scores = score_nodules(result.queries, nodules, encoder, request)
    precision = trace_precision(scores, nodules.readers, parsed_queries, draws=request.draws, seed=request.seed)
    if result.estimates is None:
        return EvaluationCurves(precision)
    probabilities = encoder.calibration.to_probability(scores)
    return EvaluationCurves(
        precision,
        compare_sizes(result.estimates.estimates.diameter_mm.astype(np.float64), nodules.readers),
        trace_reliability(probabilities, nodules.readers, parsed_queries),
        _break_down(request, nodules, encoder, reporter),
    )


def _break_down(
    request: EvaluateRequest, nodules: EvaluatedNodules, encoder: SentenceEncoder, reporter: Reporter
) -> Breakdown:
    """Evaluate by size and, on the ten sizes of the protocol, by manufacturer and by alpha."""
    settings = {"draws": request.draws, "seed": request.seed}
    with reporter.progress("evaluating parts", 3, "parts") as advance:
        bands = rank_nodules(BANDS, nodules, encoder, request)
        by_size = evaluate_bands(bands, parse_queries(BANDS), **settings)
        advance(1)
        rankings = rank_nodules(EVALUATION_QUERIES, nodules, encoder, request)
        parsed_queries = parse_queries(EVALUATION_QUERIES)
        by_manufacturer = evaluate_groups(
            rankings, nodules.manufacturers, EVALUATION_QUERIES, parsed_queries, **settings
        )
        advance(1)
        probabilities = encoder.calibration.to_probability(rankings.scores)
        intervals = parse_intervals(EVALUATION_QUERIES)
        by_alpha = sweep_alpha(probabilities, nodules.readers.diameters_mm, intervals, SOFTNESS_MM)
        advance(1)
    return Breakdown(by_size, by_manufacturer, by_alpha)
