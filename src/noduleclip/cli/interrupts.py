"""Ctrl-C wherever it comes."""

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

_SOON_SECONDS: Final = 0.02


@contextlib.contextmanager
def reraise_interrupts() -> Iterator[None]:
    """Raise interrupts again that Python swallows in the block.

    Python prints and drops one that comes while an object is finalised or a callback runs, as many do while modules
    are imported. Here it is raised again a moment later.
    """
    told = sys.unraisablehook

    def hear(lost: Any) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            told(lost)
            return
        again = threading.Timer(_SOON_SECONDS, _interrupt_main)  # at once it would be lost in this call, too
        again.daemon = True
        again.start()

    sys.unraisablehook = hear
    try:
        yield
    finally:
        sys.unraisablehook = told


def _interrupt_main() -> None:
    """Send the main thread the signal, which wakes it from what it waits for; Windows can only leave it word."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def comes_of_an_interrupt(error: BaseException | None) -> bool:
    """Return whether an error is what a library made of Ctrl-C, as ONNX Runtime does while it is imported."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
