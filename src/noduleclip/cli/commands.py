"""The commands, put together from their modules: all of them for help and completion, one of them to run it."""

import functools
import importlib
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer

from noduleclip import __version__
from noduleclip.cli.help_pages import HelpCommand, HelpGroup, show_all
from noduleclip.cli.settings import with_settings

_PREPARE: Final = "prepare"
_PREPARE_PANEL: Final = "Prepare data"
_PANELS: Final[dict[str, tuple[str, ...]]] = {
    "Try": ("demo", "doctor"),
    _PREPARE_PANEL: ("check", "phantom"),
    "Search": ("embed", "query", "fuse", "describe", "serve"),
    "Train and evaluate": ("split", "train", "evaluate"),
    "Maintain": ("merge", "verify"),
}
NAMES: Final = (_PREPARE, *(name for names in _PANELS.values() for name in names))
"""All commands; `prepare` is a group with one for each source."""
_SOURCES: Final = {
    "lidc": "prepare_commands",
    "pylidc": "prepare_commands",
    "luna16": "prepare_sphere_commands",
    "csv": "prepare_sphere_commands",
    "monai": "prepare_sphere_commands",
    "masks": "prepare_mask_commands",
    "rtstruct": "prepare_mask_commands",
    "nndetection": "prepare_sphere_commands",
    "seg": "prepare_commands",
    "sr": "prepare_commands",
}
"""Sources of `prepare`, with the module of each."""

_GroupHelpAll = Annotated[
    bool,
    typer.Option("--help-all", help="Show all commands and exit.", callback=show_all, is_eager=True, show_envvar=False),
]


@functools.cache
def build_commands(only: str | None = None) -> Any:
    """Return the group of the commands, put together once in a process.

    Args:
        only: One of `NAMES`, to put together no other, which saves a fifth of the time of a query.
    """
    app = typer.Typer(
        name="noduleclip",
        cls=HelpGroup,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_show_version)
    for panel, names in _PANELS.items():
        for name in names:
            if only in (None, name):
                _add(app, name, _load(f"{name}_command", name), panel)
    if only in (None, _PREPARE):
        prepare = typer.Typer(name=_PREPARE, cls=HelpGroup, no_args_is_help=True)
        prepare.callback()(_show_sources)
        for source, module in _SOURCES.items():
            _add(prepare, source, _load(module, f"{_PREPARE}_{source}"))
        app.add_typer(prepare, rich_help_panel=_PREPARE_PANEL)
    return typer.main.get_command(app)


def _load(module: str, function: str) -> Callable[..., None]:
    command: Callable[..., None] = getattr(importlib.import_module(f"noduleclip.cli.{module}"), function)
    return command


def _add(group: typer.Typer, name: str, command: Callable[..., None], panel: str | None = None) -> None:
    # The prefix is the commands' alone: NODULECLIP_VERSION, say, is no setting.
    settings = {"auto_envvar_prefix": f"NODULECLIP_{command.__name__.upper()}"}
    group.command(name, cls=HelpCommand, context_settings=settings, rich_help_panel=panel)(with_settings(command))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"noduleclip {__version__}")
        raise typer.Exit


def _show_version(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True),
    ] = False,
    help_all: _GroupHelpAll = False,
) -> None:
    """Search lung-nodule CT by words. A research tool, not a medical device."""


def _show_sources(*, help_all: _GroupHelpAll = False) -> None:
    """Make the ROI table from a collection as it was published."""
