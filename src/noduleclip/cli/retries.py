"""Retry of commands whose index is replaced by another process while they read it."""

from collections.abc import Callable

from noduleclip.errors import IndexReplacedError
from noduleclip.report.console import log_info

_TRIES = 5


def retry_replaced(run: Callable[[], None]) -> None:
    """Run a command, and again if the index that it reads was replaced meanwhile.

    Args:
        run: Opens the index and reads all it needs before it prints anything.

    Raises:
        IndexReplacedError: The index was replaced during every try.
    """
    for _ in range(_TRIES - 1):
        try:
            run()
        except IndexReplacedError:
            log_info("note: the index was replaced meanwhile; reading the new one")
        else:
            return
    run()
