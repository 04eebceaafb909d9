"""From options to a running server."""

import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import uvicorn

from noduleclip.errors import UsageError
from noduleclip.io.index_store import Index
from noduleclip.retrieval.text_query import SentenceEncoder
from noduleclip.web.app import make_app
from noduleclip.web.explorer import Explorer
from noduleclip.web.guard import TOKEN, Guard
from noduleclip.web.slices import SliceReader

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LEAST_TOKEN = 16
_REQUESTS_AT_ONCE = 64


@dataclass(frozen=True)
class ServeOptions:
    """How to serve, and to whom.

    Attributes:
        dicom_roots: Folders that slices lie in; none = those of the index.
        host: Address to listen on.
        port: Port to listen on, 0 for any that is free.
        token: What whoever asks must know.
        allowed_hosts: Further names of this machine.
    """

    dicom_roots: Sequence[Path]
    host: str
    port: int
    token: str | None
    allowed_hosts: Sequence[str]

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < _LEAST_TOKEN:
            raise UsageError(f"--token has {len(self.token)} characters; at least {_LEAST_TOKEN} are needed")
        if self.token is None and not self.is_loopback:
            raise UsageError(
                f"--host {self.host}: other machines can reach this address, and an index holds patients' data; "
                "set a --token or NODULECLIP_SERVE_TOKEN, or listen on 127.0.0.1 and use an SSH tunnel"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def make_guarded_app(index: Index, encoder: SentenceEncoder, options: ServeOptions) -> Guard:
    """Make the application and set its guard before it.

    Raises:
        ArtefactError: The index is broken.
    """
    explorer = Explorer(index, encoder)
    hosts = {*LOOPBACK, options.host.lower(), *(name.lower() for name in options.allowed_hosts)}
    return Guard(make_app(explorer, SliceReader(index, options.dicom_roots)), frozenset(hosts), options.token)


def serve(index: Index, encoder: SentenceEncoder, options: ServeOptions, on_address: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Args:
        index: What to serve.
        encoder: Its text tower.
        options: How, and to whom.
        on_address: Told the address of the page once it can be opened.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    app = make_guarded_app(index, encoder, options)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", lifespan="off", http="h11",
        limit_concurrency=_REQUESTS_AT_ONCE, timeout_keep_alive=10, h11_max_incomplete_event_size=1 << 15,
        proxy_headers=False,
    )  # fmt: skip
    with _listen(options.host, options.port) as listener:
        shown = f"[{options.host}]" if ":" in options.host else options.host
        asked = "" if options.token is None else f"?{urlencode({TOKEN: options.token})}"
        on_address(f"http://{shown}:{listener.getsockname()[1]}/{asked}")
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio sends small answers at once only where the protocol is named; else each waits 40 ms.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise UsageError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror}); --port 0 takes a free one"
        ) from error
    return listener
