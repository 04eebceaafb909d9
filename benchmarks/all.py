"""Every measurement of docs/performance.md, one after the other: `python benchmarks/all.py DATA OUT`.

DATA is the folder with `lidc_crops` and `lidc_slices`. Nothing else should run on the machine. What each prints goes to
OUT/NAME.md, too; one that is there already is not made again. `--only NAME` makes one; the peers, which train for an
hour on two cores, are made with `--peers`.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--peers", action="store_true")
    options = parser.parse_args()
    data, out = options.data, options.out
    out.mkdir(parents=True, exist_ok=True)
    crops, index = data / "lidc_crops", out / "index"
    if not (index / "index.json").exists():
        embed = ["embed", "--roi-csv", crops / "rois.csv", "--out-dir", index, "--cache-dir", out / "cache"]
        subprocess.run([sys.executable, "-m", "noduleclip", *map(str, embed)], check=True)
    steps: dict[str, list[object]] = {
        "startup": [index],
        "search": [index, out / "search"],
        "serve": [index, out / "serve"],
        "crops": [data / "lidc_slices" / "rois.csv"],
        "embedding": [data, out / "embedding"],
        "training": [data, out / "training"],
        "growth": [out / "growth"],
    }
    if options.peers:
        steps["baselines"] = [data, out]
    for name, arguments in steps.items():
        told = out / f"{name}.md"
        if told.exists() or options.only not in (None, name):
            continue
        print(f"\n## {name}\n", flush=True)
        command = [sys.executable, HERE / f"{name}.py", *arguments]
        text = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout
        print(text, flush=True)
        told.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
