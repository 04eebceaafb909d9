"""What the numbers owe to the seed and to the patients: `python benchmarks/spread.py DATA OUT`.

Trains the defaults of `train` on all but the test patients of `split --seed 0` with five seeds, and of the splits 1
and 2 with one, embeds each split's test patients and prints a line of Markdown for each run. A run that is there
already is not trained again, so a killed one goes on.
"""

import json
import subprocess
import sys
from pathlib import Path

RUNS = (*((0, seed) for seed in range(5)), (1, 0), (2, 0))
COLUMNS = (
    "split", "seed", "all nodules", "two readers or more", "second reader", "panel", "above the panel",
    "three-bin accuracy", "implied diameter, MAE mm", "AP of ratings",
)  # fmt: skip


def run(*arguments: object) -> str:
    """Run a command of the tool and give what it printed."""
    command = [sys.executable, "-m", "noduleclip", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def evaluate_scores(index: Path) -> str:
    """Return the cells of one run."""
    found = json.loads(run("evaluate", "--emb-dir", index, "--format", "json"))
    ap, measures = found["readers"]["ap"], {measure["name"]: measure["readers"] for measure in found["sizes"]}
    bins, error = measures["three-bin accuracy"], measures["implied diameter, mean absolute error, mm"]
    rated = found["ratings"]["readers"]["ap"]
    cells = [
        f"{found['model']['ap']['mean']:.3f}",
        *(f"{ap[name]['mean']:.3f}" for name in ("model", "second_reader", "panel")),
        f"{ap['above_panel']['mean']:+.3f} [{ap['above_panel']['low']:+.3f}, {ap['above_panel']['high']:+.3f}]",
        f"{bins['model']['mean']:.3f} (panel {bins['panel']['mean']:.3f})",
        f"{error['model']['mean']:.2f} (second reader {error['second_reader']['mean']:.2f})",
        f"{rated['model']['mean']:.3f} (second reader {rated['second_reader']['mean']:.3f})",
    ]
    return " | ".join(cells)


def main(data: Path, out: Path) -> None:
    """Train, embed and evaluate."""
    readers = data / "lidc_crops" / "rois_all_readers.csv"
    cache = ("--cache-dir", out / "cache")
    print(f"| {' | '.join(COLUMNS)} |")
    print("|" + "---|" * len(COLUMNS))
    for split, seed in RUNS:
        lists, model, index = out / f"split{split}", out / f"split{split}-seed{seed}", out / f"index{split}-{seed}"
        if not lists.exists():
            run("split", "--roi-csv", readers, "--out", lists, "--seed", split)
            patients = [(lists / f"{name}_patients.txt").read_text(encoding="utf-8") for name in ("train", "val")]
            (lists / "patients.txt").write_text("".join(patients), encoding="utf-8")
        if not (index / "index.json").exists():
            run("train", "--roi-csv", readers, "--train-patients", lists / "patients.txt", "--out", model,
                "--seed", seed, "--resume", *cache)  # fmt: skip
            run("embed", "--roi-csv", readers, "--patients-file", lists / "test_patients.txt",
                "--model", model / "clip_best.pth", "--out-dir", index, *cache)  # fmt: skip
        print(f"| {split} | {seed} | {evaluate_scores(index)} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
