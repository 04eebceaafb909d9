"""Clients that hold connections, drip bytes or do not read keep no one else from being answered."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from noduleclip.web import connections
from noduleclip.web.guard import HEADERS, Guard
from noduleclip.web.serving import make_server
from web.conftest import serving

pytestmark = [pytest.mark.enable_socket, pytest.mark.slow]
PROMPT_S = 2.0
LARGE = 4 << 20


@pytest.fixture(scope="module")
def port(index: Path) -> Iterator[int]:
    """The port of `noduleclip serve`."""
    with serving(index) as found:
        yield found


def ask(port: int, path: str = "/api/search?q=%3E+6+mm") -> tuple[float, bytes]:
    """Ask on a new connection; gives the seconds until the whole answer was there, and the answer."""
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while part := link.recv(1 << 16):
            answer += part
    return time.perf_counter() - started, answer


@pytest.mark.parametrize("held", [70, 500])
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: 127.0", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_held_connections_keep_no_one_out(port: int, held: int, sent: bytes) -> None:
    ask(port)
    with contextlib.ExitStack() as stack:
        for _ in range(held):
            link = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            with contextlib.suppress(ConnectionError):
                link.sendall(sent)
        for _ in range(3):
            seconds, answer = ask(port)
            assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
            assert seconds < PROMPT_S


@pytest.mark.parametrize(
    "request_line",
    [
        b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * (1 << 17) + b"\r\n\r\n", b"\0" * 100 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nNo-Colon\r\n\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: what\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_http_gets_the_strict_headers_too(port: int, request_line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        with contextlib.suppress(ConnectionError):
            link.sendall(request_line)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := link.recv(1 << 16):
                answer += part
                if b"\r\n\r\n" in answer:
                    break
    status = int(answer.split(b" ")[1])
    assert 400 <= status < 500, answer[:200]
    for name, value in HEADERS.items():
        assert f"{name}: {value}".lower().encode() in answer.lower()
    assert b"Traceback" not in answer


async def answer_at_length(_: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(LARGE).encode())]})
    await send({"type": "http.response.body", "body": bytes(LARGE)})


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[int]:
    """A server of large answers in this process; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = make_server(Guard(answer_at_length, frozenset({"127.0.0.1"})))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def read_until_closed(reader: asyncio.StreamReader, within_s: float) -> bool:
    try:
        await asyncio.wait_for(reader.read(-1), within_s)
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    "first", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n"]
)
def test_a_head_or_a_body_that_drips_in_is_given_up(first: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.4)

    async def drip() -> float:
        async with running() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first)
            started = asyncio.get_running_loop().time()
            closed = asyncio.create_task(read_until_closed(reader, 10))
            while not closed.done():
                await asyncio.sleep(0.05)
                with contextlib.suppress(ConnectionError):
                    writer.write(b"x")
                    await writer.drain()
            writer.close()
            assert closed.result()
            return asyncio.get_running_loop().time() - started

    assert asyncio.run(drip()) < 3


def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.4)

    async def stall() -> tuple[int, int]:
        async with running() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
            writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await asyncio.sleep(1.5)  # nothing is read meanwhile
            received = 0
            with contextlib.suppress(ConnectionError):
                while part := await reader.read(1 << 16):
                    received += len(part)
            writer.close()

            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            steady = 0
            while part := await reader.read(1 << 18):  # slow, but it goes on
                steady += len(part)
                await asyncio.sleep(0.05)
            writer.close()
            return received, steady

    received, steady = asyncio.run(stall())
    assert received < LARGE
    assert steady > LARGE


def test_a_connection_serves_many_requests_and_then_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)

    async def use() -> bool:
        async with running() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(4):
                writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                await reader.readexactly(LARGE)
                await asyncio.sleep(0.3)  # together longer than one wait
            writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 3)  # at once, answered one after the other
            for _ in range(3):
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(LARGE)
            closed = await read_until_closed(reader, 5)
            writer.close()
            return closed

    assert asyncio.run(use())
