"""Process pool that survives worker crashes: a job whose process ends is a result, not the end of the run."""

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

_JOBS_WORTH_A_POOL = 400

Job = TypeVar("Job")
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class WorkerCrashed:
    """Result of a job whose process terminated unexpectedly."""


class _Pool(ProcessPoolExecutor):
    """A pool in which Ctrl-C never interrupts the start of a worker."""

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        with delay_interrupts():
            return super().submit(fn, *args, **kwargs)


def run_jobs(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, *, apart: bool = False
) -> Iterator[tuple[Job, Result | WorkerCrashed]]:
    """Run jobs, each once, in any order; a few are run in this process.

    When a worker terminates, the job that it was running gets `WorkerCrashed`. To find that job, the unfinished ones
    are run again by a single worker, in order: it is the first one without a result.

    Args:
        work: Function to run; importable, as the workers are spawned.
        jobs: Its arguments.
        workers: Processes.
        apart: Run none of them in this process, however few they are.
    """
    if not apart and (workers == 1 or len(jobs) < _JOBS_WORTH_A_POOL):
        yield from ((job, work(job)) for job in jobs)
        return
    waiting = dict(enumerate(jobs))
    alone = False
    while waiting:
        for number, result in _run_until_broken(work, list(waiting.items()), 1 if alone else workers):
            yield waiting.pop(number), result
        if waiting and alone:
            yield waiting.pop(next(iter(waiting))), WorkerCrashed()
        alone = bool(waiting) and not alone


def open_pool(workers: int) -> ProcessPoolExecutor:
    """Open a pool of spawned processes that ignore Ctrl-C, which the process that waits for them handles."""
    context = multiprocessing.get_context("spawn")
    return _Pool(workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))


@contextlib.contextmanager
def delay_interrupts() -> Iterator[None]:
    """Delay Ctrl-C while a worker may be starting.

    A half-started worker would print a traceback, or be waited for forever. The worker inherits the blocked signal
    until its initializer ignores it. The handler is replaced, too: threads of other libraries do not block the signal.
    """
    blocks = hasattr(signal, "pthread_sigmask")  # not on Windows
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if is_main else None  # None also where it is not Python's
    received: list[int] = []
    if handler is not None:
        signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if blocks else None
    try:
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        if received:
            signal.raise_signal(signal.SIGINT)


def _run_until_broken(
    work: Callable[[Job], Result], numbered: Sequence[tuple[int, Job]], workers: int
) -> Iterator[tuple[int, Result]]:
    """Run jobs in a pool of processes; stop early when one of them terminates."""
    with open_pool(workers) as pool:
        futures = {}
        try:
            with contextlib.suppress(BrokenProcessPool):  # the rest is run in the next pool
                for number, job in numbered:
                    futures[pool.submit(work, job)] = number
            for future in as_completed(futures):
                if not isinstance(future.exception(), BrokenProcessPool):
                    yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
