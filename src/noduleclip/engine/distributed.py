"""Distributed training: the process group of torch, and the operations that training needs of it."""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Final, TypeVar, cast

import torch
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler
from torch.nn.parallel import DistributedDataParallel

from noduleclip.errors import PeerError, UsageError
from noduleclip.machine import ProcessInfo

_TIMEOUT: Final = timedelta(days=1)  # the main process may cut crops for hours while the others wait

T = TypeVar("T")


@dataclass(frozen=True)
class DistributedContext(ProcessInfo):
    """A process of an initialised process group, or a single process, for which every operation is local."""

    def shard(self, samples: Tensor) -> Tensor:
        """Return this process's part of samples along the first axis; parts differ in length by one at most."""
        return samples.tensor_split(self.world_size)[self.rank]

    def all_reduce(self, values: Tensor) -> Tensor:
        """Sum a tensor over the processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def barrier(self) -> None:
        """Wait for all processes."""
        self.all_reduce(torch.zeros(1))  # by gloo, also beside NCCL: no kernel waits on the device

    def broadcast(self, compute: Callable[[], T]) -> T:
        """Call a function in the main process only, and return its result in every process."""
        if self.world_size == 1:
            return compute()
        values = [compute() if self.is_main_process else None]
        dist.broadcast_object_list(values)
        return cast(T, values[0])

    def main_process_first(self, compute: Callable[[], T]) -> T:
        """Call a function in the main process, then in the first process of each other machine, then in the rest.

        The later ones find files that the earlier ones left, whether the machines share a disk or not.
        """
        own_turn = 0 if self.is_main_process else 1 if self.local_rank == 0 else 2
        for turn in range(3):
            if turn == own_turn:
                result = compute()
            self.barrier()
        return result

    def all_equal(self, value: object) -> bool:
        """Return whether every process has the same value."""
        values = [value] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(values, value)
        return all(other == value for other in values)

    def choose_device(self, wanted: str) -> str:
        """Return the name of this process's device: one CUDA device for each process of a machine.

        Raises:
            UsageError: A machine has more processes than CUDA devices, or one device is wanted for all processes.
        """
        if self.world_size == 1 or wanted == "cpu":
            return wanted
        if wanted not in ("auto", "cuda"):
            raise UsageError(f"--device {wanted}: several processes take auto, cuda or cpu, and one CUDA device each")
        count = torch.cuda.device_count()
        if not count:
            return "cpu" if wanted == "auto" else wanted
        is_bound = count == 1 and "LOCAL_WORLD_SIZE" not in os.environ  # srun may show each task one device only
        index = 0 if is_bound else self.local_rank
        if index >= count:
            raise UsageError(
                f"process {index + 1} of its machine, which has {count} CUDA device(s); start one for each"
            )
        return f"cuda:{index}"


@contextlib.contextmanager
def init_process_group(process: ProcessInfo) -> Iterator[DistributedContext]:
    """Connect the processes that a launcher started: NCCL for CUDA tensors, gloo for CPU tensors.

    Leaving the block waits for all processes; none succeeds unless all do.

    Raises:
        UsageError: The processes cannot be connected.
        PeerError: Another process ended early.
    """
    context = DistributedContext(**asdict(process))
    if context.world_size == 1:
        yield context
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        dist.init_process_group(backend, rank=context.rank, world_size=context.world_size, timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"process {context.rank} of {context.world_size} cannot reach the others ({reason})"
        ) from error
    try:
        yield context
        context.barrier()
    except Exception as error:
        if isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise PeerError(
                "another training process ended early: its own message or the launcher's says why; "
                "--resume goes on after the last complete epoch"
            ) from error
        get_error_handler().record_exception(error)  # for the summary of torchrun
        error.add_note(f"in process {context.rank} of {context.world_size}")
        raise
    finally:
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def wrap_ddp(module: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Average a module's gradients over the processes.

    Unused parameters, such as those of a backbone behind its last feature map, are allowed.
    """
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")  # costs one copy of a gradient
    warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")
    device_ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=device_ids, find_unused_parameters=True)


def sync_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """Compute batch statistics over all processes; on a CPU, where torch cannot, each process keeps its own."""
    return cast(nn.Module, convert_sync_batchnorm(model)) if device.type == "cuda" else model
