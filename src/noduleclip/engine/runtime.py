"""What the machine has: device, precision, worker processes, and a record of versions."""

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from noduleclip import __version__
from noduleclip.config import Amp
from noduleclip.errors import UsageError
from noduleclip.machine import CPU_ALONE, CPU_AS_ASKED

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_RECORDED_PACKAGES = ("torch", "timm", "numpy", "polars", "pydicom", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Device:
    """Where tensors live.

    Attributes:
        device: The torch device.
        why: How it came to be chosen, for the user.
    """

    device: torch.device
    why: str


def choose_device(wanted: str) -> Device:
    """Choose CUDA, MPS or the CPU.

    Args:
        wanted: "auto", or what torch.device understands. A card asked for that does not work is given up with a note.

    Raises:
        UsageError: The name is no device.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return _try_card(torch.device("cuda"))
        if torch.backends.mps.is_available():
            return _try_card(torch.device("mps"))
        return Device(torch.device("cpu"), CPU_ALONE)
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UsageError(f"--device {wanted!r} is not a device; use auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cpu":
        return Device(device, CPU_AS_ASKED)
    return _try_card(device)


def _try_card(device: torch.device) -> Device:
    """Run one small convolution on a card; a card that torch was not built for fails it, and the CPU is taken."""
    try:
        image = torch.zeros(1, 1, 8, 8, device=device)
        weight = torch.zeros(1, 1, 3, 3, device=device)
        float(torch.nn.functional.conv2d(image, weight).sum())
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        return Device(torch.device("cpu"), f"cpu ({device} does not work with this torch: {reason})")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return Device(device, f"{device} ({name})")


def keep_freed_memory() -> bool:
    """Keep the memory of freed tensors in glibc for the next ones.

    Otherwise each large tensor is mapped anew and its pages are cleared one by one as they are touched, at every layer
    of every batch: a fifth of the time of a small network on a CPU. The process's peak stays as it is.

    Returns:
        Whether it took effect.

    Source:
        mallopt(3): M_MMAP_MAX, M_TRIM_THRESHOLD.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) == 1 for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1)))


@contextlib.contextmanager
def explaining_memory(count: int, remedy: str) -> Iterator[None]:
    """Turn torch's lack of memory into a line that says what to do.

    Args:
        count: Crops that were computed together.
        remedy: What the user can do.

    Raises:
        UsageError: The memory of the device is used up.
    """
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; a CPU's has no type of its own
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise UsageError(f"{count} crops at once are more than the device's memory holds; {remedy}") from error
        raise


def choose_amp(wanted: Amp, device: torch.device) -> torch.dtype | None:
    """Return the type for mixed precision, or None for float32 throughout."""
    if wanted == "off" or device.type != "cuda":
        return None
    if wanted == "bf16" or (wanted == "auto" and torch.cuda.is_bf16_supported()):
        return torch.bfloat16
    return torch.float16


def record_versions() -> dict[str, Any]:
    """Return versions of this package, Python and the libraries that decide a result."""
    return {
        "noduleclip": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: importlib.metadata.version(name) for name in _RECORDED_PACKAGES},
    }


def record_git_state() -> dict[str, Any] | None:
    """Return commit and cleanliness of the checkout that this package runs from; None where it is no checkout."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder)]
    try:
        inside = subprocess.run([*command, "ls-files", "--error-unmatch", __file__], capture_output=True, timeout=10)
        if inside.returncode != 0:
            return None
        commit = subprocess.run([*command, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        changed = subprocess.run([*command, "status", "--porcelain"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "clean": not changed.stdout.strip()}
