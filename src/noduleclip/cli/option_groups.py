"""Groups of options: a command takes a dataclass, and the command line has one option for each of its fields."""

import dataclasses
import functools
import inspect
import operator
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from noduleclip.setting import setting_of

Command = Callable[..., None]


def with_option_groups(command: Command) -> Command:
    """Replace every parameter annotated with a dataclass by the options of its fields; the command receives the object.

    A field is an option if its type is annotated with a `typer.Option`, or if it has a `Setting` with a panel.
    Fields that are dataclasses themselves are expanded, too.
    """
    parameters = inspect.signature(command).parameters.values()
    groups = {one.name: one.annotation for one in parameters if dataclasses.is_dataclass(one.annotation)}
    expanded: list[inspect.Parameter] = []
    for one in parameters:
        expanded += _list_options(groups[one.name]) if one.name in groups else [one]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        built = {name: _build(group, values) for name, group in groups.items()}
        command(**values, **built)

    keyword_only = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in expanded]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in keyword_only}
    return run


def _list_options(group: Any) -> Iterator[inspect.Parameter]:
    types = typing.get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        annotation, setting = types[field.name], setting_of(field)
        if dataclasses.is_dataclass(annotation):
            yield from _list_options(annotation)
            continue
        if setting is not None:
            if not setting.panel:
                continue
            option = typer.Option(setting.option, help=setting.help, rich_help_panel=setting.panel)
            annotation = operator.getitem(Annotated, (annotation, option))
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _build(group: Any, values: dict[str, Any]) -> Any:
    """Return an object of the group from option values, which are removed."""
    types, arguments = typing.get_type_hints(group), {}
    for field in dataclasses.fields(group):
        if dataclasses.is_dataclass(types[field.name]):
            arguments[field.name] = _build(types[field.name], values)
        elif field.name in values:
            arguments[field.name] = values.pop(field.name)
    return group(**arguments)
