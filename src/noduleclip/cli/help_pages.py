"""Pages of `--help`: what most runs need on one screen, and everything by `--help-all`.

Texts are printed as they are, never as markup: brackets stay.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from noduleclip.cli.positions import describe_extra
from noduleclip.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

_PREPARE: Final = (
    "map",
    "coordinates",
    "box_mode",
    "diameter",
    "pairs",
    "labels",
    "threshold",
    "roi",
    "min_score",
    "rescale",
    "max_rejects",
)
COMMON: Final[dict[str, tuple[str, ...]]] = {
    "demo": ("patients", "epochs", "data_only", "verbose", "overwrite"),
    "check": ("dicom_root", "patients_file", "out", "format"),
    "phantom": ("patients", "seed"),
    "split": ("train", "val", "test", "seed", "overwrite"),
    "train": ("val_patients", "epochs", "bs", "lr", "pretrained", "device", "dry_run", "resume", "overwrite"),
    "embed": ("model", "patients_file", "dicom_root", "unit", "keep", "device", "dry_run", "overwrite"),
    "merge": ("remove_shards", "overwrite"),
    "query": ("like", "topk", "where", "unique", "min_probability", "html", "preview", "out"),
    "fuse": ("alpha", "topk", "where", "unique", "min_score", "html", "preview", "out"),
    "describe": ("roi_csv", "where", "patients_file", "export", "out", "format"),
    "evaluate": ("readers", "protocol", "queries", "out", "verbose"),
    "serve": ("dicom_root", "port", "host", "token"),
    "verify": (),
    "doctor": ("format",),
}
"""Options that the short help lists beside the required ones, by command, in their order."""
_OPTION_COLUMNS: Final = 29
_METAVARS: Final = {
    "str": "TEXT", "path": "PATH", "file": "FILE", "float": "X", "float range": "X", "int": "N", "int range": "N",
}  # fmt: skip


class HelpCommand(TyperCommand):
    """A command whose `--help` fits on one screen, and that says what is wrong with words that it does not take."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words behind the command.

        Raises:
            UsageError: There are more than the command takes.
        """
        typed = list(args)
        ctx.allow_extra_args = True
        left: list[str] = super().parse_args(ctx, args)
        if left and not ctx.resilient_parsing:
            raise UsageError(describe_extra(ctx, self.callback.positionals, typed))  # type: ignore[union-attr]
        return left

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Print the short page."""
        _print_short(self, ctx)


class HelpGroup(TyperGroup):
    """A group whose `--help` has a line for each command."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Print the page of the commands by group."""
        _print_group(self, ctx)


def show_all(context: typer.Context, wanted: bool) -> None:
    """Print the page of all options and end, if it is wanted: the callback of `--help-all`."""
    if wanted and not context.resilient_parsing:
        if isinstance(context.command, TyperGroup):
            _print_group(context.command, context, is_nested=True)
        else:
            _print_all(context.command, context)
        raise typer.Exit


def summarize(text: str) -> str:
    """Return the first sentence of a help text, up to a colon or semicolon, without its end."""
    sentence = re.split(r"(?<=[.;:])\s|\s\(default", " ".join(text.split("\n\n")[0].split()), maxsplit=1)[0]
    return sentence.rstrip(".;:")


def list_common(command: Any) -> list[Any]:
    """Return the options of the short page: required ones, then common ones."""
    names = COMMON.get(command.name, _PREPARE)
    options = _by_name(command)
    required = [option for option in options.values() if option.required]
    return [*required, *(options[name] for name in names if name in options and not options[name].required)]


def _by_name(command: Any) -> dict[str, Any]:
    return {option.name: option for option in command.params if option.param_type_name == "option"}


def _print_group(group: TyperGroup, context: Any, *, is_nested: bool = False) -> None:
    """Print a line for each command; nested: for those of groups within, too."""
    console = _open_console(f"{context.command_path} COMMAND …", group.help or "")
    rows: dict[str, list[tuple[str, str]]] = {}
    for name, command in group.commands.items():
        part = rows.setdefault(getattr(command, "rich_help_panel", None) or "Commands", [])
        listed = [(name, summarize(command.help or ""))]
        if isinstance(command, TyperGroup):
            if is_nested:
                listed = [(f"{name} {one}", summarize(inner.help or "")) for one, inner in command.commands.items()]
            part[:0] = listed
        else:
            part += listed
    width = max(len(name) for part in rows.values() for name, _ in part)
    for panel, part in rows.items():
        _print_heading(console, panel)
        _print_rows(console, [(name.ljust(width), text) for name, text in part], width)
    options = [max(option.opts, key=len) for option in group.get_params(context)]
    _print_text(console, f"\nOptions: {', '.join(options)}")
    if is_nested:
        _print_text(console, f"{context.command_path} COMMAND --help-all has all options of a command.")


