"""How long the explorer takes to answer: `python benchmarks/serve.py INDEX OUT [--rows 2000 100000 1000000]`.

Whole servers over indexes made of INDEX's rows, asked over HTTP on one connection, one request after the other, as a
page does; median and 95th percentile in ms. Slices are read from where INDEX's are.
"""

import argparse
import http.client
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from large_index import make_large_index

ROUNDS = 40


def list_requests(rows: int) -> dict[str, Iterator[str]]:
    """Addresses to ask for, of which none comes twice."""

    def search(numbers: Iterator[int], make: Callable[[int], dict[str, object]]) -> Iterator[str]:
        return (f"/api/search?{urlencode(make(n))}" for n in numbers)

    row = (7919 * n % rows for n in count())
    fixed = "a lung nodule with diameter > 6 mm"
    return {
        "a key typed: a new sentence": search(count(), lambda n: {"q": f"a lung nodule > {3 + n / 100} mm"}),
        "the same, readers' rows apart": search(count(), lambda n: {"q": f"a nodule > {3 + n / 100} mm", "unique": ""}),
        "a slider moved": search(count(), lambda n: {"q": fixed, "alpha": f"{n % 1000 / 1000}"}),
        "a diameter filter changed": search(count(), lambda n: {"q": fixed, "min": f"{n / 100}"}),
        "a condition changed": search(count(), lambda n: {"q": fixed, "where": f"diameter_mm > {n / 100}"}),
        "a nodule with neighbours": (f"/api/nodule/{next(row)}" for _ in count()),
        "the slices of a nodule's series": (f"/api/stack/{next(row)}" for _ in count()),
        "a picture": (f"/picture/{next(row)}.png" for _ in count()),
        "a slice": (f"/api/slice/{next(row)}" for _ in count()),
        "200 hits as CSV": (f"/topk.csv?{urlencode({'q': f'> {3 + n / 100} mm', 'k': 200})}" for n in count()),
        "the map, first time": iter(["/api/map"]),
    }


def measure(index: Path, rows: int) -> dict[str, tuple[float, float]]:
    """Milliseconds of each kind of request, and of the start."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "noduleclip", "serve", "--emb-dir", str(index), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        port = int(re.search(r":(\d+)/", server.stderr.readline()).group(1))  # type: ignore[union-attr]
        spent = {"start": [1e3 * (time.perf_counter() - started)]}
        link = http.client.HTTPConnection("127.0.0.1", port)
        for name, addresses in list_requests(rows).items():
            times = []
            for _, address in zip(range(ROUNDS), addresses, strict=False):
                begun = time.perf_counter()
                link.request("GET", address)
                answer = link.getresponse()
                content = answer.read()
                times.append(1e3 * (time.perf_counter() - begun))
                assert answer.status == 200, (address, content[:200])
            spent[name] = times
        status = Path(f"/proc/{server.pid}/status").read_text()
        own = re.search(r"RssAnon:\s+(\d+)", status)
        print(f"{rows:,} rows: {int(own.group(1)) / 1e3:.0f} MB beside the mapped file" if own else "", file=sys.stderr)
    finally:
        server.terminate()
        server.wait()
    return {name: (float(np.median(t)), float(np.percentile(t, 95))) for name, t in spent.items()}


def main() -> None:
    """Measure, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("index", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000, 100_000, 1_000_000])
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for rows in given.rows:
        large = given.out / f"serve-{rows}"
        if not large.exists():
            make_large_index(given.index, rows, large)
        found[rows] = measure(large, rows)
        shutil.rmtree(large)
    (given.out / "serve.json").write_text(json.dumps(found))
    print(f"| ms, median (95th percentile) | {' | '.join(f'{rows:,} rows' for rows in found)} |")
    print("|---|" + "---|" * len(found))
    for name in next(iter(found.values())):
        print(f"| {name} | {' | '.join('{:.0f} ({:.0f})'.format(*times[name]) for times in found.values())} |")


if __name__ == "__main__":
    main()
