"""Fingerprint of results, to compare two commits: `python benchmarks/identity.py DATA OUT`.

Embeds the ROI table DATA/rois.csv with the bundled model and searches it by `query`, `fuse` and `--like`. Printed are
the SHA-256 of the embeddings, of the rows of meta.parquet as CSV, and of each topk.csv. Run it in a checkout of each
commit, on one machine and in one environment; two commits that print the same lines give the same results.
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

import polars as pl

QUERIES = ("a lung nodule with diameter > 6 mm", "a spiculated solid nodule", "between 0.8 and 1.2 cm")
SEARCHES = (
    *(("query", "--query", query) for query in QUERIES),
    ("query", "--like", "0"),
    ("query", "--query", QUERIES[0], "--like", "5", "--unique", "patient"),
    *(("fuse", "--query", query, "--alpha", "0.3") for query in QUERIES),
    ("query", "--query", QUERIES[0], "--where", "diameter_mm > 5 AND NOT texture = 5"),
)


def run(*arguments: object) -> None:
    """Run a command of the package."""
    subprocess.run([sys.executable, "-m", "noduleclip", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Embed, search and print the fingerprints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    index = options.out / "index"
    run("embed", "--roi-csv", options.data / "rois.csv", "--out-dir", index, "--device", "cpu")
    contents = {
        "img_embeds.npy": (index / "img_embeds.npy").read_bytes(),
        "meta.parquet": pl.read_parquet(index / "meta.parquet").write_csv().encode(),
        "text_tower.onnx": (index / "text_tower.onnx").read_bytes(),
    }
    for number, search in enumerate(SEARCHES):
        folder = options.out / f"search-{number}"
        run(*search, "--emb-dir", index, "--topk", 25, "--out", folder)
        contents[" ".join(search)] = (folder / "topk.csv").read_bytes()
    for name, content in contents.items():
        print(hashlib.sha256(content).hexdigest()[:16], name)


if __name__ == "__main__":
    main()
