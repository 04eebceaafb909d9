"""What `evaluate` does once its options are settled."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.cli.retries import retry_replaced
from noduleclip.config import SOFTNESS_MM
from noduleclip.errors import InputError
from noduleclip.evaluation.breakdown import BANDS, Breakdown, evaluate_bands, judge_groups, sweep_alpha
from noduleclip.evaluation.curves import compare_sizes, trace_precision, trace_reliability
from noduleclip.evaluation.evaluation import Evaluation, Rankings, evaluate_rankings
from noduleclip.evaluation.implied import imply_diameters, make_sweep
from noduleclip.evaluation.readers import Readers, list_known
from noduleclip.evaluation.sizes import Estimates, measure_sizes
from noduleclip.io.artefacts import format_json, write_together
from noduleclip.io.index.base import Index
from noduleclip.io.index.open import open_index
from noduleclip.io.nodules import group_nodules, parse_ratings
from noduleclip.io.reader_table import read_readers
from noduleclip.io.score_table import read_scores
from noduleclip.language import BIN_PROMPTS, BIN_SYNONYMS, EVALUATION_QUERIES, RATING_QUERIES, parse_intervals
from noduleclip.language.query import ParsedQuery, list_attributes, parse_queries
from noduleclip.report.console import CONSOLE, log_info, log_warning, progress
from noduleclip.report.tables import print_evaluation, without_nan
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.retrieval.top_k import check_unit_norm
from noduleclip.workflows.output_lock import OVERWRITE, output_lock
from noduleclip.workflows.search import load_sentences, open_text_encoder

MOST_QUERIES = 1000  # their scores of all nodules are held at once
EVALUATION_FILES = (schema.EVALUATION_JSON, schema.EVALUATION_PAGE)


@dataclass(frozen=True)
class EvaluationOptions:
    """What to judge, by whom, and where the report goes."""

    emb_dir: str
    queries_file: Path | None
    readers_csv: Path | None
    scores_csv: Path | None
    draws: int
    resamples: int
    seed: int
    form: str
    out: Path | None
    overwrite: bool


@dataclass(frozen=True)
class _Collection:
    """The nodules of an index: their embeddings (N, D), what N nodules' readers say, and who made the scanner."""

    rows: NDArray[np.int64]
    images: NDArray[np.float32]
    readers: Readers
    patients: NDArray[np.int64]
    manufacturers: tuple[str, ...]


def run_evaluation(options: EvaluationOptions) -> None:
    """Rank the nodules of an index for the queries of the protocol, or for those of a file, and say what that is worth.

    Raises:
        NoduleclipError: The index is broken, or has no nodules with a diameter.
    """
    with output_lock(options.out, EVALUATION_FILES, OVERWRITE, replace=options.overwrite, reporter=CONSOLE):
        retry_replaced(lambda: _evaluate(options))


def _evaluate(options: EvaluationOptions) -> None:
    index = open_index(options.emb_dir)
    encoder = open_text_encoder(index)
    collection = _collect(index, options.readers_csv)
    groups = _choose_queries(options, collection.readers.attributes, encoder.attributes)
    results = [
        _judge(name, queries, parse_queries(queries), collection, encoder, options) for name, queries in groups.items()
    ]
    if np.isnan(results[0].model["ap"].mean):
        raise InputError(f"no nodule in {options.emb_dir} satisfies any of the {len(results[0].queries)} sentence(s)")
    found: dict[str, Any] = asdict(results[0])
    found["ratings"] = asdict(results[1]) if len(results) > 1 else None
    found["sizes"], implied_mm = [], None
    if options.scores_csv is None:
        bins, implied_mm = _estimate(encoder, collection.images)
        estimates = Estimates(bins, implied_mm, collection.readers.diameters_mm, collection.patients)
        settings = {"draws": options.draws, "resamples": options.resamples, "seed": options.seed}
        found["sizes"] = [asdict(m) for m in measure_sizes(estimates, parse_intervals(BIN_PROMPTS), **settings)]
    print_evaluation(found, options.form)
    if options.out is not None:
        _write_report(options, without_nan(found), groups, collection, encoder, implied_mm)


def _collect(index: Index, readers_csv: Path | None) -> _Collection:
    meta = index.collect(index.scan().drop(schema.ROW))
    rows = pl.Series(np.arange(meta.height))
    if readers_csv is not None:
        meta, missing = read_readers(readers_csv, meta)
        if missing:
            log_warning(f"{readers_csv}: does not know {missing} nodule(s) of the index; their own rows judge them")
        rows = meta[schema.ROW]
        meta = meta.drop(schema.ROW)
    nodules = group_nodules(meta)
    if len(nodules) < 2:
        raise InputError(f"{index.location}: {len(nodules)} nodule(s) with a diameter, at least 2 are needed")
    of_index = rows.to_numpy()[nodules.rows]
    check_unit_norm(index.embeddings, of_index)
    patients = meta[nodules.rows.tolist(), schema.PATIENT_ID].rank("dense").to_numpy().astype(np.int64)
    readers = Readers(nodules.diameters_mm, *parse_ratings(meta, nodules))
    known = meta[nodules.rows.tolist()]
    makers = known[schema.MANUFACTURER].to_list() if schema.MANUFACTURER in known.columns else []
    named = tuple(maker or "" for maker in makers) or ("",) * len(nodules)
    return _Collection(of_index, index.embeddings[of_index], readers, patients, named)