def _print_short(command: Any, context: Any) -> None:
    paragraphs = command.help.split("\n\n")
    console = _open_console(_format_usage(command, context), paragraphs[0])
    common = list_common(command)
    console.print()
    rows = [*_describe_arguments(command), *((_name_option(one, context), _describe_shortly(one)) for one in common)]
    _print_rows(console, rows, _OPTION_COLUMNS)
    for paragraph in paragraphs:
        if paragraph.startswith("Example: "):
            _print_text(console, f"\n{' '.join(paragraph.split())}")
    positionals = {one.setting for one in command.callback.positionals}
    rest = [one for one in command.params if one.param_type_name == "option" and one.name not in positionals]
    hidden = len([one for one in rest if one not in common and one.name != "help_all"])
    _print_text(console, f"\n{context.command_path} --help-all has {hidden} more options.")


def _print_all(command: Any, context: Any) -> None:
    paragraphs = [paragraph if "Example:" in paragraph else " ".join(paragraph.split()) for paragraph in
                  command.help.split("\n\n")]  # fmt: skip
    console = _open_console(_format_usage(command, context), "\n\n".join(paragraphs))
    panels: dict[str, list[tuple[str, str]]] = {}
    for option in command.get_params(context):
        if option.param_type_name == "option":
            rows = panels.setdefault(option.rich_help_panel or "Help", [])
            rows.append((_name_option(option, context), _describe_fully(option, command)))
    for panel, rows in panels.items():
        _print_heading(console, panel)
        _print_rows(console, rows, _OPTION_COLUMNS)


def _format_usage(command: Any, context: Any) -> str:
    arguments = [one.metavar if one.required else f"[{one.metavar}]" for one in command.callback.positionals]
    return " ".join([context.command_path, *arguments, "[OPTIONS]"])


def _describe_arguments(command: Any) -> Iterable[tuple[str, str]]:
    """Yield the arguments with the help of their options."""
    options = _by_name(command)
    for one in command.callback.positionals:
        text = options[one.setting].help.split(". ")[0].rstrip(".")
        yield one.metavar, text


def _name_option(option: Any, context: Any) -> str:
    names = ", ".join(sorted((*option.opts, *option.secondary_opts), key=len))
    if option.is_flag:
        return names
    metavar = option.make_metavar(context).strip("<>")
    return f"{names} {_METAVARS.get(metavar, metavar)}"


def _describe_shortly(option: Any) -> str:
    is_plain = option.default not in (None, False, "auto", "") and not callable(option.default)
    return summarize(option.help) + (f" [{option.default}]" if is_plain else "")


def _describe_fully(option: Any, command: Any) -> str:
    notes = []
    positionals = {one.setting: one for one in getattr(command.callback, "positionals", ())}
    positional = positionals.get(option.name)
    if positional is not None:
        notes.append(f"the same as {positional.metavar}")
    if option.required or (positional is not None and positional.required):
        notes.append("required")
    elif option.default not in (None, False, "") and not callable(option.default) and option.show_default is not False:
        notes.append(f"default: {option.default}")
    return f"{option.help} [{'; '.join(notes)}]" if notes else str(option.help)


def _open_console(usage: str, text: str) -> "Console":
    from noduleclip.report.console import data_console

    console = data_console()
    _print_text(console, f"Usage: {usage}\n")
    _print_text(console, text.strip())
    return console


def _print_text(console: "Console", text: str) -> None:
    console.print(text, markup=False)


def _print_heading(console: "Console", heading: str) -> None:
    console.print(f"\n{heading}:", style="bold", markup=False)


def _print_rows(console: "Console", rows: Sequence[tuple[str, str]], width: int) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(max_width=2)
    table.add_column(max_width=width, overflow="fold")
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row("", Text(name, style="cyan"), Text(text))
    console.print(table)
