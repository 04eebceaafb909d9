"""The whole pipeline on real LIDC nodules, with the wall time of each command.

`python benchmarks/real_nodules.py SHARED_DATA OUT [--test]`: splits, trains, embeds and evaluates the validation
patients, answers the six queries of the size language, fuses, and embeds the full slices. With --test it evaluates the
test patients, which is done once, when a recipe is final.
"""

import subprocess
import sys
import time
from pathlib import Path

QUERIES = (">=3 mm", "<=6 mm", "6-10 mm", ">10 mm", "a lung nodule with diameter > 6 mm", "a large lung nodule")
UNSEEN = """a lung nodule with diameter > 7 mm
a lung nodule with diameter > 7.3 mm
nodules bigger than 7.3mm
a lung nodule with diameter > 8 mm
a lung nodule with diameter 8-12 mm
between 0.8 and 1.2 cm
"""


def run(*arguments: object) -> None:
    """Show a command, run it, and say how long it took."""
    words = [str(argument) for argument in arguments]
    print("$ noduleclip", *(word if " " not in word else f'"{word}"' for word in words), flush=True)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "noduleclip", *words], check=True)
    print(f"[{time.perf_counter() - start:.1f} s]\n", flush=True)


def main(data: Path, out: Path, *, test: bool) -> None:
    """Go through everything."""
    crops, slices = data / "lidc_crops", data / "lidc_slices"
    readers = crops / "rois_all_readers.csv"
    lists = {name: out / "splits" / f"{name}_patients.txt" for name in ("train", "val", "test")}
    cache = ("--cache-dir", out / "cache")
    table = ("--format", "table")
    model = out / "run" / "clip_best.pth"
    run("split", "--roi-csv", readers, "--out", out / "splits", "--seed", 0, *table)
    run("train", "--roi-csv", readers, "--train-patients", lists["train"], "--val-patients", lists["val"],
        "--out", out / "run", *cache)  # fmt: skip
    names = ("val", "test") if test else ("val",)
    for name in names:
        run("embed", "--roi-csv", readers, "--patients-file", lists[name], "--model", model,
            "--out-dir", out / f"{name}_readers", *cache)  # fmt: skip
        run("evaluate", "--emb-dir", out / f"{name}_readers", *table)
    index = out / "index"
    run("embed", "--roi-csv", crops / "rois.csv", "--patients-file", lists[names[-1]], "--model", model,
        "--out-dir", index, *cache)  # fmt: skip
    for number, query in enumerate(QUERIES):
        run("query", "--emb-dir", index, "--query", query, "--topk", 5, "--out", out / "hits" / str(number), *table)
    (out / "unseen.txt").write_text(UNSEEN, encoding="utf-8")
    run("evaluate", "--emb-dir", out / f"{names[-1]}_readers", "--queries", out / "unseen.txt", *table)
    run("fuse", "--emb-dir", index, "--query", "6-10 mm", "--topk", 5, *table)
    run("fuse", "--emb-dir", index, "--query", "6-10 mm", "--topk", 5, "--alpha", "auto",
        "--val-emb-dir", out / "val_readers", *table)  # fmt: skip
    run("embed", "--roi-csv", slices / "rois.csv", "--model", model, "--out-dir", out / "slices", *cache)
    run("query", "--emb-dir", out / "slices", "--query", "> 10 mm", "--topk", 5, "--unique", "slice", *table)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), test="--test" in sys.argv)
