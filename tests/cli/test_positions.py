"""Values by position mean what the options mean; both at once must agree."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from command_tree import find_command, list_commands
from conftest import Command

ROOT = Path(__file__).resolve().parents[2]
PREPARE = ("prepare", "lidc")


@pytest.mark.parametrize(
    ("by_position", "by_option"),
    [
        (("query", "idx", "> 6 mm"), ("query", "--emb-dir", "idx", "--query", "> 6 mm")),
        (("fuse", "idx", "> 6 mm"), ("fuse", "--emb-dir", "idx", "-q", "> 6 mm")),
        (("describe", "idx"), ("describe", "--emb-dir", "idx")),
        (("evaluate", "idx"), ("evaluate", "--emb-dir", "idx")),
        (("serve", "idx"), ("serve", "--emb-dir", "idx")),
        (("verify", "idx"), ("verify", "--emb-dir", "idx")),
        (("embed", "rois.csv", "idx"), ("embed", "--roi-csv", "rois.csv", "--out-dir", "idx")),
        (("check", "rois.csv"), ("check", "--roi-csv", "rois.csv")),
        (("split", "rois.csv", "s"), ("split", "--roi-csv", "rois.csv", "--out", "s")),
        (("merge", "idx"), ("merge", "--out-dir", "idx")),
        (("phantom", "p"), ("phantom", "--out", "p")),
        (("demo", "d"), ("demo", "--out", "d")),
        (
            ("train", "rois.csv", "run", "--train-patients", "t"),
            ("train", "--roi-csv", "rois.csv", "--out", "run", "--train-patients", "t"),
        ),
        ((*PREPARE, "LIDC", "p"), (*PREPARE, "--data-root", "LIDC", "--out", "p")),
        (
            ("prepare", "masks", "images", "masks", "p"),
            ("prepare", "masks", "--images", "images", "--masks", "masks", "--out", "p"),
        ),
    ],
)
def test_a_position_is_an_option(noduleclip: Command, by_position: tuple[str, ...], by_option: tuple[str, ...]) -> None:
    first, second = noduleclip(*by_position, "--print-config"), noduleclip(*by_option, "--print-config")
    assert first.code == 0, first.err
    assert first.out == second.out
    assert first.out.count("= ") >= len(by_option) // 2


def test_options_may_stand_before_and_after_positions(noduleclip: Command) -> None:
    plain = noduleclip("query", "idx", "> 6 mm", "--topk", 3, "--print-config")
    assert noduleclip("query", "--topk", 3, "idx", "> 6 mm", "--print-config").out == plain.out
    assert noduleclip("query", "idx", "--topk", 3, "> 6 mm", "--print-config").out == plain.out


def test_the_same_value_twice_is_fine_and_another_one_names_both(noduleclip: Command) -> None:
    assert noduleclip("query", "idx", "--emb-dir", "idx", "--print-config").code == 0
    done = noduleclip("query", "idx", "> 6 mm", "--emb-dir", "other")
    assert (done.code, done.err) == (2, "error: INDEX is 'idx', but --emb-dir is 'other'; give one of them\n")
    done = noduleclip("query", "idx", "> 6 mm", "-q", "> 7 mm")
    assert (done.code, done.err) == (2, "error: SENTENCE is '> 6 mm', but --query is '> 7 mm'; give one of them\n")
    done = noduleclip("check", "a.csv", "--roi-csv", "b.csv")
    assert (done.code, done.err) == (2, "error: TABLE is 'a.csv', but --roi-csv is 'b.csv'; give one of them\n")


def test_a_value_in_neither_way_is_told(noduleclip: Command) -> None:
    done = noduleclip("verify")
    assert done.code == 2
    assert done.err == "error: INDEX is missing: give it by position, or with --emb-dir INDEX\n"


def test_a_position_outranks_environment_and_file(
    noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "run.toml"
    config.write_text("emb-dir = 'of-file'\nquery = '> 1 mm'\n")
    with_file = ("query", "--config", config, "--print-config")
    assert 'emb-dir = "of-file"' in noduleclip(*with_file).out
    assert 'emb-dir = "typed"' in noduleclip(*with_file, "typed").out
    monkeypatch.setenv("NODULECLIP_QUERY_EMB_DIR", "of-environment")
    assert 'emb-dir = "of-environment"' in noduleclip(*with_file).out
    assert 'emb-dir = "typed"' in noduleclip(*with_file, "typed").out


def test_positions_are_no_settings_of_their_own(
    noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run.toml").write_text("emb-dir-argument = 'x'\n")
    done = noduleclip("query", "--config", tmp_path / "run.toml")
    assert "unknown setting 'emb_dir_argument'; known are " in done.err
    monkeypatch.setenv("NODULECLIP_QUERY_EMB_DIR_ARGUMENT", "x")
    assert "INDEX is missing" in noduleclip("query").err
    assert "argument" not in noduleclip("query", "x", "--print-config").out


def test_a_search_by_position_finds_what_the_options_find(noduleclip: Command, index: Path) -> None:
    by_position = noduleclip("query", index, "> 6 mm", "--topk", 3)
    assert by_position.code == 0, by_position.err
    assert by_position.out == noduleclip("query", "--emb-dir", index, "--query", "> 6 mm", "--topk", 3).out
    assert noduleclip("verify", index).code == 0


def test_command_lines_of_the_readme_hold_by_position_too(noduleclip: Command) -> None:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    converted = 0
    for line in lines:
        start = re.match(r"\$ noduleclip (.+)", line)
        if start is None:
            continue
        words = shlex.split(start[1].split(" | ")[0].split(" && ")[0], comments=True)
        depth = 2 if words[0] == "prepare" else 1
        command = find_command(*words[:depth])
        moved, rest = [], list(words[depth:])
        for one in command.callback.positionals:
            names = next(option.opts for option in command.params if option.name == one.setting)
            at = next((number for number, word in enumerate(rest) if word in names), None)
            if at is None:
                break
            moved.append(rest[at + 1])
            del rest[at : at + 2]
        if moved:
            done = noduleclip(*words, "--print-config")
            assert done.code == 0, done.err
            assert noduleclip(*words[:depth], *moved, *rest, "--print-config").out == done.out
            converted += 1
        else:
            assert noduleclip(*words, "--print-config").code == 0, words
    assert converted


def test_every_command_with_an_index_or_a_table_takes_it_by_position() -> None:
    for names in list_commands():
        command = find_command(*names)
        options = {option.name for option in command.params}
        wanted = ("emb_dir", "INDEX") if "emb_dir" in options else ("roi_csv", "TABLE")
        if wanted[0] in options:
            assert wanted == next((one.setting, one.metavar) for one in command.callback.positionals), names


@pytest.mark.skipif(sys.platform == "win32", reason="completion of POSIX shells")
@pytest.mark.parametrize(("shell", "files"), [("bash", ""), ("zsh", "_files")])
def test_the_shell_completes_files_at_a_position_and_options_after_it(shell: str, files: str) -> None:
    def complete(line: str) -> str:
        words = line.split(" ")
        environment = {
            **os.environ, "_NODULECLIP_COMPLETE": f"complete_{shell}", "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1), "_TYPER_COMPLETE_ARGS": line,
        }  # fmt: skip
        code = "import sys; sys.argv = ['noduleclip']\nfrom noduleclip.cli import main\nmain([])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        return done.stdout.strip()

    assert complete("noduleclip query ") == files
    assert complete("noduleclip embed rois.csv id") == files
    assert "--topk" in complete("noduleclip query idx --to")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (("query", "idx", "hello", "world"), 'query idx "hello world"'),
        (("fuse", "idx", "a", "spiculated", "nodule", "--alpha", "0.3"), 'fuse idx "a spiculated nodule" --alpha 0.3'),
        (("query", "--topk", "5", "my idx", "large", "nodules"), 'query --topk 5 "my idx" "large nodules"'),
        (("query", "--emb-dir", "idx", "idx", "a", "b"), 'query --emb-dir idx idx "a b"'),
    ],
)
def test_a_sentence_without_quotes_is_told_with_the_command_to_type(
    noduleclip: Command, typed: tuple[str, ...], meant: str
) -> None:
    done = noduleclip(*typed)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: a sentence of several words needs quotes: noduleclip {meant}; without them")
    assert noduleclip(*shlex.split(meant), "--print-config").code == 0


@pytest.mark.parametrize(
    "typed",
    [
        ("query", "idx", "hello", "--topk", "5", "world"),
        ("query", "idx", "--query", "hello", "world"),
        ("query", "--emb-dir", "idx", "--query", "hello", "world"),
        ("fuse", "--emb-dir", "idx", "-q", "hello", "big", "world"),
        ("query", "--emb-dir", "idx", "hello", "world"),
    ],
)
def test_words_of_a_sentence_anywhere_are_told(noduleclip: Command, typed: tuple[str, ...]) -> None:
    done = noduleclip(*typed)
    assert done.code == 2
    assert "a sentence of several words needs quotes" in done.err


def test_a_quoted_sentence_in_the_wrong_place_is_not_told_to_need_quotes(noduleclip: Command) -> None:
    done = noduleclip("query", "--emb-dir", "idx", "hello world")
    assert done.err == "error: INDEX is 'hello world', but --emb-dir is 'idx'; give one of them\n"


@pytest.mark.parametrize("names", [names for names in list_commands() if names not in (("query",), ("fuse",))])
def test_a_word_too_many_is_told_with_what_the_command_takes(noduleclip: Command, names: tuple[str, ...]) -> None:
    taken = " ".join(one.metavar for one in find_command(*names).callback.positionals)
    needed = [option for option in find_command(*names).params if option.required]
    given = [word for option in needed for word in (max(option.opts, key=len), "x")]
    done = noduleclip(*names, *taken.split(), "more", *given)
    assert done.code == 2
    command = " ".join(("noduleclip", *names))
    assert done.err == f"error: unexpected argument 'more'; {command} takes {taken or 'only options'}\n"
