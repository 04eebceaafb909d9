"""Opening of indexes that earlier versions made."""

import json
import shutil
import warnings
from pathlib import Path

import pytest

import noduleclip as nc
from conftest import call
from noduleclip import schema
from noduleclip.io.index.open import open_index
from noduleclip.workflows.reporter import NoteCollector
from noduleclip.workflows.stored_index import open_stored_index

NOTE = "an index of outlines, made by an earlier version"


def make_earlier(folder: Path) -> None:
    """Turn the manifest of an index of outlines into one of schema version 2."""
    path = folder / schema.INDEX_MANIFEST
    manifest = json.loads(path.read_text())
    for name in ("unit", "views", "precision"):
        del manifest[name]
    path.write_text(json.dumps({**manifest, "schema_version": 2}))


@pytest.fixture
def earlier(index: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "earlier"
    shutil.copytree(index, folder)
    make_earlier(folder)
    return folder


def test_a_manifest_of_version_2_is_of_outlines(earlier: Path) -> None:
    manifest = open_index(earlier).manifest
    assert (manifest.unit, manifest.precision) == ("outline", "float32")
    assert manifest.views == manifest.model.views


def test_version_2_is_noted_once(earlier: Path, index: Path) -> None:
    for folder, expected in ((earlier, 1), (index, 0)):
        collector = NoteCollector()
        open_stored_index(folder, reporter=collector)
        assert sum(NOTE in note for note in collector.notes) == expected


@pytest.mark.parametrize("command", [["query"], ["fuse", "--alpha", 0.5]])
def test_commands_note_version_2_and_answer(earlier: Path, command: list[object]) -> None:
    outcome = call(*command, "--emb-dir", earlier, "--query", "> 6 mm", "--format", "csv")
    assert outcome.code == 0
    assert outcome.err.count(NOTE) == 1
    assert len(outcome.out.splitlines()) == 11


def test_python_warns_of_version_2(earlier: Path, index: Path) -> None:
    with pytest.warns(UserWarning, match=NOTE):
        assert len(nc.open_index(earlier)) == len(open_index(index).embeddings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nc.open_index(index)
