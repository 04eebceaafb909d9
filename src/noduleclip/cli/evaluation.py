"""What `evaluate` does once its options are settled."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.cli.search import open_text_tower, read_sentence_file
from noduleclip.errors import InputError
from noduleclip.io.index_store import open_index
from noduleclip.io.nodules import group_nodules
from noduleclip.report.console import counting
from noduleclip.report.tables import print_evaluation
from noduleclip.retrieval.evaluation import Rankings, evaluate_rankings
from noduleclip.retrieval.implied import imply_diameters, make_sweep
from noduleclip.retrieval.sizes import Estimates, measure_sizes
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.size import (
    BIN_PROMPTS,
    BIN_SYNONYMS,
    EVALUATION_QUERIES,
    SizeInterval,
    parse_interval,
    parse_intervals,
)


def run_evaluation(emb_dir: Path, queries_file: Path | None, draws: int, resamples: int, seed: int, form: str) -> None:
    """Rank the nodules of an index for the ten queries, or for those of a file, and print what the rankings are worth.

    Raises:
        NoduleclipError: The index is broken, or has no nodules with a diameter.
    """
    queries = EVALUATION_QUERIES if queries_file is None else read_sentence_file(queries_file)
    intervals = _read_sizes(queries)
    index = open_index(emb_dir)
    encoder = open_text_tower(index)
    meta = index.scan().drop(schema.ROW).collect()
    nodules = group_nodules(meta)
    if len(nodules) < 2:
        raise InputError(f"{emb_dir}: {len(nodules)} nodule(s) with a diameter, at least 2 are needed")
    images = index.embeddings[nodules.rows]
    scores = encoder.encode(queries) @ images.T
    patients = meta[nodules.rows.tolist(), schema.PATIENT_ID].rank("dense").to_numpy().astype(np.int64)
    rankings = Rankings(scores.astype(np.float64), nodules.diameters_mm, patients)
    with counting("drawing patients again", resamples, "samples") as advance:
        evaluation = evaluate_rankings(
            rankings, queries, intervals,
            draws=draws, resamples=resamples, seed=seed, on_resample=lambda: advance(1),
        )  # fmt: skip
    if np.isnan(evaluation.ap.mean):
        raise InputError(f"none of the {len(queries)} sentence(s) is true of any nodule in {emb_dir}")
    sizes = measure_sizes(
        Estimates(*_estimate(encoder, images), nodules.diameters_mm, patients),
        parse_intervals(BIN_PROMPTS), draws=draws, resamples=resamples, seed=seed,
    )  # fmt: skip
    print_evaluation({**asdict(evaluation), "sizes": [asdict(measure) for measure in sizes]}, form)


def _estimate(encoder: SentenceEncoder, images: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give the most probable of the three bins, and the diameter that the sweep over "> x mm" implies."""
    bins = np.argmax(encoder.encode(BIN_SYNONYMS) @ images.T, axis=0)
    sweep = encoder.calibration.to_probability(encoder.encode(make_sweep()) @ images.T)
    return bins.astype(np.int64), imply_diameters(sweep)


def _read_sizes(queries: Sequence[str]) -> list[SizeInterval]:
    intervals = []
    for query in queries:
        interval = parse_interval(query)
        if interval is None:
            raise InputError(f"{query!r} has no size: the readers' diameters cannot say what is relevant")
        intervals.append(interval)
    return intervals
