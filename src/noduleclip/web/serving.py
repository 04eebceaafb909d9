"""The server of the explorer: its options, its address, its guard."""

import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

import uvicorn
from starlette.types import ASGIApp

from noduleclip.errors import UsageError
from noduleclip.web.app import make_app
from noduleclip.web.connections import LimitedProtocol
from noduleclip.web.guard import TOKEN, Guard
from noduleclip.web.opened import Opened

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LEAST_TOKEN, _LEAST_DISTINCT = 16, 8


@dataclass(frozen=True)
class ServeOptions:
    """How to serve, and to whom.

    Attributes:
        host: Address to listen on.
        port: Port to listen on, 0 for any that is free.
        token: Secret that a request must have.
        allowed_hosts: Further names of this machine.
    """

    host: str
    port: int
    token: str | None
    allowed_hosts: Sequence[str]

    def __post_init__(self) -> None:
        if self.token is not None:
            _check_token(self.token)
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


def _check_token(token: str) -> None:
    """Refuse a token that is easily guessed, or that a browser's address or a header cannot hold as it is.

    Raises:
        UsageError: Names what is wrong with it; the token itself is not shown.
    """
    length, distinct = len(token.strip()), len(set(token))
    if length < _LEAST_TOKEN:
        raise UsageError(f"--token has {length} characters; at least {_LEAST_TOKEN} are needed, no blanks counted")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("--token may hold letters, digits and signs of ASCII; make one with: openssl rand -hex 16")
    if distinct < _LEAST_DISTINCT:
        raise UsageError(
            f"--token has {distinct} different characters, at least {_LEAST_DISTINCT} are needed; "
            "make one with: openssl rand -hex 16"
        )


def make_guarded_app(opened: Opened, reopen: Callable[[], Opened], options: ServeOptions) -> Guard:
    """Return the application behind its guard.

    Args:
        opened: The index.
        reopen: Opens the index that now lies at the same place; called when a page asks for it.
        options: How to serve, and to whom.
    """
    hosts = {*LOOPBACK, options.host.lower(), *(name.lower() for name in options.allowed_hosts)}
    return Guard(make_app(opened, reopen), frozenset(hosts), options.token)


def serve(
    opened: Opened, reopen: Callable[[], Opened], options: ServeOptions, on_address: Callable[[str], None]
) -> None:
    """Serve until interrupted.

    Args:
        opened: The index.
        reopen: Opens the index that now lies at the same place.
        options: How to serve, and to whom.
        on_address: Called with the address of the page once it can be opened.

    Raises:
        NoduleclipError: Anything that a user can cause.
    """
    app = make_guarded_app(opened, reopen, options)
    with _listen(options.host, options.port) as listener:
        shown = f"[{options.host}]" if ":" in options.host else options.host
        asked = "" if options.token is None else f"?{urlencode({TOKEN: options.token})}"
        on_address(f"http://{shown}:{listener.getsockname()[1]}/{asked}")
        make_server(app).run(sockets=[listener])


def make_server(app: ASGIApp) -> uvicorn.Server:
    """Make the server of an application, whose connections end where a client keeps them waiting."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", lifespan="off", proxy_headers=False,
        http=LimitedProtocol, h11_max_incomplete_event_size=1 << 15,
    )  # fmt: skip
    return uvicorn.Server(config)


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
    except ValueError as error:  # the codec of host names: an empty label, or one of more than 63 characters
        raise UsageError(
            f"--host {host}: this is no host name; its parts between dots have 1 to 63 characters"
        ) from error
    return listener
