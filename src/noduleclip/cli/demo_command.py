"""`noduleclip demo`."""

import contextlib
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from noduleclip.cli import options
from noduleclip.cli.embed_command import embed
from noduleclip.cli.evaluate_command import evaluate
from noduleclip.cli.fuse_command import fuse
from noduleclip.cli.phantom_command import Patients, phantom
from noduleclip.cli.positions import Position, list_positionals
from noduleclip.cli.query_command import query
from noduleclip.cli.split_command import split
from noduleclip.cli.train_command import train
from noduleclip.errors import make_printable
from noduleclip.machine import require_training_libraries

if TYPE_CHECKING:
    from noduleclip.workflows.demo import DemoStep

_COMMANDS: dict[str, Callable[..., None]] = {
    command.__name__: command for command in (phantom, split, train, embed, query, fuse, evaluate)
}
_OPTIONS = {"output_format": "format"}  # by the parameter's name, where the option has another


def demo(
    out: Annotated[
        Path,
        typer.Option(help="Folder for everything that the demo makes.", rich_help_panel=options.OUTPUT),
        Position("OUT"),
    ] = Path("noduleclip-demo"),
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Make the phantoms and stop.", rich_help_panel=options.OUTPUT)
    ] = False,
    patients: Patients = 90,
    epochs: Annotated[
        int,
        typer.Option(min=1, help="Passes over the training nodules.", rich_help_panel=options.OPTIMISATION),
    ] = 50,
    device: options.DeviceName = "auto",
    workers: options.Workers = "auto",
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", help="Print the command of each step, and all that it prints.", rich_help_panel=options.OUTPUT
        ),
    ] = False,
) -> None:
    """Run every step on phantoms: split, train, embed, evaluate, fuse, query. Minutes on a laptop, no network.

    Example: noduleclip demo /tmp/demo
    """  # fmt: skip
    from noduleclip.report.console import CONSOLE, data_console, hide_messages, log_info, log_progress, message_console
    from noduleclip.workflows.command_lines import format_command
    from noduleclip.workflows.demo import DemoRequest, demo_lock, list_steps

    request = DemoRequest(
        out=out, data_only=data_only, patients=patients, epochs=epochs, device=device, workers=workers, seed=seed,
        overwrite=overwrite,
    )  # fmt: skip
    if not data_only:
        require_training_libraries("demo without --data-only")
    with demo_lock(request, CONSOLE):
        for step in list_steps(request, preview=data_console().is_terminal):
            started = time.perf_counter()
            is_shown = step.describe is None
            if verbose:
                line = make_printable(_format_step(step))
                message_console().print(f"\n$ {line}", style="bold", markup=False, soft_wrap=True)
            elif is_shown:
                log_info("")
            elif message_console().is_terminal:
                message_console().print(f"{step.command} …", end="\r")  # until the step has a bar, or ends
            else:
                log_progress(f"{step.command} …")
            with contextlib.nullcontext() if verbose else hide_messages(data=not is_shown):
                _COMMANDS[step.command](**step.arguments)
            if step.describe is not None and not verbose:
                log_info(f"{step.command}: {step.describe()} … {time.perf_counter() - started:.1f} s")
    if data_only:
        log_info(f"The table of the phantoms: {request.roi_csv}")
        return
    for line in (
        "",
        f"Pages: {request.hits_page} (hits), {request.training_page}, {request.evaluation_page}",
        f"Next:  {format_command('serve', [request.index])}",
        f"       {format_command('query', [request.index, 'a small solid nodule'])}",
        "These are phantoms: the figures do not hold for real nodules. The patients ranked were not trained on.",
    ):
        log_info(line)


def _format_step(step: "DemoStep") -> str:
    """Return the command line that does the same."""
    from noduleclip.workflows.command_lines import format_command

    positionals = list_positionals(inspect.signature(_COMMANDS[step.command]).parameters)
    rest = dict(step.arguments)
    positions = [rest.pop(one.setting) for one in positionals if one.setting in rest]
    options = {f"--{_OPTIONS.get(name, name).replace('_', '-')}": value for name, value in rest.items()}
    return format_command(step.command, positions, options)
