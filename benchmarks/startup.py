"""Whole processes beside `python -c "import torch"`, taken in turns: `python benchmarks/startup.py INDEX_FOLDER`.

Prints medians in seconds and their ratio to importing torch. Bytecode is written in a first round, as an installation
has it, and kept in a folder of its own.
"""

import os
import statistics
import subprocess
import sys
import tempfile
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
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(ROUNDS + 1):
            for name, command in commands.items():
                start = time.perf_counter()
                more = completing if name == "completion" else {}
                subprocess.run(command, check=True, capture_output=True, env={**environment, **more})
                if number:
                    seconds[name].append(time.perf_counter() - start)
    torch = statistics.median(seconds["import torch"])
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:<14}{median:6.2f} s   {median / torch:5.2f} x import torch")


if __name__ == "__main__":
    main(sys.argv[1])
