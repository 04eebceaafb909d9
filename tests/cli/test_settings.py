"""Options over environment over file over default; what is printed can be read; errors are one line."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from conftest import Collection, Command, train_arguments
from noduleclip import __version__, schema


def printed(noduleclip: Command, *arguments: object) -> dict[str, str]:
    done = noduleclip("query", "--emb-dir", "x", *arguments, "--print-config")
    assert done.code == 0, done.err
    pairs = (line.split(" = ", 1) for line in done.out.splitlines() if " = " in line)
    return {name: value for name, value in pairs}


def test_the_nearer_setting_wins(noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "run.toml"
    config.write_text("topk = 3\nunique = 'patient'\n")
    assert printed(noduleclip)["topk"] == '"auto"'
    assert printed(noduleclip, "--config", config)["topk"] == '"3"'
    monkeypatch.setenv("NODULECLIP_QUERY_TOPK", "4")
    from_environment = printed(noduleclip, "--config", config)
    assert from_environment["topk"] == '"4"'
    assert from_environment["unique"] == '"patient"'
    assert printed(noduleclip, "--config", config, "--topk", 5)["topk"] == '"5"'


def test_printed_settings_are_a_config(noduleclip: Command, tmp_path: Path) -> None:
    done = noduleclip("query", "--emb-dir", "x", "--query", 'a "large" nodule', "--topk", 7, "--print-config")
    (tmp_path / "again.toml").write_text(done.out, encoding="utf-8")
    assert noduleclip("query", "--config", tmp_path / "again.toml", "--print-config").out == done.out


@pytest.mark.parametrize(
    ("arguments", "option", "value"),
    [
        (("merge", "--out-dir", "x"), "vector-index-from", "1"),
        (("embed", "--roi-csv", "x"), "vector-index-from", "1"),
        (("query", "--emb-dir", "x"), "format", '"json"'),
        (("prepare", "csv", "--table", "x", "--data-root", "x", "--out", "x"), "format", '"table"'),
    ],
)
def test_an_option_whose_parameter_is_called_otherwise_is_taken_by_its_own_name(
    noduleclip: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], option: str, value: str,
) -> None:  # fmt: skip
    (tmp_path / "run.toml").write_text(f"{option} = {value}\n")
    from_file = noduleclip(*arguments, "--config", tmp_path / "run.toml", "--print-config")
    command = "_".join(word for word in arguments[:2] if word.isalpha()).upper()
    monkeypatch.setenv(f"NODULECLIP_{command}_{option.upper().replace('-', '_')}", value.strip('"'))
    from_environment = noduleclip(*arguments, "--print-config")
    for done in (from_file, from_environment):
        assert f"{option} = {value}" in done.out.splitlines(), done


def test_the_name_that_an_option_had_in_earlier_files_is_taken(noduleclip: Command, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('output-format = "json"\n')
    assert printed(noduleclip, "--config", tmp_path / "run.toml")["format"] == '"json"'


def test_a_run_record_is_a_config(
    noduleclip: Command, collection: Collection, checkpoint: Path, tmp_path: Path
) -> None:
    record = checkpoint.parent / schema.RUN_RECORD
    done = noduleclip("train", "--config", record, "--out", tmp_path / "second", "--print-config")
    assert done.code == 0, done.err
    assert "epochs = 2" in done.out
    assert f'roi-csv = "{collection.roi_csv}"' in done.out


def test_the_run_record_says_what_was_run(checkpoint: Path) -> None:
    record = json.loads((checkpoint.parent / schema.RUN_RECORD).read_text())
    assert record["arguments"]["epochs"] == 2
    assert record["versions"]["noduleclip"] == __version__
    assert record["data"]["train_nodules"] > 0
    assert len(record["data"]["fingerprint"]) == 16
    assert record["best"]["epoch"] in (1, 2)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("colour = 1", "run.toml", "unknown setting 'colour'; known are "),
        ("topk = ", "run.toml", "is not valid .toml"),
        ("[1]", "run.json", "expected settings by name"),
        ("{", "run.json", "is not valid .json"),
    ],
)
def test_a_config_that_cannot_be_used_is_told(
    noduleclip: Command, tmp_path: Path, text: str, name: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    done = noduleclip("query", "--config", tmp_path / name)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_version_and_module() -> None:
    done = subprocess.run([sys.executable, "-m", "noduleclip", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"noduleclip {__version__}\n"


def test_usage_errors_are_one_line(noduleclip: Command) -> None:
    for arguments in (["query", "--bogus"], ["nosuch"], ["query"], ["query", "--emb-dir", "x", "--topk", "many"]):
        done = noduleclip(*arguments)
        assert done.code == 2
        assert done.err.startswith("error: ")
        assert len(done.err.splitlines()) == 1


def test_settings_outside_their_range_name_the_option(
    noduleclip: Command, collection: Collection, tmp_path: Path
) -> None:
    for option, value in (("--fov-mm", 5), ("--img-size", 8), ("--bs", 1), ("--lr", -1), ("--emb", 2), ("--views", 3)):
        done = noduleclip(*train_arguments(collection, tmp_path / "run", option, value))
        assert done.code == 2
        assert done.err.startswith(f"error: {option} must be ")


def test_a_folder_with_results_is_refused(
    noduleclip: Command, collection: Collection, checkpoint: Path, index: Path
) -> None:
    trained = noduleclip(*train_arguments(collection, checkpoint.parent))
    embedded = noduleclip("embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--out-dir", index)
    divided = noduleclip("split", "--roi-csv", collection.roi_csv, "--out", collection.train.parent)
    for done in (trained, embedded, divided):
        assert done.code == 2
        assert "already holds" in done.err
        assert "--overwrite" in done.err


def test_patients_on_both_sides_are_refused(noduleclip: Command, collection: Collection, tmp_path: Path) -> None:
    both = tmp_path / "both.txt"
    both.write_text(collection.val.read_text() + collection.train.read_text().splitlines()[0].lower() + "\n")
    done = noduleclip(*train_arguments(collection, tmp_path / "run", "--val-patients", both))
    assert done.code == 3
    assert "stand in both --train-patients and --val-patients: PHANTOM-" in done.err


@pytest.mark.parametrize("form", ["csv", "json", "table"])
@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_closed_pipe_is_quiet(index: Path, tmp_path: Path, form: str) -> None:
    """More than a pipe holds, to a reader who has left."""
    (tmp_path / "many.txt").write_text("> 6 mm\n" * 60)
    arguments = f"--emb-dir {index} --queries-file {tmp_path / 'many.txt'} --topk 500 --format {form}"
    command = f"{sys.executable} -m noduleclip query {arguments} 2>{tmp_path / 'err'} | true"
    subprocess.run(["bash", "-c", command], check=True)
    said = [line for line in (tmp_path / "err").read_text().splitlines() if not line.startswith(("read as", "note"))]
    assert said == []


def test_a_resumed_run_is_recorded_as_one_that_can_be_begun(
    noduleclip: Command, collection: Collection, tmp_path: Path
) -> None:
    run = train_arguments(collection, tmp_path / "run", "--epochs", 1)
    resumed = noduleclip(*run, "--resume")
    assert resumed.code == 0, resumed.err
    assert "no epoch was finished; starting at the first one" in resumed.err
    record = json.loads((tmp_path / "run" / schema.RUN_RECORD).read_text())
    assert not {"resume", "overwrite"} & set(record["arguments"])
    assert noduleclip("train", "--config", tmp_path / "run" / schema.RUN_RECORD).code == 2  # holds results: refused


def test_an_unknown_backbone_is_told_before_any_slice_is_read(
    noduleclip: Command, collection: Collection, tmp_path: Path
) -> None:
    done = noduleclip(*train_arguments(collection, tmp_path / "run", "--backbone", "resnet11t"))
    assert done.code == 2
    assert "no such model; did you mean " in done.err
    assert "slices" not in done.err


def test_environment_variables_of_others_are_no_settings(noduleclip: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VERSION", "HELP", "INSTALL_COMPLETION", "SHOW_COMPLETION"):
        monkeypatch.setenv(f"NODULECLIP_{name}", "0.1.0")
    assert printed(noduleclip)["topk"] == '"auto"'
    assert "NODULECLIP_VERSION" not in noduleclip("--help").out


def test_alone_it_shows_its_help_and_no_error(noduleclip: Command) -> None:
    done = noduleclip()
    assert done.code == 2
    assert done.err == ""
    assert "Search lung-nodule CT by words" in done.out


@pytest.mark.parametrize(
    ("shell", "start"),
    [
        ("bash", "_noduleclip_completion"),
        ("zsh", "#compdef noduleclip"),
        ("fish", "complete "),
        ("powershell", "Import-Module"),
    ],
)
def test_completion_is_printed_for_any_shell(shell: str, start: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "noduleclip"],
        env={**os.environ, "_NODULECLIP_COMPLETE": f"source_{shell}"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.lstrip().startswith(start)


@pytest.mark.parametrize("command", ["query", "fuse"])
def test_a_console_of_few_characters_gets_the_table(index: Path, command: str) -> None:
    arguments = [command, "--emb-dir", str(index), "--query", "> 6 mm", "--format", "table"]
    done = subprocess.run(
        [sys.executable, "-m", "noduleclip", *arguments],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d\.\d [+x]", done.stdout.decode("cp1252"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.toml", "roi-csv = 1979-05-27", "setting 'roi_csv' is datetime.date(1979, 5, 27); allowed"),
        ("c.toml", 'roi-csv = "a\\u0000b"', r"setting 'roi_csv' is 'a\x00b'; allowed are texts"),
        ("c.json", '{"roi_csv": "\\ud800"}', r"setting 'roi_csv' is '\ud800'; allowed are texts"),
        ("c.json", '{"roi_csv": {"a": 1}}', "setting 'roi_csv' is {'a': 1}; allowed are texts"),
        ("c.json", '{"roi_csv": [["a"]]}', "setting 'roi_csv' is ['a']; allowed are texts"),
        ("c.json", "[" * 5000, "is not valid .json ("),
    ],
)
def test_a_value_that_no_option_could_have_is_refused(
    noduleclip: Command, tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    outcome = noduleclip("train", "--config", tmp_path / name, "--print-config")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def test_any_value_is_printed_as_toml_that_reads_back(noduleclip: Command, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        'roi-csv = "a\\u007f"\ntrain-patients = 7\nval-patients = true\nout = "x"\nlr = inf\nstrict = true'
    )
    values = tomllib.loads(noduleclip("train", "--config", config, "--print-config").out)
    found = [values[name] for name in ("roi-csv", "train-patients", "val-patients", "lr", "strict")]
    assert found == ["a\x7f", "7", "true", float("inf"), True]
