"""The documentation agrees with the code: options, columns, files, figures, links."""

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
from noduleclip.evaluation.published_rules import PROTOCOLS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def load_script(path: str) -> Any:
    """Import a script of the repository that is not part of a package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


REFERENCE = load_script("docs/make_reference.py")
COMMANDS: dict[str, Any] = REFERENCE.list_commands()


def find_commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every command line in fenced blocks and code spans; tables may leave `noduleclip` out."""
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in (*lines, *spans):
        for part in re.split(r"&&|\|", line.replace("\\|", "|").split("  # ")[0]):
            command = re.match(r"\s*(?:[A-Z_]+=\S+ )*(?:noduleclip (.+)|(prepare [a-z0-9]+ --.+))", part)
            if command is not None and part.count('"') % 2 == 0:
                yield shlex.split(command.group(1) or command.group(2), comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_command_lines_use_existing_commands_and_options(page: Path) -> None:
    general = {"--help", "--help-all", "--version", "--install-completion", "--show-completion"}
    for words in find_commands(page.read_text(encoding="utf-8")):
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
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_pictures_are_small_and_the_real_ones_credited() -> None:
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert pictures and all(picture.stat().st_size < 150_000 for picture in pictures)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    credit = readme[readme.index("docs/images/lidc-hits.png") : readme.index("From Python")]
    assert "CC BY 3.0" in credit and "doi:10.7937/K9/TCIA.2015.LO9QL9SX" in credit


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped_at_100_columns(page: Path) -> None:
    generated = {ROOT / "docs" / name for name in REFERENCE.PAGES}
    if page in generated or page.name == "CHANGELOG.md":
        return
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [line for line in prose.splitlines() if len(line) > 100 and not line.startswith(("|", "!["))] == []


def test_generated_pages_are_up_to_date() -> None:
    for name, describe in REFERENCE.PAGES.items():
        page = ROOT / "docs" / name
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
        for option in REFERENCE.list_options(command):
            assert option.help, (name, option.name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_can_be_set_by_its_name_in_the_environment_and_a_file(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = COMMANDS[name]
    prefix = re.search(r"Every option can also be set as (NODULECLIP_\w+_)OPTION_NAME\.", command.help)
    assert prefix is not None
    assert prefix[1] == f"NODULECLIP_{name.upper().replace(' ', '_')}_"
    context = typer.Context(command, **command.context_settings)
    for option in REFERENCE.list_options(command):
        names = [text.removeprefix("--").replace("-", "_") for text in option.opts if text.startswith("--")]
        assert option.name == names[0], "the name in a file"
        for one in names:
            variable = f"{prefix[1]}{one.upper()}"
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


def test_every_security_guarantee_has_tests() -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", (ROOT / "docs" / "reference" / "security.md").read_text(encoding="utf-8"))
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readme_begins_with_a_picture_and_two_commands() -> None:
    screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:25])
    assert "noduleclip demo" in screen
    assert "python -m pytest" in screen
    assert ".png" in screen


@pytest.mark.parametrize("page", ["README.md", "docs/models/lidc.md"])
def test_quoted_figures_are_those_of_the_evaluation_file(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert REFERENCE.describe_summary() in text
    report = REFERENCE.load_evaluation()
    ap = {
        query["query"].removeprefix("a lung nodule with diameter "): query["model"]["ap"] for query in report["queries"]
    }
    prose = " ".join(text.split())
    mean = report["model"]["ap"]
    assert f"{mean['mean']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}]" in prose
    for query in ("> 10 mm", "<= 5 mm"):
        (quoted,) = re.findall(rf'"{query}" is (?:not|easy) \(([\d.]+)\)', prose)
        assert quoted == f"{ap[query]['mean']:.3f}"


def test_the_page_on_published_figures_has_them_beside_the_constant() -> None:
    page = (ROOT / "docs" / REFERENCE.PUBLISHED_PAGE).read_text(encoding="utf-8")
    parts = REFERENCE.describe_published_parts()
    assert all(text in page for text in parts.values())
    for rules in PROTOCOLS.values():
        for name, value in rules.published.items():
            (row,) = [line for line in parts["readers"].splitlines() if line.startswith(f"| {name} |")]
            assert f" {value:.3f} " in row
    model = [ROOT / "docs" / "models" / f"lidc-{name}.json" for name in PROTOCOLS]
    assert parts["model"].count("### By the rules of") == sum(path.exists() for path in model)


def test_quoted_figures_of_the_defaults_are_the_means_of_the_five_seeds() -> None:
    card = (ROOT / "docs" / "models" / "lidc.md").read_text(encoding="utf-8")
    seeds = [float(cells.split(" | ")[3]) for cells in re.findall(r"^\| (0 \| \d \| .*)$", card, flags=re.MULTILINE)]
    assert len(seeds) == 5
    quoted = f"{sum(seeds) / 5:.3f}"
    assert f"reaches {quoted} on the 318, the mean of five seeds" in " ".join(
        (ROOT / "README.md").read_text(encoding="utf-8").split()
    )
    assert f"{quoted} (0.0016)" in card


def test_the_scale_page_has_the_tables_of_its_benchmark() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    for table in load_script("benchmarks/scale.py").describe().split("\n\n"):
        assert table.strip() in page
