"""Commands that are killed at a chosen point: before a file operation, at a byte of a write, or after some seconds.

`Killer` talks to a process that has all imports behind it and forks one child for each command. The child kills
itself at its n-th operation on a file below a folder, or is killed by the system when a file grows over n bytes,
whichever library writes it. Neither Polars nor torch has done anything in the forking process, so a fork is safe.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

WRITING = os.O_WRONLY | os.O_RDWR
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code; negative where a signal ended it.
        points: Operations on files that it got to.
        err: What it said.
    """

    code: int
    points: int
    err: str

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.code in (-signal.SIGKILL, -signal.SIGXFSZ)


class Killer:
    """Runs commands in children of one process that has done all imports."""

    def __init__(self, process: subprocess.Popen[str], scratch: Path) -> None:
        self._process, self._scratch = process, scratch

    def run(
        self, arguments: Sequence[object], below: Path, *, at_point: int | None = None, at_byte: int | None = None
    ) -> Ended:
        """Run a command.

        Args:
            arguments: What stands behind `noduleclip`.
            below: Folder whose files count.
            at_point: Kill it before this operation on a file, from 1.
            at_byte: Kill it when it writes a file beyond so many bytes.
        """
        job = {
            "arguments": [str(argument) for argument in arguments], "below": str(below), "at_point": at_point,
            "at_byte": at_byte, "err": str(self._scratch / "err"), "count": str(self._scratch / "count"),
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        count = (self._scratch / "count").read_text()
        return Ended(code, int(count or 0), (self._scratch / "err").read_text())


@contextlib.contextmanager
def forking(scratch: Path) -> Iterator[Killer]:
    """Start the process that forks; `scratch` is a folder of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield Killer(process, scratch)
        finally:
            process.kill()


def run_and_kill(arguments: Sequence[object], seconds: float) -> bool:
    """Run a command as a user does, and kill it after some seconds; say whether it was still there."""
    command = [sys.executable, "-m", "noduleclip", *(str(argument) for argument in arguments)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        process.wait()
        timer.cancel()
    return process.returncode == -signal.SIGKILL


def _watch(below: str, at_point: int | None, count: TextIO) -> None:
    """Count what the process does to files below a folder, and kill it before the operation `at_point`."""
    points = 0

    def reach() -> None:
        nonlocal points
        points += 1
        os.pwrite(count.fileno(), str(points).encode(), 0)
        if points == at_point:
            os.kill(os.getpid(), signal.SIGKILL)

    def concerns(path: object) -> bool:
        return isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith(below)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & WRITING and concerns(path):
                reach()
        elif event in CHANGES and (concerns(arguments[0]) or arguments[-1] not in (-1, None)):  # or below a descriptor
            reach()

    os.fsync = lambda fd: reach()  # it tells no audit hook; what a killed process wrote is there without it
    sys.addaudithook(hear)


def _be_the_command(job: dict[str, Any]) -> None:
    """Be the command; never come back."""
    from noduleclip.cli import main

    code = 1
    try:
        quiet = os.open(os.devnull, os.O_RDWR)
        os.dup2(quiet, 1)
        err = Path(job["err"]).open("w")  # noqa: SIM115
        os.dup2(quiet if job["at_byte"] is not None else err.fileno(), 2)
        count = Path(job["count"]).open("w")  # noqa: SIM115
        if job["at_byte"] is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it: writes fail instead
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (job["at_byte"],) * 2)
        else:
            _watch(job["below"], job["at_point"], count)
        main(job["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    """Fork a child for each line of stdin, and print how it ended."""

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _be_the_command(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
