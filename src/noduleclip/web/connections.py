"""HTTP connections with time limits: uvicorn's protocol waits without end for a request that never arrives.

A connection has one request at a time, so that the limit of connections bounds the requests that wait for their turn.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from noduleclip.web.guard import HEADERS

HEAD_SECONDS = 10.0  # for a whole request head, and between two requests of a connection
STALL_SECONDS = 20.0  # in which a client has to take LEAST_BYTES of an answer that waits for it
LEAST_BYTES = 1 << 14
MOST_CONNECTIONS = 128  # far below the 256 open files that some systems allow a process
MOST_AHEAD = 1 << 15  # bytes of further requests while one is answered
_NUMBERS = itertools.count()


class LimitedProtocol(H11Protocol):
    """One connection of the server, which ends where the client keeps it waiting.

    A connection is *waiting* from its first byte or its last answer until a whole request head has arrived. It may wait
    for `HEAD_SECONDS`, however many bytes drip in, and it is the first to go where there are too many connections. An
    answer that the client does not read is given up, too.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._timer: asyncio.TimerHandle | None = None
        self._head_begun = self._aborted = False
        self._unsent = 0
        self._number = next(_NUMBERS)

    @property
    def is_waiting(self) -> bool:
        """Whether no request of this connection is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer, and make room by ending the oldest connection: one that is waiting, if there is any."""
        super().connection_made(transport)
        self._restart(HEAD_SECONDS, self.abort)
        held = [one for one in self.connections if isinstance(one, LimitedProtocol) and not one._aborted]
        if len(held) > MOST_CONNECTIONS:
            others = [one for one in held if one is not self]
            waiting = [one for one in others if one.is_waiting]
            min(waiting or others, key=lambda one: one._number).abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read bytes; the first ones after an answer start the time of a request head anew, later ones do not."""
        if self.is_waiting and not self._head_begun:
            self._head_begun = True
            self._restart(HEAD_SECONDS, self.abort)
        super().data_received(data)

    def handle_events(self) -> None:
        """Handle what has arrived; a whole request head replaces the timer of waiting by that of answering."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._head_begun = False
            self._number = next(_NUMBERS)
            if not self.cycle.response_complete:
                self._watch_answer()
        self._read_on()

    def on_response_complete(self) -> None:
        """Wait for the next request, once the client has taken this answer."""
        super().on_response_complete()
        self._unset_keepalive_if_required()  # it would let data that drip in hold the connection
        if self.is_waiting:
            self._watch_answer()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, with the headers of every answer, and close the connection."""
        headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
        headers += [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        body = msg.encode("ascii", "replace")
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def abort(self) -> None:
        """Close the connection at once, dropping unsent data."""
        self._stop()
        self._aborted = True
        self.transport.abort()

    def _read_on(self) -> None:
        """Keep reading while a request is answered; otherwise a client that disconnects is not noticed."""
        if self.is_waiting or self.conn.their_state is not h11.DONE or self.transport.is_closing():
            return
        if len(self.conn.trailing_data[0]) > MOST_AHEAD:
            self.abort()
        else:
            self.flow.resume_reading()

    def _watch_answer(self) -> None:
        self._unsent = 0
        self._check_answer()

    def _check_answer(self) -> None:
        """Abort an answer of which too little was read since the last check; after a whole one, wait for a request."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and self._unsent and unsent > self._unsent - LEAST_BYTES:
            self.abort()
        elif unsent or not self.is_waiting:
            self._unsent = unsent
            self._restart(STALL_SECONDS, self._check_answer)
        else:
            self._restart(HEAD_SECONDS, self.abort)

    def _restart(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop()
        self._timer = self.loop.call_later(seconds, then)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
