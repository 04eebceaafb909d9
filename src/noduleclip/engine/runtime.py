"""Device, precision, memory and versions of the machine."""

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
    """A torch device.

    Attributes:
        device: The device.
        why: Description for the user, with the reason if another one was expected.
    """

    device: torch.device
    why: str


def choose_device(wanted: str) -> Device:
    """Choose CUDA, MPS or the CPU.

    Args:
        wanted: "auto", or a name that torch.device accepts. A GPU that does not work is replaced by the CPU, and `why`
            has the reason.

    Raises:
        UsageError: There is no device of this name.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return _try_gpu(torch.device("cuda"))
        if torch.backends.mps.is_available():
            return _try_gpu(torch.device("mps"))
        return Device(torch.device("cpu"), CPU_ALONE)
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UsageError(f"--device {wanted!r} is not a device; use auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cpu":
        return Device(device, CPU_AS_ASKED)
    return _try_gpu(device)


def _try_gpu(device: torch.device) -> Device:
    """Return a GPU if it computes a small convolution, which one that torch was not built for cannot; else the CPU."""
    try:
        image = torch.zeros(1, 1, 8, 8, device=device)
        weight = torch.zeros(1, 1, 3, 3, device=device)
        float(torch.nn.functional.conv2d(image, weight).sum())
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        return Device(torch.device("cpu"), f"cpu ({device} does not work with this torch: {reason})")
    if device.type == "cuda" and ":" in str(device):
        torch.cuda.set_device(device)  # NCCL and libraries use the current device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return Device(device, f"{device} ({name})")


def keep_freed_memory() -> bool:
    """Configure glibc to reuse the memory of freed tensors instead of returning it to the system.

    By default each large tensor is mapped anew and its pages are cleared at first access, in every layer of every
    batch: a fifth of the time of a small network on a CPU. The peak memory does not change.

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
    """Raise torch's out-of-memory errors as an error that suggests a remedy.

    Args:
        count: Crops in the computation.
        remedy: What the user can do.

    Raises:
        UsageError: The device is out of memory.
    """
    try:
        yield
    except RuntimeError as error:  # base class of torch.OutOfMemoryError; a CPU's has no type of its own
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


def count_threads() -> int:
    """Return the number of threads that torch computes with."""
    return torch.get_num_threads()


def record_versions() -> dict[str, Any]:
    """Return the versions of this package, Python and the libraries that results depend on."""
    return {
        "noduleclip": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **{name: importlib.metadata.version(name) for name in _RECORDED_PACKAGES},
    }


def record_git_state() -> dict[str, Any] | None:
    """Return commit and cleanliness of the checkout that this package runs from; None outside a checkout."""
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
