"""Commands that read an index while another process replaces it answer from the old one or the new one."""

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Command
from noduleclip.engine.join import join_indexes
from noduleclip.io.index.base import Index
from noduleclip.io.index.open import open_index
from noduleclip.workflows import stored_index
from stores import copy_to_store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
COMMANDS: dict[str, list[object]] = {
    "query": ["query", "--query", "> 6 mm", "--where", "diameter_mm > 3", "--topk", 50],
    "like": ["query", "--like", 3, "--query", "> 6 mm"],
    "fuse": ["fuse", "--query", "> 6 mm", "--alpha", 0.4],
    "describe": ["describe", "--where", "diameter_mm > 3"],
    "evaluate": ["evaluate", "--resamples", 10, "--draws", 3],
}


@pytest.fixture(scope="module")
def other(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index of the same rows in reverse order, under other names."""
    out = tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(ROOT / "benchmarks"))
        importlib.import_module("replace").make_other(open_index(index), out / "index")
    return out / "index"


def replace_once_opened(monkeypatch: pytest.MonkeyPatch, replace: Callable[[], object]) -> None:
    """Have an index replaced as soon as a command has opened it, the first time."""
    waiting = [replace]

    def open_and_replace(location: Path | str) -> Index:
        opened: Index = open_index(location)
        if waiting:
            waiting.pop()()
        return opened

    monkeypatch.setattr(stored_index, "open_index", open_and_replace)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_replaced_while_a_command_reads_it_answers_as_the_old_one(
    noduleclip: Command, index: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    command, *options = COMMANDS[name]
    before = noduleclip(command, "--emb-dir", index, *options, "--format", "csv")
    assert before.code == 0, before.err
    folder = tmp_path / "index"
    shutil.copytree(index, folder)
    replace_once_opened(monkeypatch, lambda: join_indexes([open_index(other)], folder))
    done = noduleclip(command, "--emb-dir", folder, *options, "--format", "csv")
    assert (done.code, done.out) == (0, before.out), done.err
    after = noduleclip(command, "--emb-dir", folder, *options, "--format", "csv")
    assert after.code == 0, after.err
    assert after.out != before.out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_store_replaced_while_a_command_reads_it_answers_as_the_new_one(
    noduleclip: Command, index: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pytest.importorskip("lance")
    command, *options = COMMANDS[name]
    new = noduleclip(command, "--emb-dir", other, *options, "--format", "csv")
    store = f"lance://{tmp_path / 'store'}"
    copy_to_store(index, store, indexed_rows=1 << 30)
    replace_once_opened(monkeypatch, lambda: copy_to_store(other, store, indexed_rows=1 << 30))
    done = noduleclip(command, "--emb-dir", store, *options, "--format", "csv")
    assert (done.code, done.out) == (0, new.out), done.err
    assert "note: the index was replaced meanwhile; reading the new one" in done.err


def test_a_replaced_store_is_recognised(index: Path, other: Path, tmp_path: Path) -> None:
    pytest.importorskip("lance")
    store = f"lance://{tmp_path / 'store'}"
    copy_to_store(index, store, indexed_rows=1 << 30)
    opened = open_index(store)
    assert not opened.was_replaced()
    copy_to_store(other, store, indexed_rows=1 << 30)
    assert opened.was_replaced()
    again = open_index(store)
    assert not again.was_replaced()
    assert again.generation != opened.generation
    shutil.rmtree(tmp_path / "store")
    assert again.was_replaced()
    copy_to_store(index, store, indexed_rows=1 << 30)  # its versions are counted from one again
    assert again.was_replaced()


def test_queries_beside_a_process_that_replaces_their_index(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    benchmark = importlib.import_module("replace")
    for count in benchmark.main(index, tmp_path / "out", 100, store=False).values():
        assert not count.errors
        assert set(count.answers) <= {"first", "second"}
        assert count.answers.total() == 100
