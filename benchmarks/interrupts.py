"""Ctrl-C at random moments of a command: `python benchmarks/interrupts.py RUNS FROM TO -- COMMAND …`.

Each run is interrupted, process group and all, FROM to TO seconds after its start; {} in COMMAND is a fresh folder.
Prints how the runs ended and what they said last, with a count; a traceback is printed whole.
"""

import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

_MOST_SECONDS = 90


def interrupt(command: list[str], seconds: float) -> tuple[int | None, str]:
    """Run a command, interrupt it, and give its exit code, None for one that does not end, and what it said."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [part.replace("{}", folder) for part in command]
        process = subprocess.Popen(
            [sys.executable, "-m", "noduleclip", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, start_new_session=True, env={**os.environ, "TERM": "dumb"},
        )  # fmt: skip
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            _, said = process.communicate(timeout=_MOST_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return None, ""
    return process.returncode, said


def main() -> None:
    """Interrupt."""
    end = sys.argv.index("--")
    runs, first, last = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    ends: collections.Counter[tuple[int | None, bool, str]] = collections.Counter()
    for _ in range(runs):
        seconds = random.uniform(first, last)
        code, said = interrupt(sys.argv[end + 1 :], seconds)
        traced = "Traceback" in said
        ends[code, traced, said.strip().split("\n")[-1][:60]] += 1
        if traced or code is None:
            print(f"after {seconds:.3f} s: {code}\n{said}", flush=True)
    for (code, traced, line), count in ends.most_common():
        print(f"{count} of {runs}: exit {code}{', with a traceback' if traced else ''}: {line}")


if __name__ == "__main__":
    main()
