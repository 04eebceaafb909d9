"""A table of a million rows through check, the dry run of embed, and query: `python benchmarks/load.py OUT [ROWS]`.

OUT is a folder of `benchmarks/growth.py`, which leaves phantoms and a tiny model there. Prints seconds and the largest
resident memory of each command; its worker processes count one by one.
"""

import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from growth import make_repeated, run
from large_index import make_large_index


def main() -> None:
    """Make the table and the index, and run the commands on them."""
    out, rows = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    folder = out / f"load{rows}"
    if not folder.exists():
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # a command's peak counts that of its parent
            pool.submit(make_repeated, out, folder, rows).result()
            small = ("embed", "--roi-csv", out / "phantoms" / "roi_with_diam.csv", "--out-dir", folder / "small",
                     "--cache-dir", folder / "cache", "--overwrite")  # fmt: skip
            run(*small)
            pool.submit(make_large_index, folder / "small", rows, folder / "index").result()
    model = ("--model", out / "model" / "clip_best.pth", "--cache-dir", folder / "cache")
    table = ("--roi-csv", folder / "rois.csv")
    print(f"| {rows:,} rows | s | largest process, MB |\n|---|---|---|")
    for name, command in {
        "check": ("check", *table, "--cache-dir", folder / "cache"),
        "embed --dry-run": ("embed", *table, *model, "--out-dir", folder / "none", "--dry-run"),
        "query": ("query", "--emb-dir", folder / "index", "--query", "> 8 mm"),
        "query --where": ("query", "--emb-dir", folder / "index", "--query", "> 8 mm", "--where", "diameter_mm > 4"),
        "fuse": ("fuse", "--emb-dir", folder / "index", "--query", "> 8 mm"),
    }.items():
        seconds, peak = run(*command)
        print(f"| {name} | {seconds:.1f} | {peak:.0f} |", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
