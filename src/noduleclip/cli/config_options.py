"""Command-line options from configuration fields: each option has its name, help and default in `config` only."""

import dataclasses
import functools
import inspect
import operator
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from noduleclip.config import setting_of

Command = Callable[..., None]


def with_config_options(command: Command) -> Command:
    """Replace every parameter annotated with a configuration by the options of its fields.

    The command receives the configuration; `--help`, TOML keys and environment variables have the options.

    Raises:
        ConfigError: By the command, if a value is outside its range.
    """
    parameters = inspect.signature(command).parameters.values()
    configs = {one.name: one.annotation for one in parameters if dataclasses.is_dataclass(one.annotation)}
    expanded: list[inspect.Parameter] = []
    for one in parameters:
        expanded += _list_options(configs[one.name]) if one.name in configs else [one]

    @functools.wraps(command)
    def run(**options: Any) -> None:
        built = {name: _build(config, options) for name, config in configs.items()}
        command(**options, **built)

    keyword_only = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in expanded]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in keyword_only}
    return run


def _list_options(config: Any) -> Iterator[inspect.Parameter]:
    types = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        setting = setting_of(field)
        if setting is None:
            yield from _list_options(types[field.name])
        elif setting.panel:
            option = typer.Option(setting.option, help=setting.help, rich_help_panel=setting.panel)
            yield inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=operator.getitem(Annotated, (types[field.name], option)),
            )


def _build(config: Any, options: dict[str, Any]) -> Any:
    """Return a configuration from the options, which are removed."""
    types, values = typing.get_type_hints(config), {}
    for field in dataclasses.fields(config):
        if setting_of(field) is None:
            values[field.name] = _build(types[field.name], options)
        elif field.name in options:
            values[field.name] = options.pop(field.name)
    return config(**values)
