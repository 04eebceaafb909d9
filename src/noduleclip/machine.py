"""Cores, GPU drivers, libraries of training and position in a distributed run, found without torch."""

import contextlib
import ctypes
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noduleclip.errors import UsageError

CPU_AS_ASKED: Final = "cpu (as asked)"
CPU_ALONE: Final = "cpu (no CUDA or MPS device is available)"
CPU_WITHOUT_TORCH: Final = "cpu (torch is not installed)"
TRAINING_LIBRARIES: Final = ("torch", "timm", "onnx", "onnxscript")
"""What training, and the export of a checkpoint's encoders, need and nothing else does."""
_DRIVERS = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libamdhip64.so")

_MOST_FILES = 10_240 if sys.platform == "darwin" else 1 << 18  # the maximum of macOS

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")


@dataclass(frozen=True)
class ProcessInfo:
    """Position of this process among those that a launcher started with the same command line.

    Attributes:
        rank: Number among all processes, from 0.
        world_size: Number of processes.
        local_rank: Number among the processes of the same machine, from 0.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_main_process(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0


def find_missing_library() -> str | None:
    """Return the first of `TRAINING_LIBRARIES` that is not installed; None if all are."""
    return next((name for name in TRAINING_LIBRARIES if importlib.util.find_spec(name) is None), None)


def require_training_libraries(what: str) -> None:
    """Check that the libraries of training are installed, which a light installation lacks.

    Args:
        what: Who needs them, for the message.

    Raises:
        UsageError: One is missing.
    """
    missing = find_missing_library()
    if missing is not None:
        raise UsageError(f"{what} needs {missing}: pip install {' '.join(TRAINING_LIBRARIES)}")


def install_command(extra: str, *, upgrade: bool = False) -> str:
    """Return what installs an extra: its libraries alone in a light installation, to which it would bring torch."""
    start = "pip install --upgrade" if upgrade else "pip install"
    if find_missing_library() is None:
        return f'{start} "noduleclip[{extra}]"'
    from importlib.metadata import requires  # takes 40 ms, which no command but this message needs

    needed = (line.partition(";") for line in requires("noduleclip") or ())
    ending = re.compile(rf"\s*extra == ['\"]{re.escape(extra)}['\"]")
    return " ".join([start, *(f'"{name.strip()}"' for name, _, marker in needed if ending.fullmatch(marker))])


def find_process_info(environment: Mapping[str, str] = os.environ) -> ProcessInfo:
    """Return what torchrun, or srun with MASTER_ADDR, set in the environment; by default a single process.

    The tasks of a Slurm step without MASTER_ADDR are independent: each runs a command of its own.

    Raises:
        UsageError: The variables are incomplete or contradict each other.
    """
    names = next((names for names in (_TORCHRUN, _SRUN) if names[1] in environment), None)
    if names is None or (names is _SRUN and "MASTER_ADDR" not in environment):
        return ProcessInfo()
    found = ", ".join(f"{name}={environment.get(name, '')}" for name in names)
    try:
        rank, world_size, local_rank = (int(environment[name]) for name in names)
    except (KeyError, ValueError):
        raise UsageError(
            f"the environment has {found}; a launcher (torchrun, srun) sets all three to numbers"
        ) from None
    if not 0 <= local_rank <= rank < world_size:
        raise UsageError(f"the environment has {found}; 0 <= {names[2]} <= {names[0]} < {names[1]} is needed")
    if world_size > 1 and not {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        raise UsageError(f"the environment has {found}, but not MASTER_ADDR and MASTER_PORT of the main process")
    return ProcessInfo(rank, world_size, local_rank)


def allow_many_files() -> None:
    """Raise this process's limit of open files, often 1,024, to the system's maximum: a shard keeps six open."""
    if sys.platform == "win32":  # no such limit
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


def describe_cpu() -> str:
    """Return the CPU's model and instruction sets, and the number of cores of this process."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    named = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    return "\n".join([platform.machine(), platform.processor(), *sorted(named), f"{count_cores()} cores"])


def may_have_accelerator() -> bool:
    """Return whether a GPU driver can be loaded or this is a Mac; without either, importing torch to ask is a waste."""
    return sys.platform == "darwin" or any(map(_loads, _DRIVERS))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
