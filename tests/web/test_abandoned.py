"""Requests whose clients have gone take no turn from those who wait, and only so many may wait."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn

from noduleclip.web.serving import ServeOptions, make_guarded_app, make_server
from noduleclip.web.slices import SliceReader
from noduleclip.web.work import MOST_WAITING
from noduleclip.workflows.pictures import NodulePictures
from web.conftest import open_served

pytestmark = [pytest.mark.enable_socket, pytest.mark.slow]
GALLERY = "/hits.html?q=small&k=50&unique="
PICTURE = "/picture/1.png"


@dataclass
class Gate:
    """Holds the pictures back until it is opened, and counts those that were begun."""

    begun: int = 0
    opened: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate, cut = Gate(), SliceReader.cut

    def wait_and_cut(
        slices: SliceReader, row: int, *, fov_mm: float, size_px: int, most_slices: int = 1
    ) -> NodulePictures:
        gate.begun += 1
        assert gate.opened.wait(30)
        return cut(slices, row, fov_mm=fov_mm, size_px=size_px, most_slices=most_slices)

    monkeypatch.setattr(SliceReader, "cut", wait_and_cut)
    return gate


@contextlib.asynccontextmanager
async def running(index: Path, gate: Gate) -> AsyncIterator[tuple[int, uvicorn.Server]]:
    """The guarded explorer in this process; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = make_guarded_app(open_served(index), lambda: open_served(index), ServeOptions("127.0.0.1", 0, None, ()))
    server = make_server(app)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1], server
    finally:
        gate.opened.set()
        server.should_exit = True
        await task


def write_request(address: str, more: str = "") -> bytes:
    return f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode()


async def ask(port: int, address: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(write_request(address, "Connection: close\r\n"))
    answer = await reader.read(-1)
    writer.close()
    return answer


async def abandon(port: int, requests: bytes, is_begun: Callable[[], bool] = lambda: True) -> None:
    """Send requests, wait until they have begun, and go."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(requests)
    await asyncio.sleep(0.02)
    async with asyncio.timeout(20):
        while not is_begun():
            await asyncio.sleep(0.01)
    writer.close()
    await writer.wait_closed()


async def until_requests(server: uvicorn.Server, count: int) -> None:
    """Wait until so many requests are being answered."""
    async with asyncio.timeout(20):
        while len(server.server_state.tasks) != count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("at_once", [1, 3], ids=["one request each", "three requests each"])
def test_abandoned_requests_take_no_turn(index: Path, gate: Gate, at_once: int) -> None:
    async def use() -> bytes:
        async with running(index, gate) as (port, server):
            for number in range(40):
                gallery = write_request(f"{GALLERY}&alpha=0.{number:03}")
                await abandon(port, gallery * at_once if number else gallery, lambda: gate.begun > 0)
            await until_requests(server, 1)  # the first, whose picture is being made
            honest = asyncio.create_task(ask(port, PICTURE))
            await until_requests(server, 2)
            gate.opened.set()
            return await honest

    assert asyncio.run(use()).startswith(b"HTTP/1.1 200")
    assert gate.begun == 2  # the one that had begun, and the honest one


def test_a_page_of_hits_lets_a_picture_pass(index: Path, gate: Gate) -> None:
    async def use() -> tuple[int, bytes]:
        async with running(index, gate) as (port, server):
            page = asyncio.create_task(ask(port, GALLERY))
            while not gate.begun:
                await asyncio.sleep(0.01)
            picture = asyncio.create_task(ask(port, PICTURE))
            await until_requests(server, 2)
            await asyncio.sleep(0.1)
            gate.opened.set()
            assert (await picture).startswith(b"HTTP/1.1 200")
            return gate.begun, await page

    begun, page = asyncio.run(use())
    assert begun < 50
    assert gate.begun == 51
    assert page.count(b"<li>") == 50


def test_only_so_many_requests_wait(index: Path, gate: Gate) -> None:
    async def use() -> list[bytes]:
        async with running(index, gate) as (port, server):
            asked = [asyncio.create_task(ask(port, PICTURE)) for _ in range(MOST_WAITING + 6)]
            await until_requests(server, MOST_WAITING + 1)
            async with asyncio.timeout(20):
                while sum(answer.done() for answer in asked) < 5:
                    await asyncio.sleep(0.01)
            refused = [answer.result() for answer in asked if answer.done()]
            gate.opened.set()
            answers = await asyncio.gather(*asked)
            assert sum(answer.startswith(b"HTTP/1.1 200") for answer in answers) == MOST_WAITING + 1
            return refused

    refused = asyncio.run(use())
    assert len(refused) == 5
    for answer in refused:
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"64 requests wait for their turn; ask again later" in answer
        assert b"retry-after: 5" in answer.lower()


def test_who_sends_ahead_too_much_is_cut_off(index: Path, gate: Gate) -> None:
    async def use() -> bytes:
        async with running(index, gate) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(write_request(PICTURE))
            while not gate.begun:
                await asyncio.sleep(0.01)
            answer = b""
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    writer.write(write_request("/" + "x" * 1000))
                    await writer.drain()
                answer = await asyncio.wait_for(reader.read(-1), 10)
            writer.close()
            return answer

    assert asyncio.run(use()) == b""
