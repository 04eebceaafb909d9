"""The documentation says what the code does: options, columns, files, links."""

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer

from conftest import Command
from noduleclip import schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])


def load_reference() -> Any:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = load_reference()
COMMANDS: dict[str, Any] = REFERENCE.list_commands()


def commands_in(text: str) -> Iterator[list[str]]:
    """Every `noduleclip …` command line in fenced blocks and in code spans, with its continuation lines."""
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in (*lines, *spans):
        for part in re.split(r"&&|\|", line.replace("\\|", "|").split("  # ")[0]):
            command = re.match(r"\s*(?:[A-Z_]+=\S+ )*noduleclip (.+)", part)
            if command is not None and part.count('"') % 2 == 0:
                yield shlex.split(command.group(1), comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_line_in_the_docs_exists(page: Path) -> None:
    general = {"--help", "--version", "--install-completion", "--show-completion"}
    for words in commands_in(page.read_text(encoding="utf-8")):
        options = {word.split("=")[0] for word in words if word.startswith("--")}
        if words[0] in (">", ">>"):
            continue
        if words[0].startswith("-"):
            assert options <= general, words
            continue
        if words[0] == "prepare" and (len(words) == 1 or words[1].isupper()):
            continue
        command = " ".join(words[: 2 if words[0] == "prepare" else 1])
        assert command in COMMANDS, words
        known = {name for option in COMMANDS[command].params for name in option.opts}
        assert options <= known | {"--help"}, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_reference_pages_are_what_the_code_says() -> None:
    for name, describe in REFERENCE.PAGES.items():
        page = ROOT / "docs" / "reference" / name
        assert page.read_text(encoding="utf-8") == describe(), f"{page} is stale: run python docs/make_reference.py"


def test_every_command_has_an_example_that_parses() -> None:
    for name, command in COMMANDS.items():
        example = re.search(r"Example: noduleclip (.+?)(?:\n\n|$)", command.help, flags=re.DOTALL)
        assert example is not None, name
        words = shlex.split(" ".join(example.group(1).split()))
        depth = len(name.split())
        assert " ".join(words[:depth]) == name
        context = command.make_context(name, words[depth:], resilient_parsing=False)
        assert context.params


def test_every_option_has_a_help_text() -> None:
    for name, command in COMMANDS.items():
        for option in command.params:
            assert option.help, (name, option.name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_taken_by_its_name_from_the_environment_and_a_file(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = COMMANDS[name]
    said = re.search(r"Every option can also be set as (NODULECLIP_\w+_)OPTION_NAME\.", command.help)
    assert said is not None
    assert said[1] == f"NODULECLIP_{name.upper().replace(' ', '_')}_"
    context = typer.Context(command, **command.context_settings)
    for option in command.params:
        names = [text.removeprefix("--").replace("-", "_") for text in option.opts if text.startswith("--")]
        assert option.name == names[0], "what a file calls it"
        for one in names:
            variable = f"{said[1]}{one.upper()}"
            with monkeypatch.context() as patched:
                patched.setenv(variable, "value")
                assert option.resolve_envvar_value(context) == "value", variable


def test_the_columns_of_the_hits_are_documented(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    done = noduleclip("fuse", "--emb-dir", index, "--query", "> 6 mm", "--out", tmp_path)
    assert done.code == 0
    columns = pl.read_csv(tmp_path / schema.TOP_K_CSV).columns
    assert set(columns) <= set(schema.COLUMN_MEANINGS)
    page = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in columns)


def test_every_file_of_the_contract_is_written_and_documented(checkpoint: Path, index: Path) -> None:
    page = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    written = {path.name for folder in (checkpoint.parent, index) for path in folder.iterdir()}
    assert written == {
        schema.BEST_CHECKPOINT, schema.LAST_CHECKPOINT, schema.METRICS_LOG, schema.RUN_RECORD, schema.TRAINING_PAGE,
        schema.EMBEDDINGS, schema.META, schema.OUTLINES, schema.TEXT_TOWER, schema.INDEX_MANIFEST,
    }  # fmt: skip
    assert all(f"`{name}`" in page for name in written)


def test_what_security_promises_has_its_tests() -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readme_gives_the_two_commands_first() -> None:
    screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:40])
    assert "noduleclip demo" in screen
    assert "pytest" in screen
    assert ".svg" in screen


def test_the_plan_is_what_its_unit_costs_say() -> None:
    spec = importlib.util.spec_from_file_location("scale", ROOT / "benchmarks" / "scale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    for table in module.describe().split("\n\n"):
        assert table.strip() in page
