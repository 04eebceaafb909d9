"""The commands of the command line, as Typer made them."""

from typing import Any

from noduleclip.cli.commands import build_commands


def find_command(*names: str) -> Any:
    """Return a command by its names: "prepare", "lidc"."""
    command = build_commands()
    for name in names:
        command = command.commands[name]
    return command


def list_commands() -> list[tuple[str, ...]]:
    """Return the names of every command."""
    single = [(name,) for name in build_commands().commands if name != "prepare"]
    return [*single, *(("prepare", name) for name in find_command("prepare").commands)]
