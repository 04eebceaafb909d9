"""One process, shards side by side, and Ray, beside each other: `python benchmarks/sharding.py DATA OUT [--rows N]`.

All readers' rows of DATA's `lidc_crops`, crops cut before, the model that comes along, one thread a process. Each way's
index is compared with the first's, file by file. `--rounds` goes through all ways so often; medians count.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=3072)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    crops, out = options.data / "lidc_crops", options.out
    out.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "noduleclip", "embed", "--roi-csv", str(crops / "rois_all_readers.csv"), "--dicom-root",
        str(crops), "--limit", str(options.rows), "--cache-dir", str(out / "cache"), "--overwrite",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(core: int | None, name: str, *more: str) -> "subprocess.Popen[bytes]":
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        return subprocess.Popen([*pinned, *command, "--out-dir", str(out / name), *more], env=environment)

    def wait(*processes: "subprocess.Popen[bytes]") -> None:
        if any(process.wait() for process in processes):
            raise SystemExit("one of them failed")

    def shards() -> None:
        wait(*(start(core, "shards", "--shard", f"{core + 1}/2") for core in (0, 1)))
        merge = [sys.executable, "-m", "noduleclip", "merge", "--out-dir", str(out / "shards"), "--overwrite"]
        subprocess.run(merge, check=True)

    ways: dict[str, Callable[[], None]] = {
        "one process, one core": lambda: wait(start(0, "whole")),
        "two shards, a core each, and merge": shards,
        "Ray, 1 worker": lambda: wait(start(None, "ray1", "--engine", "ray", "--workers", "1")),
        "Ray, 2 workers": lambda: wait(start(None, "ray2", "--engine", "ray", "--workers", "2")),
    }
    wait(start(None, "first"))  # cuts the crops and exports the encoders
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    base = statistics.median(seconds["one process, one core"])
    print(f"| {options.rows:,} rows, crops in the cache | s | x one process | same bytes |")
    print("|---|---|---|---|")
    for (name, took), folder in zip(seconds.items(), ("whole", "shards", "ray1", "ray2"), strict=True):
        middle = statistics.median(took)
        same = all((out / folder / file.name).read_bytes() == file.read_bytes() for file in (out / "whole").iterdir())
        print(f"| {name} | {middle:.1f} | {middle / base:.2f} | {'yes' if same else 'NO'} |")
    for folder in ("first", "whole", "shards", "ray1", "ray2"):
        shutil.rmtree(out / folder)


if __name__ == "__main__":
    main()
