"""Arguments by position beside the options: `query INDEX SENTENCE` for `query --emb-dir INDEX --query SENTENCE`.

An option marked with a `Position` becomes an argument, too; `with_settings` adds the arguments and merges the values.
"""

import inspect
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from noduleclip.errors import UsageError

SENTENCE = "SENTENCE"
_SUFFIX = "_argument"
_NEEDS_QUOTES = "a sentence of several words needs quotes"


@dataclass(frozen=True)
class Position:
    """Mark, in the annotation of an option, that its value may also be given by position.

    Arguments stand in the order of the parameters of the command.

    Attributes:
        metavar: What the help calls the argument, such as INDEX.
    """

    metavar: str


@dataclass(frozen=True)
class Positional:
    """An option of a command that may be given by position.

    Attributes:
        setting: Name of the option's parameter, such as emb_dir.
        option: Name of the option, such as --emb-dir.
        metavar: What the help calls the argument.
        required: Whether the command needs it, in one of the two ways.
    """

    setting: str
    option: str
    metavar: str
    required: bool

    @property
    def argument(self) -> str:
        """Name of the argument's parameter."""
        return self.setting + _SUFFIX


def list_positionals(parameters: Mapping[str, inspect.Parameter]) -> list[Positional]:
    """Return the options that may be given by position, in order.

    Args:
        parameters: Parameters of the command by the name of their option.
    """
    found = []
    for setting, parameter in parameters.items():
        for mark in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(mark, Position):
                option = f"--{setting.replace('_', '-')}"
                required = parameter.default is inspect.Parameter.empty
                found.append(Positional(setting, option, mark.metavar, required))
    return found


def make_arguments(
    positionals: list[Positional], parameters: Mapping[str, inspect.Parameter]
) -> Iterator[inspect.Parameter]:
    """Yield the parameter of each argument."""
    for one in positionals:
        kind = parameters[one.setting].annotation.__args__[0]
        argument = typer.Argument(metavar=one.metavar, help=f"The same as {one.option}.", show_default=False)
        annotation = operator.getitem(Annotated, (kind | None, argument))
        yield inspect.Parameter(one.argument, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def make_optional(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return the parameter of an option that may be left out because there is an argument."""
    if parameter.default is not inspect.Parameter.empty:
        return parameter
    kind, marks = parameter.annotation.__args__[0], parameter.annotation.__metadata__
    return parameter.replace(default=None, annotation=operator.getitem(Annotated, (kind | None, *marks)))


def merge_positions(context: typer.Context, positionals: list[Positional], options: dict[str, Any]) -> None:
    """Move the values given by position to their options; a setting of a file or the environment gives way to them.

    Raises:
        UsageError: A value is given in both ways and differs, or in none though the command needs it.
    """
    sentences = [
        options[name] for one in positionals if one.metavar == SENTENCE for name in (one.argument, one.setting)
    ]
    is_split = any(sentence is not None and " " not in sentence for sentence in sentences)
    for one in positionals:
        value, by_option = options.pop(one.argument), options[one.setting]
        source = context.get_parameter_source(one.setting)
        is_typed = source is not None and source.name == "COMMANDLINE"
        if value is not None and is_typed and value != by_option:
            raise UsageError(
                f"{one.metavar} is {str(value)!r}, but {one.option} is {str(by_option)!r}; give one of them"
                + (f"; {_NEEDS_QUOTES}" if is_split else "")
            )
        if value is not None:
            options[one.setting] = value
        elif one.required and by_option is None:
            raise UsageError(f"{one.metavar} is missing: give it by position, or with {one.option} {one.metavar}")


def describe_extra(context: typer.Context, positionals: Sequence[Positional], typed: Sequence[str]) -> str:
    """Return a message about words that no argument takes: the rest of a sentence without quotes, or a mistake.

    Args:
        context: The parsed command line, with these words as `args`.
        positionals: What the command takes by position.
        typed: All words behind the command.
    """
    if not positionals or positionals[-1].metavar != SENTENCE:
        taken = " ".join(one.metavar for one in positionals)
        return f"unexpected argument {context.args[0]!r}; {context.command_path} takes {taken or 'only options'}"
    from noduleclip.workflows.command_lines import quote_words

    words = [str(context.params[positionals[-1].argument]), *context.args]
    starts = [at for at in range(len(typed)) if list(typed[at : at + len(words)]) == words]
    joined = [" ".join(words)]
    line = [*typed[: starts[0]], *joined, *typed[starts[0] + len(words) :]] if starts else joined
    command = f"{context.command_path} {quote_words(line)}" if starts else quote_words(line)
    return f"{_NEEDS_QUOTES}: {command}; without them the shell takes > and < for itself"
