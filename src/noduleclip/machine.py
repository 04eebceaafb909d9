"""Cores, accelerators and limits of this machine, found without importing torch."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from noduleclip.errors import UsageError

CPU_AS_ASKED: Final = "cpu (as asked)"
CPU_ALONE: Final = "cpu (no CUDA or MPS device is available)"
_DRIVERS = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libamdhip64.so")

_MOST_FILES = 10_240 if sys.platform == "darwin" else 1 << 18  # macOS takes no more

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")


@dataclass(frozen=True)
class Launch:
    """This process's place among those that a launcher has started with the same command line.

    Attributes:
        rank: Its number among all, from 0.
        size: How many they are.
        local_rank: Its number among those of its machine, from 0.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Find what torchrun, or srun beside a MASTER_ADDR, has set; without them a process is alone.

    A step of Slurm without MASTER_ADDR is no such launch: several tasks may well run one command each.

    Raises:
        UsageError: What is set does not fit together.
    """
    names = next((names for names in (_TORCHRUN, _SRUN) if names[1] in environment), None)
    if names is None or (names is _SRUN and "MASTER_ADDR" not in environment):
        return Launch()
    told = ", ".join(f"{name}={environment.get(name, '')}" for name in names)
    try:
        rank, size, local_rank = (int(environment[name]) for name in names)
    except (KeyError, ValueError):
        raise UsageError(
            f"the environment says {told}; a launcher sets all three to numbers (torchrun, srun)"
        ) from None
    if not 0 <= local_rank <= rank < size:
        raise UsageError(f"the environment says {told}; 0 <= {names[2]} <= {names[0]} < {names[1]} is needed")
    if size > 1 and not {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        raise UsageError(f"the environment says {told}, but not MASTER_ADDR and MASTER_PORT, where the processes meet")
    return Launch(rank, size, local_rank)


def allow_many_files() -> None:
    """Raise this process's limit of open files, often 1,024, to what the system allows: a shard keeps six open."""
    if sys.platform == "win32":  # has no such limit
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def count_cores() -> int:
    """Return the number of cores that this process may run on: fewer than the machine's under taskset or Slurm."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def may_have_accelerator() -> bool:
    """Return whether a card's driver is there, or it is a Mac; otherwise torch, slow to import, need not be asked."""
    return sys.platform == "darwin" or any(map(_loads, _DRIVERS))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
