"""The processes that train together: who leads, who waits for whom, what is summed, and how all end when one does.

Knows nothing of training. One process is a team, too, and does none of this.
"""

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from noduleclip.errors import NoduleclipError, UsageError
from noduleclip.machine import Launch

_ENDED, _HEARD = "ended", "heard"
_POLL_SECONDS = 0.1
_MOST_SECONDS_TO_TELL, _SECONDS_TO_SPEAK = 30.0, 1.0

T = TypeVar("T")


class PeerError(NoduleclipError):
    """Another process of the team has gone without a word."""

    exit_code = 3


class PeerEndedError(Exception):
    """Another process of the team has ended, and says why itself.

    Attributes:
        code: The exit code that it ends with.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Team:
    """Processes, each of which runs the same command.

    Args:
        launch: This process's place among them.
        store: What the processes leave each other word in; None for one alone.
    """

    def __init__(self, launch: Launch | None = None, store: Store | None = None) -> None:
        self.launch = launch or Launch()
        self._store = store
        self._lines = 0
        self._turn = 0 if self.leads else 1 if self.launch.local_rank == 0 else 2
        self._turns = self._gather(self._turn)

    @property
    def size(self) -> int:
        """Processes."""
        return self.launch.size

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.launch.rank == 0

    def describe(self) -> str:
        """Describe how many processes there are, where they are several."""
        return "" if self.size == 1 else f"; {self.size} processes with {torch.get_num_threads()} thread(s) each"

    def choose_device_name(self, wanted: str) -> str:
        """Return each process of a machine its own card.

        Raises:
            UsageError: There are more processes than cards, or the device is not one for several processes.
        """
        kind = wanted.partition(":")[0]
        if self.size == 1 or kind == "cpu":
            return wanted
        cards = torch.cuda.device_count()
        if wanted == "auto" and not cards:
            return "cpu"
        if wanted not in ("auto", "cuda"):
            raise UsageError(f"--device {wanted}: several processes take auto, cuda or cpu, and one card each")
        if cards == 1 and self._turns.count(2) == 0:
            return "cuda:0"
        if self.launch.local_rank >= cards > 0:
            raise UsageError(
                f"process {self.launch.local_rank + 1} of its machine sees {cards} card(s); start one for each"
            )
        return f"cuda:{self.launch.local_rank}"

    def settle(self, device: torch.device) -> None:
        """Make a device that of this process.

        Raises:
            UsageError: Some processes compute on cards and some do not.
        """
        if not self.agree(device.type):
            raise UsageError(f"this process computes on {device.type}, another does not; name --device cpu or cuda")
        if device.type == "cuda":
            torch.cuda.set_device(device)

    def take(self, samples: Tensor) -> Tensor:
        """Return this process's share of what all have along the first axis: as even as can be, maybe nothing."""
        return samples.tensor_split(self.size)[self.launch.rank]

    def sum(self, values: Tensor) -> Tensor:
        """Sum over the processes, in place; each then has the same bits."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def share(self, work: Callable[[], T]) -> T:
        """Run a function in the main process, however long it takes, and broadcast its result."""
        if self.size == 1:
            return work()
        values = [work() if self.leads else None]
        self._line_up(1, came=self.leads)
        dist.broadcast_object_list(values)
        return cast(T, values[0])

    def in_turns(self, work: Callable[[], T]) -> T:
        """Run a function in the main process, then in the first process of each other machine, then in the rest.

        What the first ones leave on a disk the others find there, whether the machines share it or not.
        """
        for turn in range(3):
            if turn == self._turn:
                result = work()
            if self.size > 1:
                self._line_up(self._turns.count(turn), came=turn == self._turn)
        return result

    def agree(self, value: object) -> bool:
        """Return whether every process has the same value."""
        return all(other == value for other in self._gather(value))

    def _gather(self, value: T) -> list[T]:
        """Return the value of each process, by rank."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def _line_up(self, count: int, *, came: bool) -> None:
        """Wait until `count` processes have come here; longer than a collective operation would.

        Raises:
            PeerEndedError: One has ended instead.
        """
        assert self._store is not None
        self._lines += 1
        line = f"line/{self._lines}"
        here = self._store.add(line, int(came))
        while here < count:
            time.sleep(_POLL_SECONDS)
            if (code := self.find_end()) is not None:
                raise PeerEndedError(code)
            here = self._store.add(line, 0)

    def find_end(self, seconds: float = 0) -> int | None:
        """Return the exit code that another process has ended with; None if within some seconds none says so."""
        assert self._store is not None
        deadline = time.monotonic() + seconds
        while not self._store.check([_ENDED]):
            if time.monotonic() >= deadline:
                return None
            time.sleep(_POLL_SECONDS)
        return int(self._store.get(_ENDED).split()[1])

    def end(self, code: int) -> None:
        """Notify the other processes that this one ends early, and wait shortly until they know.

        Raises:
            PeerEndedError: Another one has said so before.
        """
        assert self._store is not None
        word = f"{self.launch.rank} {code}"
        try:
            told = self._store.compare_set(_ENDED, "", word).decode()
        except RuntimeError:  # nobody is left to tell
            return
        if not torch.cuda.is_available():  # closed connections wake those that wait; NCCL may not come back from it
            self.leave()
        if told != word:
            raise PeerEndedError(int(told.split()[1]))
        deadline = time.monotonic() + _MOST_SECONDS_TO_TELL
        with contextlib.suppress(RuntimeError):
            while self._store.add(_HEARD, 0) < self.size - 1 and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)

    def hear(self) -> None:
        """Acknowledge the process that ended first, and give it time to report why.

        A launcher ends all the others as soon as one has gone.
        """
        assert self._store is not None
        with contextlib.suppress(RuntimeError):  # the process that kept the words has gone
            self._store.add(_HEARD, 1)
        time.sleep(_SECONDS_TO_SPEAK)

    def explain(self, error: BaseException) -> BaseException:
        """Return what made a connection break; any other error as it is."""
        if not isinstance(error, RuntimeError) or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            return error
        with contextlib.suppress(RuntimeError):  # the process that kept the words has gone
            if (code := self.find_end(seconds=2)) is not None:
                return PeerEndedError(code)
        return PeerError(
            "another of the processes that train together has gone without a word (killed, or its machine is lost): "
            "the launcher may say which; --resume goes on after the last whole epoch"
        )

    def leave(self) -> None:
        """Release connections and memory."""
        with contextlib.suppress(RuntimeError, AssertionError):
            dist.destroy_process_group()


def join(launch: Launch) -> Team:
    """Meet the other processes.

    Raises:
        UsageError: They cannot be met.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        store, rank, size = next(rendezvous("env://", launch.rank, launch.size))
        dist.init_process_group(backend, store=PrefixStore("team", store), rank=rank, world_size=size)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"process {launch.rank} of {launch.size} cannot meet the others ({reason})") from error
    return Team(launch, PrefixStore("words", store))
