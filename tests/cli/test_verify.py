"""A changed byte anywhere in an index is found: by `verify` in whole files, by every command in those up to 64 MB."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.errors import ArtefactError
from noduleclip.io.index import folder_opening as index_store
from noduleclip.io.index import lance_writer
from noduleclip.io.index.lance_binding import parse_row_files
from noduleclip.io.index.open import open_index
from stores import copy_to_store, write_small_index

FILES = (schema.EMBEDDINGS, schema.META, schema.OUTLINES, schema.TEXT_TOWER)
QUESTION = ("--query", "> 6 mm")


def swap_rows(file: Path) -> None:
    """Swap two rows of the embeddings: every value is one that was written, and every vector a unit vector."""
    embeddings = np.load(file)
    embeddings[[3, 4]] = embeddings[[4, 3]]
    np.save(file, embeddings)


def flip_byte(file: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.fixture
def copy(index: Path, tmp_path: Path) -> Path:
    shutil.copytree(index, tmp_path / "copy")
    return tmp_path / "copy"


def test_an_index_as_it_was_written_is_confirmed(noduleclip: Command, copy: Path) -> None:
    done = noduleclip("verify", "--emb-dir", copy)
    size = sum((copy / name).stat().st_size for name in FILES)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"{copy}: all files are those that were written ({size:,} bytes)\n"


@pytest.mark.parametrize(("name", "change"), [(schema.EMBEDDINGS, swap_rows), *((name, flip_byte) for name in FILES)])
def test_a_changed_file_is_refused(noduleclip: Command, copy: Path, name: str, change: Callable[[Path], None]) -> None:
    change(copy / name)
    done = noduleclip("verify", "--emb-dir", copy)
    assert (done.code, done.out) == (4, "")
    assert done.err == (f"error: {copy / name}: 1 file is not the one that the index was written with; embed again\n")
    for command in ("query", "fuse", "evaluate"):
        done = noduleclip(command, "--emb-dir", copy, *(QUESTION if command != "evaluate" else ()))
        assert (done.code, done.out) == (4, "")
        assert done.err == f"error: {copy / name}: is not the file that index.json names; embed again\n"


def test_all_changed_files_are_named(noduleclip: Command, copy: Path) -> None:
    flip_byte(copy / schema.META)
    swap_rows(copy / schema.EMBEDDINGS)
    done = noduleclip("verify", "--emb-dir", copy)
    assert done.code == 4
    assert str(copy / schema.META) in done.err
    assert str(copy / schema.EMBEDDINGS) in done.err
    assert "2 files are not those that the index was written with" in done.err


def test_files_too_large_for_every_query_are_verified(
    noduleclip: Command, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_store, "HASHED_BYTES", 1000)
    swap_rows(copy / schema.EMBEDDINGS)
    assert noduleclip("query", "--emb-dir", copy, *QUESTION).code == 0
    assert noduleclip("verify", "--emb-dir", copy).code == 4


def test_other_folders_than_an_index_are_refused(noduleclip: Command, tmp_path: Path) -> None:
    done = noduleclip("verify", "--emb-dir", tmp_path / "none")
    assert done.code == 4
    assert "no such index folder" in done.err
    done = noduleclip("verify", "--emb-dir", tmp_path)
    assert done.code == 4
    assert "holds no index.json" in done.err


@pytest.fixture
def store(index: Path, tmp_path: Path) -> Path:
    pytest.importorskip("lance")
    copy_to_store(index, f"lance://{tmp_path / 'store'}", indexed_rows=1)
    return tmp_path / "store"


def test_a_store_as_it_was_written_is_confirmed(noduleclip: Command, index: Path, store: Path) -> None:
    for _ in range(2):  # the second time over an older store, whose files go
        done = noduleclip("verify", "--emb-dir", f"lance://{store}")
        assert done.code == 0, done.err
        assert "all files are those that were written" in done.err
        copy_to_store(index, f"lance://{store}", indexed_rows=1)


@pytest.mark.parametrize("files", ["data/*.lance", "_versions/*.manifest", "_indices/*/*"])
def test_a_changed_file_of_a_store_is_refused(noduleclip: Command, store: Path, files: str) -> None:
    changed = sorted((store / "rows.lance").glob(files))
    assert changed
    flip_byte(changed[-1])
    done = noduleclip("verify", "--emb-dir", f"lance://{store}")
    assert done.code == 4, done.err
    if "_versions" not in files:  # which Lance cannot open
        assert str(changed[-1]) in done.err
        assert noduleclip("query", "--emb-dir", f"lance://{store}", *QUESTION).code == 4


def test_a_store_without_checksums_is_a_note(
    noduleclip: Command, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stores of earlier versions, and those in object stores, have no checksums of their rows."""
    pytest.importorskip("lance")
    monkeypatch.setattr(lance_writer, "_describe_row_files", lambda *_: {})
    store = f"lance://{tmp_path / 'store'}"
    copy_to_store(index, store, indexed_rows=1 << 30)
    done = noduleclip("verify", "--emb-dir", store)
    rows = open_index(index).manifest.rows
    assert done.code == 0
    assert f"{rows:,} rows are in order, all unit vectors" in done.err
    assert "note: this store has no checksums of its rows" in done.err


