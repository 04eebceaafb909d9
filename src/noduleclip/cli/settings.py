"""Arguments and options > `NODULECLIP_*` environment > `--config FILE` > defaults, for every command alike.

`with_settings` adds `--config` and `--print-config` to a command; Typer itself does the precedence.
"""

import functools
import inspect
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from typer.models import OptionInfo

from noduleclip import schema
from noduleclip.cli.help_pages import show_all
from noduleclip.cli.options import OUTPUT
from noduleclip.cli.positions import list_positionals, make_arguments, make_optional, merge_positions
from noduleclip.errors import ConfigError

SETTINGS_PANEL = "Settings"
_MAX_BYTES = 1 << 20
_MAX_ITEMS = 10_000
# tomllib keeps every prefix of a dotted key: 6 GB for one of 40,000 parts. Names of settings have one part; an unquoted
# number or date has two.
_MAX_KEY_PARTS = 4
_TOML_TOKEN = re.compile(
    r"""\"\"\"(?:[^"\\]|\\.|"(?!""))*+(?:\"\"\")?|\'\'\'(?:[^']|'(?!''))*+(?:\'\'\')?"""
    r"""|"(?:[^"\\\n]|\\.)*+"?|'[^'\n]*+'?|\#[^\n]*+|[\w-]++|[ \t]++|.""",
    re.DOTALL,
)
_OWN = ("config", "print_config", "help_all")
_WRITTEN = ("out_dir", "cache_dir")  # merge reads what embed wrote there, too
_UNUSUAL = re.compile(r"[^ -~]")
_FORMER_NAMES = {"output_format": "format"}

Command = TypeVar("Command", bound=Callable[..., None])


