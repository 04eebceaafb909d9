"""Commands that several processes run together: one speaks, and when one ends early all do, with its exit code."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from noduleclip.errors import NoduleclipError, UsageError
from noduleclip.machine import find_launch
from noduleclip.report.console import silence

if TYPE_CHECKING:
    from noduleclip.engine.distributed import Team

_INTERRUPTED = 130
_has_met_the_others = False


def is_echo(command_line: Sequence[str]) -> bool:
    """Return whether the first process of the machine reports the same error: all parse one command line.

    Other commands than `train` know of no others: each task of a step may well embed a shard of its own.
    """
    if _has_met_the_others or list(command_line[:1]) != ["train"]:
        return False
    try:
        return find_launch().local_rank > 0
    except UsageError:  # who is the first is not known
        return False


def leave_process(code: int) -> NoReturn:
    """End this process; one that has met others without Python's own shutdown.

    In that, gloo's threads may outlive what they belong to, and the process aborts after all is done.
    """
    if _has_met_the_others:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


@contextlib.contextmanager
def joining() -> Iterator["Team | None"]:
    """Meet the processes that a launcher has started beside this one; they end together.

    Yields:
        The team; None where this process is alone, which costs no import of torch.

    Raises:
        UsageError: The launcher's environment is no whole one, or the others cannot be met.
    """
    global _has_met_the_others
    launch = find_launch()
    if launch.size == 1:
        yield None
        return
    if launch.rank:
        silence()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else torch shows its stack when a connection breaks
    from noduleclip.engine.distributed import PeerEndedError, join

    team = join(launch)
    _has_met_the_others = True
    try:
        yield team
        team.share(lambda: None)  # until the leader has written all, it may still fail
    except BaseException as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a launcher sends Ctrl-C again
        told = team.explain(error)
        try:
            if isinstance(told, PeerEndedError):
                raise told
            team.end(_find_code(told))
        except PeerEndedError as end:
            team.hear()
            leave_process(end.code)
        if told is not error:
            raise told from error
        raise
    team.leave()


def _find_code(error: BaseException) -> int:
    """Return the exit code that `main` gives an error."""
    if isinstance(error, NoduleclipError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    return 3 if isinstance(error, OSError | MemoryError) else 1
