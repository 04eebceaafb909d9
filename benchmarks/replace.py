"""An index that is replaced while it is searched: `python benchmarks/replace.py INDEX OUT [--queries 1000] [--store]`.

OUT becomes in turn INDEX and an index with half of its rows, in reverse order and under other patients' names: as fast
as another process can write it, a store every half second. Meanwhile `query` is run again and again, and an index that
was opened earlier is searched, too. Every answer must be that of one of the two: counted are those that are neither,
and errors. An opened store may say that it was replaced, since its old rows are removed; a query then begins anew.
"""

import argparse
import collections
import contextlib
import dataclasses
import io
import multiprocessing
import multiprocessing.synchronize
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from large_index import bind_files

from noduleclip import schema
from noduleclip.errors import IndexReplacedError, NoduleclipError
from noduleclip.io.index.base import Index
from noduleclip.io.index.folder import FolderIndex
from noduleclip.io.index.open import open_index

SENTENCES = ("a lung nodule with diameter > 6 mm", "a nodule under 5 mm", "> 10 mm")
TOPK = 20
KEPT = 10  # searches of an index before it is opened anew


def make_other(source: FolderIndex, out: Path) -> None:
    """Write the second half of an index in reverse order, under other names."""
    order = np.arange(source.manifest.rows)[source.manifest.rows // 2 :][::-1]
    meta = source.scan().drop(schema.ROW).collect()[order.tolist()]
    out.mkdir(parents=True)
    shutil.copy(source.folder / schema.TEXT_TOWER, out)
    np.save(out / schema.EMBEDDINGS, np.asarray(source.embeddings[order]))
    meta.with_columns("other-" + pl.col(schema.PATIENT_ID)).write_parquet(out / schema.META)
    bind_files(out, source.manifest, len(order))


def replace_again_and_again(sources: list[Path], location: str, stop: multiprocessing.synchronize.Event) -> None:
    """Write one index and the other in turn, as `merge --overwrite` does, whose writing is that of `embed`."""
    from noduleclip.engine.join import join_indexes, store_indexes
    from noduleclip.io.index.lance_tables import parse_place
    from noduleclip.io.output_folders import locking

    count = 0
    while not stop.is_set():
        for source in sources:
            if "://" in location:
                store_indexes([open_index(source)], parse_place(location), 1 << 30)
                time.sleep(0.5)
            else:
                with locking(Path(location), print):
                    join_indexes([open_index(source)], Path(location))
            count += 1
    print(f"replaced {count} times", flush=True)


def run_query(location: str, sentence: str) -> str:
    """Return what `query` prints.

    Raises:
        NoduleclipError: It failed.
    """
    from noduleclip.cli import main

    arguments = ["query", "--emb-dir", location, "--query", sentence, "--topk", str(TOPK), "--format", "csv"]
    printed, messages = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(messages):
        try:
            main(arguments)
        except SystemExit as end:
            if end.code:
                raise NoduleclipError(messages.getvalue()) from end
    return printed.getvalue()


def search_opened(index: Index, sentence: str) -> str:
    """Search an index that was opened before, as `serve` does, reading its metadata anew."""
    from noduleclip.retrieval.top_k import find_top_k
    from noduleclip.workflows.text_encoder import open_text_encoder

    best = find_top_k(open_text_encoder(index).encode([sentence]), index.embeddings, TOPK, None)[0]
    return str(index.read_rows(best.rows).with_columns(pl.Series("score", best.scores)).to_dicts())


@dataclasses.dataclass
class Count:
    """What became of the answers: of the first index, of the second, of neither, errors by their message."""

    answers: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    errors: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, search: Callable[[], str], expected: dict[str, str]) -> None:
        """Search, and compare."""
        try:
            answer = search()
        except IndexReplacedError:
            self.answers["told that it was replaced"] += 1
        except NoduleclipError as error:
            self.errors[str(error)[:160]] += 1
        else:
            self.answers[next((name for name, text in expected.items() if text == answer), "mixed")] += 1


def main(source: Path, out: Path, queries: int, store: bool) -> dict[str, Count]:
    """Search while the index is replaced."""
    shutil.rmtree(out, ignore_errors=True)
    make_other(open_index(source), out / "other")
    location = f"lance://{out / 'store'}" if store else str(out / "index")
    places = {"first": str(source), "second": str(out / "other")}
    expected = {s: {name: run_query(place, s) for name, place in places.items()} for s in SENTENCES}
    indexes = {name: open_index(place) for name, place in places.items()}
    opened = {s: {name: search_opened(index, s) for name, index in indexes.items()} for s in SENTENCES}
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    arguments = ([source, out / "other"], location, stop)
    writer = context.Process(target=replace_again_and_again, args=arguments)
    counts = {"query": Count(), "opened before": Count()}
    writer.start()
    try:
        while True:
            with contextlib.suppress(NoduleclipError):
                kept = open_index(location)
                break
        for number in range(queries):
            sentence = SENTENCES[number % len(SENTENCES)]
            counts["query"].add(partial(run_query, location, sentence), expected[sentence])
            if number % KEPT == 0:
                with contextlib.suppress(NoduleclipError):
                    kept = open_index(location)
            counts["opened before"].add(partial(search_opened, kept, sentence), opened[sentence])
    finally:
        stop.set()
        writer.join()
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    for name, count in main(options.index, options.out, options.queries, options.store).items():
        print(f"{name}: {dict(count.answers)}; errors: {dict(count.errors)}")
