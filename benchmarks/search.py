"""Exact Top-K beside numpy's product and FAISS: `python benchmarks/search.py INDEX OUT [--rows N] [--large N]`.

In process, on N x 128 float32, taken in turns, medians: the bare product `gallery @ query`, the product and
`argpartition`, `find_top_k`, FAISS's flat index; and 100 sentences at once. Then whole processes: `noduleclip query`
on indexes of 10 k rows and more, made of INDEX's rows, with the largest memory that is its own beside the pages of the
mapped file.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from large_index import make_large_index

from noduleclip.retrieval.top_k import find_top_k

ROUNDS, K, BATCH = 11, 10, 100


def take_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run every way once a round; the median milliseconds of each."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            spent[name].append((time.perf_counter() - started) * 1e3)
    return {name: statistics.median(values) for name, values in spent.items()}


def compare_in_process(rows: int) -> None:
    """Print the table of exact search."""
    generator = np.random.default_rng(0)
    gallery = generator.standard_normal((rows, 128), dtype=np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries = gallery[:BATCH] + generator.standard_normal((BATCH, 128), dtype=np.float32) / 50
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    one = queries[0]
    flat = faiss.IndexFlatIP(128)
    flat.add(gallery)

    def product_and_partition() -> object:
        scores = gallery @ one
        best = np.argpartition(scores, -K)[-K:]
        return best[np.argsort(-scores[best])]

    found = [best.rows.tolist() for best in find_top_k(queries, gallery, K)]
    assert found == flat.search(queries, K)[1].tolist(), "the same rows as FAISS finds"
    assert found == [find_top_k(query[None], gallery, K)[0].rows.tolist() for query in queries]
    single = take_turns(
        {
            "numpy: the bare product": lambda: gallery @ one,
            "numpy: product and argpartition": product_and_partition,
            "FAISS, flat": lambda: flat.search(one[None], K),
            "noduleclip, find_top_k": lambda: find_top_k(one[None], gallery, K),
        },
        ROUNDS,
    )
    many = take_turns(
        {
            f"FAISS, flat, {BATCH} at once": lambda: flat.search(queries, K),
            f"noduleclip, {BATCH} at once": lambda: find_top_k(queries, gallery, K),
        },
        3,
    )
    bare, mine = single["numpy: the bare product"], single["noduleclip, find_top_k"]
    print(f"| {rows:,} x 128 float32, top {K} | ms | x the bare product | x FAISS |\n|---|---|---|---|")
    for name, ms in single.items():
        print(f"| {name} | {ms:.1f} | {ms / bare:.2f} | {ms / single['FAISS, flat']:.2f} |")
    for name, ms in many.items():
        alone = BATCH * (mine if "noduleclip" in name else single["FAISS, flat"])
        print(f"| {name} | {ms:.0f} | {ms / alone:.2f} x as many single ones | |")


def ask(index: Path) -> tuple[float, float]:
    """Ask an index by a process of its own: seconds, and the peak of its anonymous memory in MB."""
    command = [sys.executable, "-m", "noduleclip", "query", "--emb-dir", str(index), "--query", "> 8 mm"]
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        except OSError:
            break
        peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))])
        time.sleep(0.002)
    if process.wait():
        raise SystemExit(f"query on {index} ended with {process.returncode}")
    return time.perf_counter() - started, peak / 1024


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=10_000_000)
    options = parser.parse_args()
    compare_in_process(options.rows)
    print("\n| `noduleclip query`, whole process | s | own memory, MB |\n|---|---|---|")
    for rows in (10_000, 1_000_000, options.large):
        folder = options.out / f"rows{rows}"
        make_large_index(options.index, rows, folder)
        ask(folder)  # warms the disk
        told = [ask(folder) for _ in range(5)]
        seconds, megabytes = (statistics.median(values) for values in zip(*told, strict=True))
        print(f"| {rows:,} rows | {seconds:.2f} | {megabytes:.0f} |", flush=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
