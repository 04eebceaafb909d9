"""Ctrl-C in places where Python or a library drops it."""

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
    """Raise interrupts again that Python drops in the block.

    Python prints and drops a KeyboardInterrupt in a finalizer or a callback, as many run while modules are imported:
    the command would go on. The interrupt is sent again a moment later, as one sent from the hook would be lost, too.
    """
    previous = sys.unraisablehook

    def repeat_interrupt(lost: Any) -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            previous(lost)
            return
        timer = threading.Timer(_SOON_SECONDS, _interrupt_main)
        timer.daemon = True
        timer.start()

    sys.unraisablehook = repeat_interrupt
    try:
        yield
    finally:
        sys.unraisablehook = previous


def _interrupt_main() -> None:
    """Send SIGINT to the main thread, which wakes it; Windows can only set its flag."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def is_from_interrupt(error: BaseException | None) -> bool:
    """Return whether a library turned Ctrl-C into this error, as ONNX Runtime does while it is imported."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
