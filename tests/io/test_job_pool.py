"""Jobs in worker processes, some of which end their worker."""

import os

import pytest

from noduleclip.io import job_pool
from noduleclip.io.job_pool import Died, run_jobs


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
    assert [number for number, job in enumerate(jobs) if isinstance(results[job], Died)] == list(killers)
    assert all(results[job] == job for job in jobs if isinstance(job, str))


@pytest.mark.parametrize("workers", [1, 2])
def test_few_jobs_are_done_apart_where_one_may_end_its_process(workers: int) -> None:
    jobs = ["one", Killer(), "two"]
    results = dict(run_jobs(str, jobs, workers, apart=True))
    assert [isinstance(results[job], Died) for job in jobs] == [False, True, False]


def test_few_jobs_are_done_here() -> None:
    seen: list[int] = []
    assert list(run_jobs(seen.append, [1, 2, 3], workers=8)) == [(1, None), (2, None), (3, None)]
    assert seen == [1, 2, 3]
