"""The command line. `main` is the only place where an error becomes a message and an exit code."""

import functools
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from noduleclip import __version__
from noduleclip.cli.check_command import check
from noduleclip.cli.demo_command import demo
from noduleclip.cli.describe_command import describe
from noduleclip.cli.doctor_command import doctor
from noduleclip.cli.embed_command import embed
from noduleclip.cli.evaluate_command import evaluate
from noduleclip.cli.fuse_command import fuse
from noduleclip.cli.help_pages import HelpCommand, HelpGroup, show_all
from noduleclip.cli.interrupts import is_from_interrupt, reraise_interrupts
from noduleclip.cli.merge_command import merge
from noduleclip.cli.phantom_command import phantom
from noduleclip.cli.prepare_commands import prepare_lidc, prepare_pylidc, prepare_seg, prepare_sr
from noduleclip.cli.prepare_mask_commands import prepare_masks, prepare_rtstruct
from noduleclip.cli.prepare_sphere_commands import prepare_csv, prepare_luna16, prepare_monai, prepare_nndetection
from noduleclip.cli.query_command import query
from noduleclip.cli.serve_command import serve
from noduleclip.cli.settings import with_settings
from noduleclip.cli.split_command import split
from noduleclip.cli.train_command import train
from noduleclip.cli.verify_command import verify
from noduleclip.errors import NoduleclipError, UsageError, make_printable
from noduleclip.machine import find_process_info

_INTERRUPTED = 130

GroupHelpAll = Annotated[
    bool,
    typer.Option("--help-all", help="Show all commands and exit.", callback=show_all, is_eager=True, show_envvar=False),
]
_PREPARE_PANEL = "Prepare data"
_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Try": (demo, doctor),
    _PREPARE_PANEL: (check, phantom),
    "Search": (embed, query, fuse, describe, serve),
    "Train and evaluate": (split, train, evaluate),
    "Maintain": (merge, verify),
}

app = typer.Typer(
    name="noduleclip",
    cls=HelpGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for panel, commands in _PANELS.items():
    for command in commands:
        # The prefix is the commands' alone: NODULECLIP_VERSION, say, is no setting.
        prefix = f"NODULECLIP_{command.__name__.upper()}"
        app.command(cls=HelpCommand, context_settings={"auto_envvar_prefix": prefix}, rich_help_panel=panel)(
            with_settings(command)
        )
prepare = typer.Typer(name="prepare", cls=HelpGroup, no_args_is_help=True)


@prepare.callback()
def show_sources(*, help_all: GroupHelpAll = False) -> None:
    """Make the ROI table from a collection as it was published."""


for importer in (
    prepare_lidc,
    prepare_pylidc,
    prepare_luna16,
    prepare_csv,
    prepare_monai,
    prepare_masks,
    prepare_rtstruct,
    prepare_nndetection,
    prepare_seg,
    prepare_sr,
):
    prepare.command(
        importer.__name__.removeprefix("prepare_"),
        cls=HelpCommand,
        context_settings={"auto_envvar_prefix": f"NODULECLIP_{importer.__name__.upper()}"},
    )(with_settings(importer))
app.add_typer(prepare, rich_help_panel=_PREPARE_PANEL)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"noduleclip {__version__}")
        raise typer.Exit


@app.callback()
def show_version(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True),
    ] = False,
    help_all: GroupHelpAll = False,
) -> None:
    """Search lung-nodule CT by words. A research tool, not a medical device."""


@functools.cache
def build_commands() -> Any:
    """Return the group of all commands, put together once in a process: that takes a twentieth of a second."""
    return typer.main.get_command(app)


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
            code = build_commands()(arguments, prog_name="noduleclip", standalone_mode=False)
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
