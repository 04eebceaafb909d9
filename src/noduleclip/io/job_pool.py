"""Many small jobs in worker processes, any of which a library written in C may end. Knows nothing of what is done."""

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
    """What a job gives whose process ended."""


class _Pool(ProcessPoolExecutor):
    """A pool that Ctrl-C finds with its workers started and known to it, or without any."""

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        with _ctrl_c_afterwards():
            return super().submit(fn, *args, **kwargs)


def run_jobs(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int, *, apart: bool = False
) -> Iterator[tuple[Job, Result | WorkerCrashed]]:
    """Do jobs, each once, in any order; few are done in this process.

    A worker that ends costs the job that it was at, which gives `WorkerCrashed`. Which job that was shows with a single
    worker, that takes them in order: the first one without a result.

    Args:
        work: What to do; importable, as the workers are spawned.
        jobs: What to do it with.
        workers: Processes.
        apart: Do none of them in this process, however few they are.
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
    """Open a pool of spawned processes; Ctrl-C, which reaches them all, is left to the one that waits for them."""
    context = multiprocessing.get_context("spawn")
    return _Pool(workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))


@contextlib.contextmanager
def _ctrl_c_afterwards() -> Iterator[None]:
    """Hold Ctrl-C back for as long as a worker may be starting.

    The worker inherits the blocked signal: until it has the handler that leaves Ctrl-C alone, an interrupt would show
    a traceback. Here, a worker that is half started would show one, too, or be waited for without end.
    """
    blocks = hasattr(signal, "pthread_sigmask")  # not on Windows
    hears = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if hears else None  # None also where it is not Python's
    came: list[int] = []
    if handler is not None:
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if blocks else None
    try:
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def _run_until_broken(
    work: Callable[[Job], Result], numbered: Sequence[tuple[int, Job]], workers: int
) -> Iterator[tuple[int, Result]]:
    """Work in a pool of processes; ends early where one of them dies."""
    with open_pool(workers) as pool:
        futures = {}
        try:
            with contextlib.suppress(BrokenProcessPool):  # what was not submitted is done in the next pool
                for number, job in numbered:
                    futures[pool.submit(work, job)] = number
            for future in as_completed(futures):
                if not isinstance(future.exception(), BrokenProcessPool):
                    yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
