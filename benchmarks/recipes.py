"""One change of the recipe at a time: `python benchmarks/recipes.py DATA OUT [NAME …]`.

Trains each variant on 421 of the patients that are not test patients of `split --seed 0`, evaluates it on the other 140
of them, and prints a line of Markdown for each. NAME selects variants; an existing run is not trained again.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

UNSETTLED = ("--epochs", "40", "--cooldown-epochs", "0")
UNRATED, UNSTRETCHED, LARGER = ("--rating-prompts", "0"), ("--max-stretch", "1"), ("--bs", "64")
VARIANTS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "without settling": UNSETTLED,
    "without ratings": (*UNSETTLED, *UNRATED),
    "without ratings and stretching": (*UNSETTLED, *UNRATED, *UNSTRETCHED),
    "without ratings and stretching, batches of 64": (*UNSETTLED, *UNRATED, *UNSTRETCHED, *LARGER),
    "without ratings, batches of 64": (*UNSETTLED, *UNRATED, *LARGER),
    "batches of 64": (*UNSETTLED, *LARGER),
    "without outlines": ("--outline-weight", "0"),
    "96 px, 64 epochs": ("--img-size", "96", "--epochs", "64"),
    "84 epochs": ("--epochs", "84"),
}
HELD_OUT = 140
COLUMNS = ("recipe", "all nodules", "two readers or more", "panel", "<= 6", "6-10", "8-15", "MAE mm", "ratings")


def run(*arguments: object) -> str:
    """Run a command of the tool and give what it printed."""
    command = [sys.executable, "-m", "noduleclip", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def split(readers: Path, out: Path) -> None:
    """Deal the patients that are not test patients: `train.txt` and `held_out.txt`."""
    run("split", "--roi-csv", readers, "--out", out, "--seed", 0, "--overwrite")
    names = (out / f"{name}_patients.txt" for name in ("train", "val"))
    patients = sorted(patient for name in names for patient in name.read_text(encoding="utf-8").split())
    order = np.random.default_rng(123).permutation(len(patients))
    held_out = {patients[at] for at in order[:HELD_OUT]}
    for name, wanted in (("train", False), ("held_out", True)):
        chosen = [f"{patient}\n" for patient in patients if (patient in held_out) == wanted]
        (out / f"{name}.txt").write_text("".join(chosen), encoding="utf-8")


def evaluate_scores(index: Path) -> str:
    """Return the cells of one run."""
    found = json.loads(run("evaluate", "--emb-dir", index, "--format", "json"))
    queries = {query["query"].removeprefix("a lung nodule with diameter "): query for query in found["queries"]}
    means = [found["model"]["ap"], *(found["readers"]["ap"][name] for name in ("model", "panel"))]
    means += [queries[size]["readers"]["ap"]["model"] for size in ("<= 6 mm", "6-10 mm", "8-15 mm")]
    means += [measure["readers"]["model"] for measure in found["sizes"][1:2]]
    means += [found["ratings"]["readers"]["ap"]["model"]] if found["ratings"] else []
    return " | ".join([f"{value['mean']:.3f}" for value in means] + ([] if found["ratings"] else ["-"]))


def main(data: Path, out: Path, names: list[str]) -> None:
    """Train, embed and evaluate each variant."""
    readers = data / "lidc_crops" / "rois_all_readers.csv"
    cache = ("--cache-dir", out / "cache")
    if not (out / "held_out.txt").exists():
        split(readers, out)
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for name in names or VARIANTS:
        model, index = out / name / "run", out / name / "index"
        run("train", "--roi-csv", readers, "--train-patients", out / "train.txt", "--out", model, "--resume",
            *VARIANTS[name], *cache)  # fmt: skip
        if not (index / "index.json").exists():
            run("embed", "--roi-csv", readers, "--patients-file", out / "held_out.txt",
                "--model", model / "clip_best.pth", "--out-dir", index, *cache)  # fmt: skip
        print(f"| {name} | {evaluate_scores(index)} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
