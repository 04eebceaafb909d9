"""How many cores there are to use."""

import os


def count_cores() -> int:
    """Give the number of cores that this process may run on: fewer than the machine's under taskset or Slurm."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
