"""The help: one screen for most runs, everything by --help-all, texts as they were written."""

import re
from collections.abc import Iterator

import pytest

from command_tree import find_command, list_commands
from conftest import Command
from noduleclip.cli import help_pages
from noduleclip.report.console import data_console, log_info, message_console, plain, progress
from noduleclip.report.tables import print_records

COMMANDS = list_commands()
SCREEN_LINES = 30


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A window of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    data_console.cache_clear()
    message_console.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    data_console.cache_clear()
    message_console.cache_clear()


def options_of(*names: str) -> list[str]:
    command = find_command(*names)
    return [max(option.opts, key=len) for option in command.params if option.param_type_name == "option"]


@pytest.mark.parametrize("names", [(), ("prepare",), *COMMANDS], ids=" ".join)
def test_help_is_one_screen(noduleclip: Command, columns: object, names: tuple[str, ...]) -> None:
    done = noduleclip(*names, "--help")
    lines = done.out.rstrip().splitlines()
    assert (done.code, done.err) == (0, "")
    assert len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(" ".join(("Usage: noduleclip", *names)))
    assert noduleclip(*names, "-h").out == done.out


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_the_last_line_counts_the_options_that_help_all_adds(
    noduleclip: Command, columns: object, names: tuple[str, ...]
) -> None:
    short, everything = noduleclip(*names, "--help").out, noduleclip(*names, "--help-all").out
    every = options_of(*names)
    assert every == [name for name in every if re.search(rf"(?m)^  .*{name}\b", everything)]
    positionals = find_command(*names).callback.positionals
    assert [one for one in positionals if not re.search(rf"(?m)^  {one.metavar} ", short)] == []
    shown = [name for name in every if re.search(rf"(?m)^  (-\S+, )*{name}\b", short)]
    rest = len(every) - len(shown) - len(positionals) - 1  # and --help-all itself
    assert short.rstrip().splitlines()[-1] == f"{' '.join(('noduleclip', *names))} --help-all has {rest} more options."


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_help_texts_are_printed_as_they_are_and_name_no_files_of_the_repository(
    noduleclip: Command, columns: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    columns.setenv("COLUMNS", "4000")
    data_console.cache_clear()
    page = noduleclip(*names, "--help-all").out
    command = find_command(*names)
    for text in (
        *command.help.split("\n\n"),
        *(option.help for option in command.params if "argument" not in option.name),
    ):
        written = " ".join(text.split())
        assert written in " ".join(page.split())
        assert not re.search(r"\bdocs/|tests/|src/", written), written


def test_the_name_of_an_extra_stays_in_brackets(noduleclip: Command, columns: object) -> None:
    assert 'pip install "noduleclip[web]"' in " ".join(noduleclip("serve", "--help-all").out.split())


def test_the_common_options_exist() -> None:
    for name, listed in help_pages.COMMON.items():
        assert set(listed) <= {option.name for option in find_command(name).params}, name
    assert set(help_pages.COMMON) == {names[0] for names in COMMANDS if names[0] != "prepare"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("csv", ("--map", "--coordinates", "--rescale", "--min-score")),
        ("monai", ("--box-mode", "--coordinates", "--labels")),
        ("masks", ("--pairs", "--labels", "--threshold", "--diameter")),
        ("rtstruct", ("--roi", "--diameter")),
        ("lidc", ("--diameter", "--max-rejects")),
    ],
)
def test_the_help_of_a_source_has_what_its_files_need(
    noduleclip: Command, columns: object, source: str, expected: tuple[str, ...]
) -> None:
    page = noduleclip("prepare", source, "--help").out
    assert [name for name in expected if not re.search(rf"(?m)^  {name}\b", page)] == []


def test_commands_are_grouped_a_line_each(noduleclip: Command, columns: object) -> None:
    page = noduleclip("--help").out
    headings = re.findall(r"(?m)^(\S[^:\n]*):$", page)
    assert headings == ["Try", "Prepare data", "Search", "Train and evaluate", "Maintain"]
    names = re.findall(r"(?m)^  (\S+)  +\S.+$", page)
    assert sorted(names) == sorted({names[0] for names in COMMANDS})
    for text, known in ((page, names), (noduleclip("prepare", "--help").out, [names[-1] for names in COMMANDS])):
        rows = [line for line in text.splitlines() if line.startswith("  ")]
        assert [line for line in rows if line.split()[0] not in known] == [], "each in one line"


@pytest.mark.parametrize("group", [(), ("prepare",)], ids=["", "prepare"])
def test_help_all_of_a_group_lists_every_command_below_it(
    noduleclip: Command, columns: object, group: tuple[str, ...]
) -> None:
    done = noduleclip(*group, "--help-all")
    assert (done.code, done.err) == (0, "")
    listed = re.findall(r"(?m)^  ((?:prepare )?[a-z]\S+)  +\S", done.out)
    expected = [names[len(group) :] for names in COMMANDS if names[: len(group)] == group]
    assert sorted(listed) == sorted(map(" ".join, expected))
    assert f"{' '.join(('noduleclip', *group))} COMMAND --help-all has all options" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


ODD = ("[bold]x[/bold]", "[/]", "[web]", ":warning:", "C:\\[red]")


@pytest.mark.parametrize("odd", ODD)
def test_brackets_and_colons_of_names_are_shown(odd: str, columns: object, capsys: pytest.CaptureFixture[str]) -> None:
    log_info(f"file {odd}")
    print_records([{"patient": odd, odd: "value"}], "table", odd)
    data_console().print(plain(odd))
    shown = capsys.readouterr()
    assert shown.err == f"file {odd}\n"
    assert shown.out.count(odd) == 4


def test_a_title_of_a_progress_bar_is_no_markup(
    columns: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns.setenv("FORCE_COLOR", "1")
    message_console.cache_clear()
    with progress("[web] x.csv", 2, "rows") as advance:
        advance(2)
    assert "[web] x.csv" in capsys.readouterr().err


def test_an_error_has_the_brackets_of_a_file(noduleclip: Command) -> None:
    done = noduleclip("check", "[bold]none.csv")
    assert done.code != 0
    assert "[bold]none.csv" in done.err
