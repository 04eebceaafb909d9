"""Ctrl-C, and readers that have seen enough: quiet ends that lose nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import Collection, Command, train_arguments
from noduleclip import schema
from noduleclip.models.checkpoint import read_checkpoint

INTERRUPTED = "error: interrupted; what was finished is kept, and the same command goes on from there (train: --resume)"


def start(*arguments: object) -> "subprocess.Popen[str]":
    """Start the command in a process group of its own, as a terminal does."""
    command = [sys.executable, "-m", "noduleclip", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip


def interrupt(process: "subprocess.Popen[str]", after: Path) -> str:
    """Send Ctrl-C to the whole group once a file is there; give what was said of it."""
    deadline = time.monotonic() + 120
    while not list(after.parent.glob(after.name)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    # Python ends by the signal itself where it came within `exec` of a text, as dataclasses are made: 130 to a shell.
    assert process.returncode in (130, -signal.SIGINT), said
    assert "Traceback" not in said
    return said.splitlines()[-1]


@pytest.mark.slow
def test_training_keeps_its_epochs_after_ctrl_c(collection: Collection, tmp_path: Path) -> None:
    arguments = train_arguments(collection, tmp_path / "run", "--epochs", 40)
    assert interrupt(start(*arguments), tmp_path / "run" / schema.LAST_CHECKPOINT) == INTERRUPTED
    assert not list((tmp_path / "run").glob("*.part"))
    assert read_checkpoint(tmp_path / "run" / schema.LAST_CHECKPOINT)["progress"]["epoch"] >= 1


def test_worker_processes_end_quietly_with_the_command(tmp_path: Path) -> None:
    process = start("phantom", "--out", tmp_path / "phantoms", "--patients", 200, "--workers", 2)
    assert interrupt(process, tmp_path / ".phantoms.*.part") == INTERRUPTED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--help",), ("query", "--help"), ("doctor", "--format", "csv")])
def test_a_reader_that_leaves_hears_nothing(arguments: tuple[str, ...]) -> None:
    process = start(*arguments)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode in (0, 1)


def test_a_library_that_is_interrupted_while_it_is_imported_ends_as_any_interrupt(
    noduleclip: Command, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime makes an ImportError of it."""

    def interrupt(_folder: Path) -> None:
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr("noduleclip.workflows.stored_index.open_index", interrupt)
    done = noduleclip("query", "--emb-dir", index, "--query", "> 6 mm")
    assert (done.code, done.err.splitlines()[-1]) == (130, INTERRUPTED)


def test_a_library_that_cannot_be_imported_is_no_interrupt(
    noduleclip: Command, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path) -> None:
        raise ImportError("no such library")

    monkeypatch.setattr("noduleclip.workflows.stored_index.open_index", fail)
    with pytest.raises(ImportError, match="no such library"):
        noduleclip("query", "--emb-dir", index, "--query", "> 6 mm")


SWALLOWED = """
import signal, time
from noduleclip.cli import main
from noduleclip.workflows import stored_index

class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        time.sleep(0)

def open_slowly(_folder):
    Interrupted()
    time.sleep(30)

stored_index.open_index = open_slowly
main(["query", "--emb-dir", "index", "--query", "> 6 mm"])
"""


def test_an_interrupt_that_python_swallows_comes_again() -> None:
    """In a destructor, as in a callback of an import, it is printed and dropped."""
    done = subprocess.run([sys.executable, "-c", SWALLOWED], capture_output=True, text=True, timeout=25, check=False)
    assert (done.returncode, done.stderr.splitlines()) == (130, [INTERRUPTED])
