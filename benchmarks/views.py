"""What views and precision cost in accuracy: `python benchmarks/views.py ROI_CSV PATIENTS OUT [--model CHECKPOINT]`.

Embeds the nodules of some patients, whom the model must not have been trained on, in each precision with each number of
views, evaluates each index, and compares the probabilities of five sentences with those in float32 and as many views.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import noduleclip as nc
from noduleclip import schema
from noduleclip.config import FLOAT32, PRECISIONS, VIEWS

SENTENCES = ("> 6 mm", "<= 5 mm", "a calcified nodule <= 6 mm", "a ground-glass nodule larger than 10 mm", "spiculated")


def run(*arguments: object) -> str:
    """Run a command of the tool and return what it prints."""
    command = [sys.executable, "-m", "noduleclip", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def evaluate(index: Path) -> tuple[float, float]:
    """Return the mean AP of the size queries and of the rating queries."""
    found: dict[str, Any] = json.loads(run("evaluate", "--emb-dir", index, "--format", "json", "--resamples", 10))
    return found["model"]["ap"]["mean"], found["ratings"]["model"]["ap"]["mean"]


def read_probabilities(index: Path) -> NDArray[np.float64]:
    """Return the probability of each sentence for each row."""
    opened = nc.open_index(index)
    found = [opened.query(sentence, k="all").table.sort(schema.ROW) for sentence in SENTENCES]
    return np.stack([table[schema.PROBABILITY].to_numpy() for table in found])


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("roi_csv", type=Path)
    parser.add_argument("patients", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="lidc")
    options = parser.parse_args()
    print("| precision | views | sizes, mean AP | ratings, mean AP | probability: mean change | largest |")
    print("|---|---|---|---|---|---|")
    for precision in PRECISIONS:
        for views in VIEWS:
            index = options.out / f"{precision}-{views}"
            run(
                "embed", "--roi-csv", options.roi_csv, "--patients-file", options.patients, "--model", options.model,
                "--cache-dir", options.out / "cache", "--precision", precision, "--views", views, "--device", "cpu",
                "--out-dir", index, "--overwrite",
            )  # fmt: skip
            sizes, ratings = evaluate(index)
            change = np.abs(read_probabilities(index) - read_probabilities(options.out / f"{FLOAT32}-{views}"))
            print(
                f"| {precision} | {views} | {sizes:.4f} | {ratings:.4f} | {change.mean():.4f} | {change.max():.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
