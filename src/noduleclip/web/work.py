"""Work of the explorer's requests: in threads, a few items at a time, cancelled when the client is gone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import polars as pl
from anyio import CancelScope, CapacityLimiter, to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from noduleclip.errors import ArtefactError

MOST_WAITING = 64  # requests that wait for one kind of work
BUSY = f"the server is busy: {MOST_WAITING} requests wait for their turn; ask again later"
_CLIENT_GONE = 499  # a status that nobody reads
Result = TypeVar("Result")
Endpoint = Callable[[Request], Awaitable[Response]]


class WorkQueue:
    """Runs work in threads, a few items at a time; a request that waits for its turn can be cancelled."""

    def __init__(self, at_once: int) -> None:
        self._limiter, self._held, self._most_held = CapacityLimiter(at_once), 0, at_once + MOST_WAITING

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return the result of some work.

        Raises:
            HTTPException: Too many requests are waiting.
        """
        if self._held >= self._most_held:
            raise HTTPException(503, BUSY, {"Retry-After": "5"})
        self._held += 1
        try:
            return await to_thread.run_sync(without_panic, work, limiter=self._limiter)
        finally:
            self._held -= 1


def without_panic(work: Callable[[], Result]) -> Result:
    """Do some work on a table; a panic of polars is no Exception and would end the server's thread."""
    try:
        return work()
    except (pl.exceptions.PanicException, pl.exceptions.PolarsError) as error:
        raise ArtefactError(f"the index cannot be read ({str(error).splitlines()[0][:200]})") from error


async def answer_while_connected(request: Request, answer: Endpoint) -> Response:
    """Answer a request; cancel it when its client is gone, before it takes its turn for further work."""
    with CancelScope() as scope:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            scope.cancel()

        watching = asyncio.create_task(watch())
        try:
            return await answer(request)
        finally:
            watching.cancel()
    return Response(status_code=_CLIENT_GONE)
