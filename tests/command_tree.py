"""The commands of the command line, as Typer made them."""

from typing import Any

import typer

from noduleclip.cli import app


def find_command(*names: str) -> Any:
    """Return a command by its names: "prepare", "lidc"."""
    command: Any = typer.main.get_command(app)
    for name in names:
        command = command.commands[name]
    return command


def list_commands() -> list[tuple[str, ...]]:
    """Return the names of every command."""
    commands: Any = typer.main.get_command(app)
    single = [(name,) for name in commands.commands if name != "prepare"]
    return [*single, *(("prepare", name) for name in find_command("prepare").commands)]
