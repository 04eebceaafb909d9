"""Kinds of vector index, and how much of it a query searches: `python benchmarks/vector_index.py INDEX OUT`.

A store of N rows is made of INDEX's rows (benchmarks/large_index.py), with --random of unit vectors in all directions.
For each kind, medians: recall@10 of the exact ranking and milliseconds of 20 sentences and of 20 rows of the index, and
of the rows under a filter. Then the exact ranking from the store, by the number of rows that are read at once.
"""

import shutil
import statistics
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.engine.join import store_indexes
from noduleclip.io.index import lance as lance_store
from noduleclip.io.index.condition_filters import build_lance_filter
from noduleclip.io.index.conditions import parse_condition
from noduleclip.io.index.lance import LanceIndex
from noduleclip.io.index.lance_opening import open_lance_index
from noduleclip.io.index.lance_tables import VECTOR, parse_place
from noduleclip.language import EVALUATION_QUERIES
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.retrieval.top_k import find_top_k
from stores import MORE, WHERE, K, make_folder, read_options

KINDS = (("IVF_FLAT", 256), ("IVF_FLAT", 1000), ("IVF_SQ", 256))
EFFORTS = (None, 0.5, 0.75, 0.9, 1.0)  # Lance's `search_effort`; None leaves the choice to Lance, 1 is all
SCANNED = (1 << 14, 1 << 17)


def ask(
    rows: Any, vectors: NDArray[np.float32], effort: float | None, condition: str | None
) -> tuple[list[set[int]], float]:
    """Answer each vector by the vector index: the rows found, and the median of milliseconds."""
    found, spent = [], []
    for vector in vectors:
        started = time.perf_counter()
        near = {"column": VECTOR, "q": vector, "k": K, "metric": "cosine", "search_effort": effort, "refine_factor": 4}
        table = rows.scanner(
            columns=[schema.ROW], nearest=near, filter=condition, prefilter=True, disable_scoring_autoprojection=True
        ).to_table()
        spent.append((time.perf_counter() - started) * 1e3)
        found.append(set(table[schema.ROW].to_pylist()))
    return found, statistics.median(spent)


def try_kinds(store: LanceIndex, asked: dict[str, tuple[NDArray[np.float32], str | None, list[set[int]]]]) -> None:
    """Build each kind and print what it finds."""
    print(f"\n| kind, parts | built in s | asked | {' | '.join(map(str, EFFORTS))} |")
    print("|---|---|---" + "|---" * len(EFFORTS) + "|")
    for kind, parts in KINDS:
        started = time.perf_counter()
        rows = store.rows.create_index(VECTOR, kind, metric="cosine", num_partitions=parts, replace=True)
        seconds = time.perf_counter() - started
        for name, (vectors, condition, exact) in asked.items():
            cells = []
            for effort in EFFORTS:
                ask(rows, vectors[:1], effort, condition)
                found, spent_ms = ask(rows, vectors, effort, condition)
                recalls = [len(one & other) / K for one, other in zip(found, exact, strict=True)]
                cells.append(f"{np.mean(recalls):.3f} ({min(recalls):.1f}), {spent_ms:.1f}")
            print(f"| {kind}, {parts} | {seconds:.0f} | {name} | {' | '.join(cells)} |", flush=True)


def try_batches(store: LanceIndex, vectors: NDArray[np.float32]) -> None:
    """Print what the exact ranking from the store takes."""
    print("\n| rows read at once | exact ranking, s |\n|---|---|")
    for count in SCANNED:
        lance_store._SCANNED_ROWS = count  # type: ignore[misc]
        spent = []
        for vector in vectors[:5]:
            started = time.perf_counter()
            find_top_k(vector[None], store.embeddings, K)
            spent.append(time.perf_counter() - started)
        print(f"| {count:,} | {statistics.median(spent):.2f} (from {min(spent):.2f} to {max(spent):.2f}) |", flush=True)


def main() -> None:
    """Measure."""
    options = read_options(__doc__)
    text = f"lance://{options.out / 'store'}"
    folder = make_folder(options)
    store_indexes([folder], parse_place(text), indexed_rows=options.rows + 1)
    store = open_lance_index(text)
    sizes = folder.read_columns([schema.DIAMETER_MM])[schema.DIAMETER_MM]
    kept = np.flatnonzero((sizes > 12).fill_null(value=False).to_numpy())
    condition = build_lance_filter(parse_condition(WHERE), store.scan().collect_schema())
    sentences = SentenceEncoder(folder.folder / schema.TEXT_TOWER).encode([*EVALUATION_QUERIES, *MORE])
    picked = np.sort(np.random.default_rng(1).integers(0, options.rows, 20))
    asked = {}
    for name, vectors, where, candidates in (
        ("20 sentences", sentences, None, None),
        ("20 rows", folder.embeddings[picked], None, None),
        (f"20 rows, {WHERE}", folder.embeddings[picked], condition, kept),
    ):
        exact = [set(find_top_k(one[None], folder.embeddings, K, candidates)[0].rows.tolist()) for one in vectors]
        asked[name] = np.asarray(vectors), where, exact
    try_kinds(store, asked)
    try_batches(store, sentences)
    shutil.rmtree(options.out)


if __name__ == "__main__":
    main()
