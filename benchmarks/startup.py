"""Whole processes beside `python -c "import torch"`, taken in turns: `python benchmarks/startup.py INDEX_FOLDER`.

Prints medians in seconds and their ratio to importing torch.
"""

import os
import statistics
import subprocess
import sys
import time

ROUNDS = 9
SENTENCE = "a lung nodule with diameter > 6 mm"


def main(index: str) -> None:
    """Time each command `ROUNDS` times, one after the other in each round."""
    tool = [sys.executable, "-m", "noduleclip"]
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "query": [*tool, "query", "--emb-dir", index, "--query", SENTENCE, "--format", "table"],
        "fuse": [*tool, "fuse", "--emb-dir", index, "--query", SENTENCE, "--format", "table"],
        "--help": [*tool, "--help"],
        "completion": [*tool],
        "evaluate": [*tool, "evaluate", "--emb-dir", index, "--format", "json"],
    }
    completing = {"_NODULECLIP_COMPLETE": "complete_bash", "COMP_WORDS": "noduleclip que", "COMP_CWORD": "1"}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            start = time.perf_counter()
            more = completing if name == "completion" else {}
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, **more})
            seconds[name].append(time.perf_counter() - start)
    torch = statistics.median(seconds["import torch"])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:<14}{median:6.2f} s   {median / torch:5.2f} x import torch")


if __name__ == "__main__":
    main(sys.argv[1])
