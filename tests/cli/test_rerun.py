"""`query.json` says how the hits were found; `--rerun` finds them again, or says that the index changed."""

import json
import shutil
from pathlib import Path

import pytest

from conftest import Command
from noduleclip import __version__, schema

SEARCHES = [
    ("query", "> 6 mm", "--topk", 4, "--unique", "patient", "--where", "diameter_mm > 3"),
    ("query", "> 6 mm", "--min-probability", 0.1, "--like", "0", "--like-weight", 0.3),
    ("fuse", "> 6 mm", "--alpha", 0.3, "--softness-mm", 0, "--topk", "all"),
]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: " ".join(map(str, search[:1])))
def test_a_rerun_finds_the_same_hits(
    noduleclip: Command, index: Path, tmp_path: Path, search: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, sentence, *options = search
    monkeypatch.chdir(index.parent)
    first = noduleclip(command, index.name, sentence, *options, "--out", tmp_path / "first")
    assert first.code == 0, first.err
    monkeypatch.chdir(tmp_path)
    again = noduleclip(command, "--rerun", "first", "--out", "second")
    assert again.code == 0, again.err
    assert "warning" not in again.err
    assert again.out == first.out
    assert (tmp_path / "second" / schema.TOP_K_CSV).read_bytes() == (tmp_path / "first" / schema.TOP_K_CSV).read_bytes()
    records = [json.loads((tmp_path / name / schema.SEARCH_RECORD).read_text()) for name in ("first", "second")]
    for record in records:
        del record["date"], record[schema.RUN_SETTINGS]["out"], record[schema.RUN_SETTINGS]["rerun"]
    assert records[0] == records[1]


def test_the_record_says_what_was_asked_of_what(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    done = noduleclip("query", index, "a nodule larger than 6 mm", "--topk", 3, "--out", tmp_path)
    assert done.code == 0, done.err
    record = json.loads((tmp_path / schema.SEARCH_RECORD).read_text())
    (sentence,) = record["sentences"]
    assert (sentence["sentence"], sentence["hits"]) == ("a nodule larger than 6 mm", 3)
    assert "6 mm" in sentence["read_as"]
    assert record["index"]["path"] == str(index)
    assert len(record["index"]["generation"]) == 64
    manifest = json.loads((index / schema.INDEX_MANIFEST).read_text())
    assert record["model"]["checkpoint_sha256"] == manifest["checkpoint_sha256"]
    assert record["versions"]["noduleclip"] == __version__
    assert record[schema.RUN_SETTINGS]["topk"] == "3"
    command = noduleclip("query", "--print-config", "x", "y").out
    names = {line.removeprefix("# ").split(" =")[0].replace("-", "_") for line in command.splitlines()}
    assert set(record[schema.RUN_SETTINGS]) == names, "all options"


def test_an_option_beside_rerun_overrides_the_record(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    noduleclip("query", index, "> 6 mm", "--topk", 3, "--out", tmp_path)
    done = noduleclip("query", "--rerun", tmp_path, "--topk", 2, "--format", "csv")
    assert done.out == noduleclip("query", index, "> 6 mm", "--topk", 2, "--format", "csv").out
    assert noduleclip("query", "--config", tmp_path / schema.SEARCH_RECORD, "--print-config").code == 0


def test_an_index_that_changed_is_told(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(index, tmp_path / "index")
    noduleclip("query", copy, "> 6 mm", "--out", tmp_path / "hits")
    manifest = json.loads((copy / schema.INDEX_MANIFEST).read_text())
    (copy / schema.INDEX_MANIFEST).write_text(json.dumps(manifest, indent=3))
    done = noduleclip("query", "--rerun", tmp_path / "hits")
    assert done.code == 0, done.err
    assert f"warning: {copy} was written anew since 20" in done.err
    assert "the hits may differ" in done.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; --rerun takes a folder that query or fuse wrote with --out"),
        ("{", "not readable as JSON"),
        ("{}", "is no record of a search"),
    ],
)
def test_a_folder_without_a_record_is_told(
    noduleclip: Command, tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / schema.SEARCH_RECORD).write_text(content)
    done = noduleclip("query", "--rerun", tmp_path)
    assert done.code == 4
    assert done.err.startswith(f"error: {tmp_path / schema.SEARCH_RECORD}: ")
    assert message in done.err


def test_a_record_of_the_other_command_is_told(noduleclip: Command, index: Path, tmp_path: Path) -> None:
    noduleclip("query", index, "> 6 mm", "--out", tmp_path)
    done = noduleclip("fuse", "--rerun", tmp_path)
    assert (done.code, done.err) == (2, f"error: --rerun {tmp_path}: is of noduleclip query; give it to that command\n")
