"""Jobs in worker processes, some of which end their worker."""

import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from noduleclip.io import job_pool
from noduleclip.io.job_pool import WorkerCrashed, open_pool, run_jobs


class Killer:
    """A job that ends the process that takes it up: a real one, at once, as a decoder's abort does."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (1,)


@pytest.mark.parametrize("killers", [(), (0,), (3, 4), (11,)])
def test_a_job_that_ends_its_worker_costs_itself_alone(
    monkeypatch: pytest.MonkeyPatch, killers: tuple[int, ...]
) -> None:
    monkeypatch.setattr(job_pool, "_JOBS_WORTH_A_POOL", 1)
    jobs = [Killer() if number in killers else str(number) for number in range(12)]
    results = dict(run_jobs(str, jobs, workers=2))
    assert [number for number, job in enumerate(jobs) if isinstance(results[job], WorkerCrashed)] == list(killers)
    assert all(results[job] == job for job in jobs if isinstance(job, str))


@pytest.mark.parametrize("workers", [1, 2])
def test_few_jobs_are_done_apart_where_one_may_end_its_process(workers: int) -> None:
    jobs = ["one", Killer(), "two"]
    results = dict(run_jobs(str, jobs, workers, apart=True))
    assert [isinstance(results[job], WorkerCrashed) for job in jobs] == [False, True, False]


def test_few_jobs_are_done_here() -> None:
    seen: list[int] = []
    assert list(run_jobs(seen.append, [1, 2, 3], workers=8)) == [(1, None), (2, None), (3, None)]
    assert seen == [1, 2, 3]


def find_blocked(_: None) -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, []))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows blocks no signals")
def test_ctrl_c_does_not_reach_a_worker_before_its_handler() -> None:
    with open_pool(1) as pool:
        assert signal.SIGINT in pool.submit(find_blocked, None).result()
    assert signal.SIGINT not in find_blocked(None)


def test_ctrl_c_waits_until_a_worker_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that its pool does not know of would be waited for without end."""
    start = multiprocessing.context.SpawnProcess.start
    others = multiprocessing.active_children()  # the decoder of earlier tests

    def start_and_interrupt(self: multiprocessing.context.SpawnProcess) -> None:
        signal.raise_signal(signal.SIGINT)
        start(self)

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", start_and_interrupt)
    pool: ProcessPoolExecutor = open_pool(1)
    with pytest.raises(KeyboardInterrupt), pool:
        pool.submit(str, 1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert multiprocessing.active_children() == others


def test_ctrl_c_while_jobs_are_submitted_leaves_the_others_undone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job_pool, "_JOBS_WORTH_A_POOL", 1)
    submit = ProcessPoolExecutor.submit
    jobs = [str(tmp_path / f"{number}") for number in range(500)]

    def submit_and_interrupt(self: ProcessPoolExecutor, work: object, job: str) -> object:
        if job == jobs[-1]:
            signal.raise_signal(signal.SIGINT)
        return submit(self, work, job)  # type: ignore[arg-type]

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(make_folder_slowly, jobs, workers=2))
    assert len(list(tmp_path.iterdir())) < 100


def make_folder_slowly(path: str) -> None:
    time.sleep(0.02)
    Path(path).mkdir()
