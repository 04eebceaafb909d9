"""What stdout gets: CSV that no spreadsheet runs, bytes as they are in a pipe, and nothing that moves a cursor."""

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from conftest import Collection, Command, Outcome, call, mounted
from noduleclip import schema
from noduleclip.cli import main
from noduleclip.cli.settings import format_toml

FORMULA = '=HYPERLINK("https://example.org","x")'
ESCAPE = "\x1b[2J\x9b31m\u202ex"
HOSTILE = "+\x1b]0;title\x07"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def show(*arguments: object) -> str:
    """Run the command with its stdout on a terminal and return what that gets."""
    out, err = Terminal(), Terminal()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
        main([str(argument) for argument in arguments])
    assert "\x9b" not in err.getvalue()
    return out.getvalue()


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def hostile(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table whose texts are formulas and escape sequences, with a column named like one."""
    folder = tmp_path_factory.mktemp("hostile")
    frame = pl.read_csv(collection.roi_csv).head(4).with_columns(
        pl.lit(FORMULA).alias(schema.PATIENT_ID),
        pl.lit(HOSTILE).alias(schema.NODULE_ID),
        pl.lit(ESCAPE).alias("note"),
        pl.lit("-612.5").alias("=mean"),
        (str(collection.roi_csv.parent) + "/" + pl.col(schema.DICOM_PATH)).alias(schema.DICOM_PATH),
    )  # fmt: skip
    slice_file = folder / f"{ESCAPE}.dcm"
    slice_file.write_bytes(Path(frame[0, schema.DICOM_PATH]).read_bytes())
    paths = pl.Series(schema.DICOM_PATH, [str(slice_file), *frame[schema.DICOM_PATH][1:]])
    frame.with_columns(paths).write_csv(folder / "rois.csv")
    return folder / "rois.csv"


@pytest.fixture(scope="module")
def hostile_index(hostile: Path, checkpoint: Path, exported: Path) -> Path:
    index = hostile.parent / "index"
    kept = ("--keep", "note", "--keep", "=mean", "--cache-dir", exported, "--unit", "outline")
    done = call("embed", "--roi-csv", hostile, "--model", checkpoint, "--out-dir", index, "--device", "cpu", *kept)
    assert done.code == 0, done.err
    return index


@pytest.mark.parametrize("command", ["query", "fuse"])
def test_piped_csv_is_guarded_as_the_file_is(
    noduleclip: Command, hostile_index: Path, tmp_path: Path, command: str
) -> None:
    asked = ("--emb-dir", hostile_index, "--query", "= 6 mm", "--out", tmp_path)
    done = noduleclip(command, *asked)
    assert done.code == 0, done.err
    assert done.out == (tmp_path / schema.TOP_K_CSV).read_text()
    for row in rows_of(done.out):
        assert row[schema.PATIENT_ID] == f"'{FORMULA}"
        assert row[schema.NODULE_ID] == f"'{HOSTILE}"
        assert row[schema.QUERY] == "'= 6 mm"
        assert row["note"] == ESCAPE, "in a pipe it is data"
        assert row["'=mean"] == "-612.5", "a number stays one"


def test_all_csv_is_guarded(noduleclip: Command, hostile: Path, tmp_path: Path) -> None:
    table = pl.read_csv(hostile).with_columns(pl.lit("=1.dcm").alias(schema.DICOM_PATH))
    table.write_csv(tmp_path / "rois.csv")
    checked = noduleclip("check", "--roi-csv", tmp_path / "rois.csv", "--workers", 1, "--out", tmp_path / "out")
    assert {row[schema.DICOM_PATH] for row in rows_of(checked.out)} == {"'=1.dcm"}
    assert checked.out == (tmp_path / "out" / schema.REJECTS_CSV).read_text()


SHOWN: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "csv": lambda index: ("query", "--emb-dir", index, "--query", "> 6 mm", "--format", "csv"),
    "json": lambda index: ("query", "--emb-dir", index, "--query", "> 6 mm", "--format", "json"),
    "table": lambda index: ("query", "--emb-dir", index, "--query", "> 6 mm"),
    "paths": lambda index: ("query", "--emb-dir", index, "--query", "> 6 mm", "--paths-only"),
    "check": lambda index: ("check", "--roi-csv", index.parent / "rois.csv", "--format", "json"),
    "lists": lambda index: ("check", "--roi-csv", index.parent / "rois.csv", "--patients-file", index.parent / ESCAPE),
    "doctor": lambda index: ("doctor", "--cache-dir", index.parent / f"[red]{ESCAPE}", "--format", "csv"),
    "settings": lambda index: ("query", "--emb-dir", f"{index}{ESCAPE}\x7f\u2028\U000e0041", "--print-config"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_terminal_gets_no_control_characters(hostile_index: Path, name: str) -> None:
    (hostile_index.parent / ESCAPE).write_text(FORMULA)
    shown = show(*SHOWN[name](hostile_index))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)  # colours of a table
    odd = {character for character in shown if not character.isprintable()} - {"\n"}
    assert not odd
    assert "x" in shown


def test_a_pipe_gets_the_bytes(noduleclip: Command, hostile_index: Path) -> None:
    paths: Outcome = noduleclip("query", "--emb-dir", hostile_index, "--query", "> 6 mm", "--paths-only")
    assert str(hostile_index.parent / f"{ESCAPE}.dcm") in paths.out.split("\n")
    hits = noduleclip("query", "--emb-dir", hostile_index, "--query", "> 6 mm", "--format", "json")
    assert {json.loads(line)["note"] for line in hits.out.split("\n")[:-1]} == {ESCAPE}


def test_settings_are_printed_in_printable_toml() -> None:
    value = f"{ESCAPE}\x00\x7f\u2028\U000e0041é"
    text = format_toml({"out": value})
    assert text.removesuffix("\n").isprintable()
    assert tomllib.loads(text) == {"out": value}


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_stdout_is_reported(index: Path, tmp_path: Path, form: str, unbuffered: str) -> None:
    """An unbuffered stdout drops what a full disk does not take of a write, without an error."""
    with mounted(tmp_path / "disk", "16k") as folder, (folder / "hits").open("wb") as file:
        command = ["query", "--emb-dir", index, "--query", "> 6 mm", "--topk", 500, "--format", form]
        done = subprocess.run(
            [sys.executable, "-m", "noduleclip", *map(str, command)], stdout=file, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, check=False,
        )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "No space left on device" in done.stderr
