"""A Lance store beside the folder it was made of: `python benchmarks/stores.py INDEX OUT [--rows N] [--random]`.

An index of N rows is made of INDEX's rows (benchmarks/large_index.py), with --random of unit vectors in all directions,
and copied into a store with a vector index. Then, medians: recall@10 and milliseconds of 20 sentences and of 20 rows of
the index, beside the exact ranking; with a filter; and whole processes of `noduleclip query`, with their own memory.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from large_index import make_large_index
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.engine.join import store_indexes
from noduleclip.io.index.base import Index
from noduleclip.io.index.condition_filters import build_lance_filter
from noduleclip.io.index.conditions import parse_condition
from noduleclip.io.index.folder import FolderIndex
from noduleclip.io.index.lance_tables import parse_place
from noduleclip.io.index.open import open_index
from noduleclip.language import EVALUATION_QUERIES
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.retrieval.top_k import find_top_k

K, AT_ONCE, ASKED = 10, 1 << 16, 5
MORE = (
    "a lung nodule with diameter > 7.3 mm", "8-12 mm", "<=6 mm", "a large lung nodule", "> 25 mm", "3 mm",
    "a spiculated solid lung nodule larger than 10 mm", "malignancy >= 4", "a small calcified nodule", "ground glass",
)  # fmt: skip
WHERE = "diameter_mm > 12"
Way = Callable[[NDArray[np.float32]], NDArray[np.int64]]


def make_random(folder: Path) -> None:
    """Put random unit vectors in place of an index's own."""
    index = open_index(folder)
    vectors = np.lib.format.open_memmap(folder / schema.EMBEDDINGS, mode="r+")
    generator = np.random.default_rng(0)
    for start in range(0, index.manifest.rows, AT_ONCE):
        part = generator.standard_normal(vectors[start : start + AT_ONCE].shape, dtype=np.float32)
        vectors[start : start + AT_ONCE] = part / np.linalg.norm(part, axis=1, keepdims=True)
    vectors.flush()


def measure(
    way: Callable[[NDArray[np.float32]], NDArray[np.int64]], vectors: NDArray[np.float32]
) -> tuple[list[set[int]], float]:
    """Answer each vector: the rows found, and the median of milliseconds."""
    found, spent = [], []
    for vector in vectors:
        started = time.perf_counter()
        found.append(set(way(vector).tolist()))
        spent.append((time.perf_counter() - started) * 1e3)
    return found, statistics.median(spent)


def compare(folder: FolderIndex, store: Index, vectors: dict[str, NDArray[np.float32]]) -> None:
    """Print recall and times in this process."""
    condition = build_lance_filter(parse_condition(WHERE), store.scan().collect_schema())
    sizes = folder.read_columns([schema.DIAMETER_MM])[schema.DIAMETER_MM]
    kept = np.flatnonzero((sizes > 12).fill_null(value=False).to_numpy())
    count = f"{len(folder.embeddings):,}"
    print(f"\n| {K} best of {count} | folder, ms | store, exact, ms | vector index, ms | recall | least |")
    print("|---|---|---|---|---|---|")

    def exactly(index: Index, rows: NDArray[np.int64] | None) -> Way:
        return lambda vector: find_top_k(vector[None], index.embeddings, K, rows)[0].rows

    def near(condition: str | None) -> Way:
        def find(vector: NDArray[np.float32]) -> NDArray[np.int64]:
            candidates = store.find_near(vector, K + 16, condition)
            return find_top_k(vector[None], store.embeddings, K, candidates)[0].rows

        return find

    for name, asked in vectors.items():
        for where, rows in ((None, None), (condition, kept)):
            exact, exact_ms = measure(exactly(folder, rows), asked)
            same, store_ms = measure(exactly(store, rows), asked[:ASKED])
            assert same == exact[:ASKED], "the store's exact ranking is the folder's"
            near(where)(asked[0])
            found, near_ms = measure(near(where), asked)
            recalls = [len(one & other) / K for one, other in zip(found, exact, strict=True)]
            label = name if where is None else f"{name}, {WHERE}"
            times = f"{exact_ms:.0f} | {store_ms:.0f} | {near_ms:.1f}"
            print(f"| {label} | {times} | {np.mean(recalls):.3f} | {min(recalls):.1f} |", flush=True)


def ask(*arguments: str) -> tuple[float, float, float]:
    """Query by a process of its own: seconds, and the peaks of its anonymous memory and of all its memory in MB."""
    command = [sys.executable, "-m", "noduleclip", "query", "--query", "> 8 mm", *arguments]
    started, peaks = time.perf_counter(), {"RssAnon": 0, "VmHWM": 0}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        except OSError:
            break
        for line in status.splitlines():
            name = line.split(":")[0]
            if name in peaks:
                peaks[name] = max(peaks[name], int(line.split()[1]))
        time.sleep(0.002)
    if process.wait():
        raise SystemExit(f"query {arguments} ended with {process.returncode}")
    return time.perf_counter() - started, peaks["RssAnon"] / 1024, peaks["VmHWM"] / 1024


def read_options(description: str | None) -> argparse.Namespace:
    """Read which index to make of what, and where."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("index", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--random", action="store_true")
    return parser.parse_args()


def make_folder(options: argparse.Namespace) -> FolderIndex:
    """Make the large index, unless it is there."""
    place = options.out / "folder"
    if not place.exists():
        make_large_index(options.index, options.rows, place)
        if options.random:
            make_random(place)
    return open_index(place)


def main() -> None:
    """Measure."""
    options = read_options(__doc__)
    store = f"lance://{options.out / 'store'}"
    folder = make_folder(options)
    place = folder.folder
    started = time.perf_counter()
    store_indexes([folder], parse_place(store), indexed_rows=1)
    opened = open_index(store)
    size = sum(file.stat().st_size for file in (options.out / "store").rglob("*") if file.is_file())
    own = sum(file.stat().st_size for file in place.iterdir())
    seconds = time.perf_counter() - started
    sizes = f"folder of {own / 1e6:,.0f} MB; store of {size / 1e6:,.0f} MB, made in {seconds:.0f} s"
    print(f"{options.rows:,} rows: {sizes}")
    sentences = SentenceEncoder(place / schema.TEXT_TOWER).encode([*EVALUATION_QUERIES, *MORE])
    picked = np.sort(np.random.default_rng(1).integers(0, options.rows, 20))
    compare(folder, opened, {"sentences": sentences, "rows of the index": folder.embeddings[picked]})
    print("\n| `noduleclip query`, whole process | s | own memory, MB | with mapped pages, MB |\n|---|---|---|---|")
    ways = {"folder": [str(place)], "store, --exact": [store, "--exact"], "store": [store]}
    told: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(4):
        for name, arguments in ways.items():
            told[name].append(ask("--emb-dir", *arguments))
    for name, runs in told.items():
        seconds, anonymous, whole = (statistics.median(values) for values in zip(*runs[1:], strict=True))
        print(f"| {name} | {seconds:.2f} | {anonymous:.0f} | {whole:.0f} |", flush=True)
    shutil.rmtree(options.out / "store")


if __name__ == "__main__":
    main()
