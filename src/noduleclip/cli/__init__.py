"""The command line. `main` is the only place where an error becomes a message and an exit code."""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import typer

from noduleclip.cli.commands import NAMES, build_commands
from noduleclip.cli.interrupts import is_from_interrupt, reraise_interrupts
from noduleclip.errors import NoduleclipError, UsageError, make_printable
from noduleclip.machine import find_process_info

_INTERRUPTED = 130


class _WholeWrites(io.FileIO):
    """An unbuffered stream that takes all of a write or raises; a text stream drops what the system does not take."""

    def write(self, data: Any, /) -> int:
        """Write all bytes, part by part as the system takes them.

        Raises:
            OSError: They cannot be written.
        """
        left = memoryview(data).cast("B")
        size = len(left)
        while len(left):
            left = left[super().write(left) or 0 :]
        return size


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: the entry point of the console script.

    Args:
        arguments: What stands behind the command; None = the arguments of this process.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started the process
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        if isinstance(stream, io.TextIOWrapper):
            if isinstance(stream.buffer, io.RawIOBase) and not stream.isatty():  # PYTHONUNBUFFERED
                raw = _WholeWrites(stream.fileno(), "wb", closefd=False)
                stream = io.TextIOWrapper(raw, encoding=stream.encoding, write_through=True)
                setattr(sys, name, stream)
            stream.reconfigure(errors="replace")  # a console of few characters shows a ? for the others
    command_line = sys.argv[1:] if arguments is None else arguments
    try:
        _check_environment()
        with reraise_interrupts():
            only = next((name for name in command_line[:1] if name in NAMES), None)
            code = build_commands(only)(arguments, prog_name="noduleclip", standalone_mode=False)
    except NoduleclipError as error:
        _end(str(error), error.exit_code, command_line, error)
    except typer.TyperException as error:
        _end(error.format_message(), error.exit_code, command_line, error)
    except OSError as error:
        _end(_describe_system_error(error), 3, command_line, error)
    except KeyboardInterrupt:  # while Typer puts the commands together; later ones it makes an exit code of
        code = _INTERRUPTED
    except ImportError as error:
        if not is_from_interrupt(error):
            raise
        code = _INTERRUPTED
    except MemoryError as error:
        _end("the memory is used up; try fewer --workers, a smaller --bs, or --max-pixels", 3, command_line, error)
    if code == _INTERRUPTED:
        kept = "what was finished is kept, and the same command goes on from there (train: --resume)"
        _end(f"interrupted; {kept}", code, command_line)
    sys.exit(code if isinstance(code, int) else 0)


def _check_environment() -> None:
    """Check the variables on which a library ends the process with its own error.

    Raises:
        UsageError: One of them has a value that the library does not take.
    """
    threads = os.environ.get("POLARS_MAX_THREADS", "1")
    if not threads.isdecimal() or int(threads) == 0:
        raise UsageError(f"the environment has POLARS_MAX_THREADS={threads}; a number from 1 is needed")


def _describe_system_error(error: OSError) -> str:
    try:
        Path.cwd()
    except OSError:
        return "the working folder is no longer there; change to another one"
    return f"{error.filename or 'the output'}: {error.strerror or error}"


def _end(message: str, code: int, command_line: Sequence[str], error: Exception | None = None) -> NoReturn:
    if message.strip() and not _is_repeated(error, command_line):
        sys.stderr.write(f"error: {make_printable(' '.join(message.split()))}\n")
    sys.exit(code)


def _is_repeated(error: Exception | None, command_line: Sequence[str]) -> bool:
    """Return whether the first training process of this machine reports the same error.

    It does unless the error was raised while the processes were connected: `init_process_group` adds a note then.
    Commands other than `train` are independent: each task of a Slurm step may embed its own shard.
    """
    is_individual = hasattr(error, "__notes__")
    if list(command_line[:1]) != ["train"] or is_individual:
        return False
    try:
        return find_process_info().local_rank > 0
    except UsageError:
        return False