def _choose_queries(
    options: EvaluationOptions, rated: Sequence[str], trained: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the sentences to judge, by group: those of a file, or the ten sizes and what there are ratings of."""
    if options.queries_file is not None:
        queries = tuple(load_sentences(options.queries_file))
        if len(queries) > MOST_QUERIES:
            raise InputError(
                f"{options.queries_file}: holds {len(queries):,} sentences, at most {MOST_QUERIES:,} are evaluated at "
                "once; split it"
            )
        for query, parsed in zip(queries, parse_queries(queries), strict=True):
            _refuse_unjudged(query, parsed, rated)
        return {"sentences": queries}
    groups = {"sizes": EVALUATION_QUERIES}
    known = list_known(parse_queries(RATING_QUERIES), [name for name in rated if name in trained])
    if known and options.scores_csv is None:
        groups["ratings"] = tuple(RATING_QUERIES[at] for at in known)
    return groups


def _refuse_unjudged(query: str, parsed: ParsedQuery, rated: Sequence[str]) -> None:
    if not parsed.has_criteria:
        raise InputError(f"{query!r} has no size and no rating: no reader can say what is relevant")
    missing = [name for name in list_attributes([parsed]) if name not in rated]
    if missing:
        raise InputError(f"{query!r}: no reader has rated {missing[0]} in this table; rated are {list(rated)}")


def _judge(
    name: str,
    queries: Sequence[str],
    parsed_queries: Sequence[ParsedQuery],
    collection: _Collection,
    encoder: SentenceEncoder,
    options: EvaluationOptions,
) -> Evaluation:
    scores = _score(queries, collection, encoder, options)
    rankings = Rankings(scores, collection.readers, collection.patients)
    with progress(f"judging {name}", len(queries), "queries") as advance:
        return evaluate_rankings(
            rankings, queries, parsed_queries,
            draws=options.draws, resamples=options.resamples, seed=options.seed, on_query=lambda: advance(1),
        )  # fmt: skip


def _score(
    queries: Sequence[str], collection: _Collection, encoder: SentenceEncoder, options: EvaluationOptions
) -> NDArray[np.float64]:
    if options.scores_csv is not None:
        return read_scores(options.scores_csv, queries, collection.rows)
    return np.asarray(encoder.encode(queries) @ collection.images.T, np.float64)


def _estimate(encoder: SentenceEncoder, images: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the most probable of the three bins, and the diameter that the sweep over "> x mm" implies."""
    bins = np.argmax(encoder.encode(BIN_SYNONYMS) @ images.T, axis=0)
    sweep = encoder.calibration.to_probability(encoder.encode(make_sweep()) @ images.T)
    return bins.astype(np.int64), imply_diameters(sweep)


def _break_down(options: EvaluationOptions, collection: _Collection, encoder: SentenceEncoder) -> Breakdown:
    """Judge by size and, on the protocol's ten queries, by scanner and by the weight of the measured diameter."""
    settings = {"draws": options.draws, "seed": options.seed}
    with progress("judging parts", 3, "parts") as advance:
        bands = Rankings(_score(BANDS, collection, encoder, options), collection.readers, collection.patients)
        by_size = evaluate_bands(bands, parse_queries(BANDS), **settings)
        advance(1)
        scores = _score(EVALUATION_QUERIES, collection, encoder, options)
        rankings = Rankings(scores, collection.readers, collection.patients)
        parsed_queries = parse_queries(EVALUATION_QUERIES)
        by_maker = judge_groups(rankings, collection.manufacturers, EVALUATION_QUERIES, parsed_queries, **settings)
        advance(1)
        probabilities = encoder.calibration.to_probability(scores)
        intervals = parse_intervals(EVALUATION_QUERIES)
        by_alpha = sweep_alpha(probabilities, collection.readers.diameters_mm, intervals, SOFTNESS_MM)
        advance(1)
    return Breakdown(by_size, by_maker, by_alpha)


def _write_report(
    options: EvaluationOptions,
    found: dict[str, Any],
    groups: dict[str, tuple[str, ...]],
    collection: _Collection,
    encoder: SentenceEncoder,
    implied_mm: NDArray[np.float64] | None,
) -> None:
    """Write evaluation.json and, with plots of the same rankings, evaluation.html."""
    from noduleclip.report.evaluation_page import render_evaluation

    assert options.out is not None
    queries = [query for group in groups.values() for query in group]
    parsed_queries = parse_queries(queries)
    scores = _score(queries, collection, encoder, options)
    curves = trace_precision(scores, collection.readers, parsed_queries, draws=options.draws, seed=options.seed)
    sizes, reliability = None, None
    if implied_mm is not None:
        probabilities = encoder.calibration.to_probability(scores)
        reliability = trace_reliability(probabilities, collection.readers, parsed_queries)
        sizes = compare_sizes(implied_mm, collection.readers)
    breakdown = None if options.scores_csv is not None else _break_down(options, collection, encoder)
    page = render_evaluation(found, queries, curves, sizes, reliability, breakdown, str(options.emb_dir))
    texts = {schema.EVALUATION_PAGE: page, schema.EVALUATION_JSON: format_json(found)}
    write_together({options.out / name: text for name, text in texts.items()})
    log_info(f"report: {options.out / schema.EVALUATION_PAGE}")