@pytest.mark.parametrize(
    "files", ['["data/x"]', '{"../index.json": {"sha256": "", "bytes": 1}}', '{"data/x": {}}', "["]
)
def test_a_damaged_list_of_files_is_refused(index: Path, tmp_path: Path, files: str) -> None:
    pytest.importorskip("lance")
    with pytest.raises(ArtefactError, match=r"index\.lance is not of this tool"):
        parse_row_files(files, "lance://store")


def test_shards_are_verified(
    noduleclip: Command, collection: Collection, checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    out = tmp_path / "index"
    embed = ("embed", "--roi-csv", collection.roi_csv, "--model", checkpoint, "--out-dir", out, "--device", "cpu")
    for shard in ("1/2", "2/2"):
        assert noduleclip(*embed, "--shard", shard).code == 0
    done = noduleclip("verify", "--emb-dir", out)
    assert done.code == 0, done.err
    folder = out / schema.SHARDS_FOLDER / "2-of-2"  # all rows are in one piece, which the first has not
    record = (folder / schema.SHARD_MANIFEST).read_text()
    (folder / schema.SHARD_MANIFEST).write_text(json.dumps(json.loads(record) | {"rows": 0}))
    with (folder / schema.EMBEDDINGS).open("ab") as file:
        file.write(b"more")
    done = noduleclip("verify", "--emb-dir", out)
    assert done.code == 4
    assert "shard.json: 0 rows and 0 rejects are not the" in done.err
    (folder / schema.SHARD_MANIFEST).write_text(record)
    os.truncate(folder / schema.EMBEDDINGS, (folder / schema.EMBEDDINGS).stat().st_size - 4)
    done = noduleclip("verify", "--emb-dir", out)
    assert f"{folder}: all files are those that were written" in done.err
    swap_rows(folder / schema.EMBEDDINGS)
    done = noduleclip("verify", "--emb-dir", out)
    assert done.code == 4
    assert str(folder / schema.EMBEDDINGS) in done.err
    swap_rows(folder / schema.EMBEDDINGS)
    said = json.loads((folder / schema.SHARD_MANIFEST).read_text())
    (folder / schema.SHARD_MANIFEST).write_text(json.dumps(said | {"whole": "another"}))
    done = noduleclip("verify", "--emb-dir", out)
    assert done.code == 4
    assert "is of another table, model or setting" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="has no pipes in folders")
@pytest.mark.parametrize("name", [schema.SHARD_MANIFEST, schema.INDEX_MANIFEST])
def test_a_pipe_among_shards_is_not_waited_for(noduleclip: Command, tmp_path: Path, name: str) -> None:
    folder = tmp_path / schema.SHARDS_FOLDER / "1-of-1"
    write_small_index(folder, "model", 3)
    (folder / schema.SHARD_MANIFEST).write_text(
        json.dumps(
            {
                "schema_version": 1, "shard": "1/1", "whole": "whole", "model_id": "model",
                "first_row": 0, "table_rows": 3, "rows": 3, "rejects": [],
            }
        )
    )  # fmt: skip
    (folder / name).unlink()
    os.mkfifo(folder / name)
    command = [sys.executable, "-m", "noduleclip", "verify", "--emb-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4, done.stderr
    assert str(folder) in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of open files")
def test_shards_may_be_more_than_files_may_be_open(noduleclip: Command, tmp_path: Path) -> None:
    import resource

    of, rows = 60, 3
    for number in range(1, of + 1):
        folder = tmp_path / schema.SHARDS_FOLDER / f"{number}-of-{of}"
        write_small_index(folder, "model", rows)
        said = {
            "schema_version": 1, "shard": f"{number}/{of}", "whole": "whole", "model_id": "model",
            "first_row": rows * (number - 1), "table_rows": rows, "rows": rows, "rejects": [],
        }  # fmt: skip
        (folder / schema.SHARD_MANIFEST).write_text(json.dumps(said))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for command in (("verify", "--emb-dir"), ("merge", "--out-dir")):
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            done = noduleclip(*command, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert done.code == 0, done.err
    assert open_index(tmp_path).manifest.rows == of * rows