def _load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Use the values of the file as defaults of the command.

    Raises:
        ConfigError: A key is not an option of the command.
    """
    if path is None or context.resilient_parsing:
        return path
    use_settings(context, _read_config(path), path)
    return path


def use_settings(context: typer.Context, values: Mapping[str, Any], path: Path) -> None:
    """Use settings of a file as defaults of the command.

    Raises:
        ConfigError: A key is not an option of the command.
    """
    settings = (one for one in context.command.params if one.param_type_name == "option")
    known = {str(parameter.name) for parameter in settings} - set(_OWN)
    defaults = {_name_key(key): value for key, value in values.items() if value is not None}
    unknown = sorted(set(defaults) - known)
    if unknown:
        raise ConfigError(f"{path}: unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
    typed = {key: _as_typed(value, key, path) for key, value in defaults.items()}
    context.default_map = {**(context.default_map or {}), **typed}


def _name_key(key: str) -> str:
    name = key.replace("-", "_")
    return _FORMER_NAMES.get(name, name)


def _as_typed(value: Any, key: str, path: Path) -> Any:
    """Return a value as command-line text, or a list of texts for an option that may be repeated."""
    texts = []
    if isinstance(value, list) and len(value) > _MAX_ITEMS:
        raise ConfigError(f"{path}: setting {key!r} is a list of {len(value):,}, at most {_MAX_ITEMS:,} are read")
    for item in value if isinstance(value, list) else [value]:
        text = str(item).lower() if isinstance(item, bool) else str(item)
        if not isinstance(item, str | int | float) or "\0" in text or not _is_unicode(text):
            raise ConfigError(
                f"{path}: setting {key!r} is {item!r}; allowed are texts, numbers, true, false, or a list"
            )
        texts.append(text)
    return texts if isinstance(value, list) else texts[0]


def _is_unicode(text: str) -> bool:
    try:
        return bool(text.encode()) or not text
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _read_config(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ConfigError(f"--config {path}: is larger than the {_MAX_BYTES:,} bytes that settings may have")
        text = content.decode()
        values: dict[str, Any] = json.loads(text) if path.suffix == ".json" else _parse_toml(text, path)
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--config {path}: is not valid {path.suffix or 'TOML'} ({error})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"--config {path}: expected settings by name")
    record = values.get(schema.RUN_SETTINGS)
    return record if isinstance(record, dict) else values


def _parse_toml(text: str, path: Path) -> dict[str, Any]:
    """Parse TOML; keys of many parts, on which tomllib uses memory without bound, are found beforehand."""
    parts, follows_dot = 0, False
    for token in _TOML_TOKEN.finditer(text):
        first = token[0][0]
        if first in " \t":
            continue
        if first == ".":
            follows_dot = True
            continue
        is_part = first in "\"'-_" or first.isalnum()
        parts = (parts + 1 if follows_dot and parts else 1) if is_part else 0
        follows_dot = False
        if parts > _MAX_KEY_PARTS:
            line = text.count("\n", 0, token.start()) + 1
            raise ConfigError(
                f"--config {path}: line {line} has a key of more than {_MAX_KEY_PARTS} parts; names have one"
            )
    return tomllib.loads(text)


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Take settings from a TOML file, or from the run.json of an earlier run.",
        callback=_load_config,
        is_eager=True,
        dir_okay=False,
        show_envvar=False,
        rich_help_panel=SETTINGS_PANEL,
    ),
]
PrintConfigOption = Annotated[
    bool,
    typer.Option(
        "--print-config",
        help="Print the settings as TOML and stop.",
        show_envvar=False,
        rich_help_panel=SETTINGS_PANEL,
    ),
]


HelpAllOption = Annotated[
    bool,
    typer.Option(
        "--help-all",
        help="Show all options and exit.",
        callback=show_all,
        is_eager=True,
        show_envvar=False,
        rich_help_panel=SETTINGS_PANEL,
    ),
]


def with_settings(command: Command) -> Command:
    """Add `--config`, `--print-config`, `--help-all` and arguments by position to a command.

    Its settings have the names of its options.
    """
    signature = inspect.signature(command)
    taken = {_name_setting(parameter): parameter for parameter in signature.parameters.values()}
    positionals = list_positionals(taken)

    @functools.wraps(command)
    def run(context: typer.Context, **options: Any) -> None:
        del options["config"], options["help_all"]
        merge_positions(context, positionals, options)
        if options.pop("print_config"):
            typer.echo(format_toml(options), nl=False)
            return
        from noduleclip.workflows.output_lock import naming_inputs

        with naming_inputs(_find_inputs(taken, options)):
            command(**{taken[name].name: value for name, value in options.items()})

    for parameter in taken.values():
        for info in _find_options(parameter):
            info.show_envvar = False  # named after the option: the last line of the help says how
    arguments = list(make_arguments(positionals, taken))
    added = [
        inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=ConfigOption),
        inspect.Parameter("print_config", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=PrintConfigOption),
        inspect.Parameter("help_all", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=HelpAllOption),
    ]
    by_position = {one.setting for one in positionals}
    named = [parameter.replace(name=name, kind=inspect.Parameter.KEYWORD_ONLY) for name, parameter in taken.items()]
    options = [make_optional(one) if one.name in by_position else one for one in named]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *arguments, *options, *added]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.positionals = positionals  # type: ignore[attr-defined]  # for the help
    name = command.__name__.upper()
    run.__doc__ = f"{inspect.getdoc(command)}\n\nEvery option can also be set as NODULECLIP_{name}_OPTION_NAME."
    return run  # type: ignore[return-value]


def _find_options(parameter: inspect.Parameter) -> list[OptionInfo]:
    marks = getattr(parameter.annotation, "__metadata__", ())
    return [mark for mark in marks if isinstance(mark, OptionInfo)]


def _find_inputs(taken: Mapping[str, inspect.Parameter], options: Mapping[str, Any]) -> dict[str, tuple[Path, ...]]:
    """Return the paths that a command reads, by option."""
    found = {}
    for name, parameter in taken.items():
        panels = [info.rich_help_panel for info in _find_options(parameter)]
        values = options[name] if isinstance(options[name], list) else [options[name]]
        paths = tuple(value for value in values if isinstance(value, Path))
        if paths and OUTPUT not in panels and name not in _WRITTEN:
            found[f"--{name.replace('_', '-')}"] = paths
    return found


def _name_setting(parameter: inspect.Parameter) -> str:
    """Return the name of a parameter's option, which may differ: `format` would hide the built-in."""
    for info in _find_options(parameter):
        for text in (info.default, *(info.param_decls or ())):  # Typer calls the first of its arguments the default
            if isinstance(text, str) and text.startswith("--"):
                return str(text.split("/")[0].removeprefix("--").replace("-", "_"))
    return parameter.name


def format_toml(options: dict[str, Any]) -> str:
    """Return options as TOML; unset ones as comments."""
    lines = []
    for name, value in options.items():
        key = name.replace("_", "-")
        lines.append(f"# {key} =" if value is None else f"{key} = {_as_toml(value)}")
    return "\n".join(lines) + "\n"


def _as_toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, float):
        return repr(value)  # JSON would write Infinity, TOML writes inf
    return _UNUSUAL.sub(_escape_for_toml, json.dumps(value, ensure_ascii=False))


def _escape_for_toml(found: re.Match[str]) -> str:
    """Return a printable character or a surrogate, for which TOML has no escape, unchanged; others as an escape."""
    code = ord(found[0])
    if found[0].isprintable() or 0xD800 <= code <= 0xDFFF:
        return found[0]
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
