"""Which device is chosen, and what is said of it."""

import platform
import subprocess
import sys

import pytest
import torch

from noduleclip.engine.runtime import choose_amp, choose_device, explaining_memory, record_versions
from noduleclip.errors import UsageError


def test_auto_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto").why == "cpu (no CUDA or MPS device is available)"


def test_a_card_that_fails_is_given_up_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **options: object) -> torch.Tensor:
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", fail)
    device = choose_device("auto")
    assert device.device.type == "cpu"
    assert "cuda does not work with this torch: CUDA error: no kernel image" in device.why


def test_a_name_that_is_no_device_is_refused() -> None:
    with pytest.raises(UsageError, match="use auto, cpu, cuda"):
        choose_device("gpu!")


def test_a_cpu_computes_in_float32() -> None:
    assert choose_amp("auto", torch.device("cpu")) is None
    assert choose_amp("bf16", torch.device("cpu")) is None
    assert choose_amp("fp16", torch.device("cuda")) == torch.float16
    assert choose_amp("off", torch.device("cuda")) is None


def test_versions_name_the_libraries() -> None:
    assert {"noduleclip", "python", "torch", "timm", "pydicom"} <= set(record_versions())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told")
def test_freed_memory_is_not_mapped_anew() -> None:
    code = """
import resource, torch
from noduleclip.engine.runtime import keep_freed_memory
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def touch():
    before = faults()
    for _ in range(20):
        torch.empty(8_000_000).fill_(1)
    return faults() - before
before = touch()
assert keep_freed_memory()
torch.empty(8_000_000).fill_(1)
print(before, touch())
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    before, after = map(int, told)
    assert after < before / 20


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_a_lack_of_memory_says_what_to_do(error: RuntimeError) -> None:
    with (
        pytest.raises(UsageError, match=r"^64 crops at once are more than the device's memory holds; try --bs 8$"),
        explaining_memory(64, "try --bs 8"),
    ):
        raise error
    with pytest.raises(RuntimeError, match="mat1 and mat2"), explaining_memory(64, "try --bs 8"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
