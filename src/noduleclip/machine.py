"""What the machine has, as far as it can be said without torch."""

import ctypes
import os
import sys
from typing import Final

CPU_AS_ASKED: Final = "cpu (as asked)"
CPU_ALONE: Final = "cpu (no CUDA or MPS device is available)"
_DRIVERS = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libamdhip64.so")


def count_cores() -> int:
    """Give the number of cores that this process may run on: fewer than the machine's under taskset or Slurm."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def may_have_accelerator() -> bool:
    """Say whether a card's driver is there, or it is a Mac; otherwise torch, slow to import, need not be asked."""
    return sys.platform == "darwin" or any(map(_loads, _DRIVERS))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
