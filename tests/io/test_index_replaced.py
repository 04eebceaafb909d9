"""An opened index is one generation, whatever another process writes to its folder meanwhile."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import ArtefactError, IndexReplacedError
from noduleclip.io.index import base as index_base
from noduleclip.io.index import folder_opening as index_store
from noduleclip.io.index.base import Index
from noduleclip.io.index.open import open_index
from noduleclip.io.output_folders import LOCK_FILE
from stores import SMALL_MODEL, write_manifest, write_small_index

FIRST, SECOND = ("first", 70), ("second", 50)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The folder that is opened, which holds the first index, and one that holds the second."""
    write_small_index(tmp_path / "index", *FIRST)
    write_small_index(tmp_path / "other", *SECOND)
    return tmp_path / "index", tmp_path / "other"


def replace(folder: Path, other: Path) -> None:
    """Move the files of a copy of `other` into a folder, in the order of `write_index_files`."""
    copy = folder.with_name("copy")
    shutil.copytree(other, copy)
    (folder / schema.INDEX_MANIFEST).unlink()
    for path in sorted(copy.iterdir(), key=lambda path: path.name == schema.INDEX_MANIFEST):
        path.replace(folder / path.name)
    copy.rmdir()


def read_everything(index: Index) -> tuple[Any, ...]:
    """Read all that an index holds by each way that there is."""
    rows = np.arange(index.manifest.rows)
    vectors: NDArray[np.float32] = np.array(index.embeddings[rows])
    with index.text_encoder_path() as encoder:
        text = encoder.read_text()
    return (
        index.manifest.model_id,
        vectors.tobytes(),
        index.read_rows(rows).rows(),
        index.collect(index.scan().filter(pl.col(schema.DIAMETER_MM) > 0)).rows(),
        index.read_columns([schema.PATIENT_ID]).rows(),
        index.read_outlines(rows),
        text,
    )


def test_an_opened_index_is_read_as_it_was_opened(folders: tuple[Path, Path]) -> None:
    folder, other = folders
    before, new = read_everything(open_index(folder)), read_everything(open_index(other))
    index = open_index(folder)
    assert not index.was_replaced()
    replace(folder, other)
    assert read_everything(index) == before
    assert index.was_replaced()
    again = open_index(folder)
    assert read_everything(again) == new
    assert not again.was_replaced()
    assert again.generation == open_index(other).generation != index.generation


def test_an_opened_index_needs_its_folder_no_more(folders: tuple[Path, Path]) -> None:
    folder, _ = folders
    before, index = read_everything(open_index(folder)), open_index(folder)
    shutil.rmtree(folder)
    assert read_everything(index) == before
    assert index.was_replaced()


@pytest.mark.parametrize("fails", [False, True])
def test_a_text_tower_replaced_while_it_is_read_is_not_used(folders: tuple[Path, Path], fails: bool) -> None:
    folder, other = folders
    index = open_index(folder)

    def read() -> None:
        with index.text_encoder_path() as encoder:
            assert encoder == folder / schema.TEXT_TOWER  # messages about it name the file that the user knows
            replace(folder, other)
            if fails:
                raise ArtefactError("not a readable text encoder")

    with pytest.raises(IndexReplacedError, match="was replaced while it was read"):
        read()
    with index.text_encoder_path() as encoder:
        assert encoder.read_text() == "encoder of first"


@pytest.mark.parametrize("name", [schema.EMBEDDINGS, schema.META, schema.INDEX_MANIFEST, schema.TEXT_TOWER])
def test_a_file_that_is_overwritten_in_place_is_noticed(folders: tuple[Path, Path], name: str) -> None:
    """`cp` onto a file changes what is open, other than the renames of this package."""
    folder, other = folders
    opened = open_index(folder)
    opened.check_unchanged()
    assert not opened.was_replaced()
    (folder / name).write_bytes((other / name).read_bytes())
    assert opened.was_replaced()
    with pytest.raises(IndexReplacedError, match=f"{name}: was overwritten while it was open"):
        opened.check_unchanged()


def test_the_same_index_written_again_counts_as_the_same(folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = folders
    index = open_index(folder)
    shutil.copytree(folder, tmp_path / "same")
    replace(folder, tmp_path / "same")
    assert not index.was_replaced()


@pytest.mark.parametrize("step", ["_map_embeddings", "parse_manifest", "check_columns"])
def test_an_index_replaced_while_it_is_opened_is_opened_anew(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder, other = folders
    new = read_everything(open_index(other))
    original: Callable[..., object] = getattr(index_store, step)

    def replace_first(*arguments: object) -> object:
        monkeypatch.undo()
        replace(folder, other)
        return original(*arguments)

    monkeypatch.setattr(index_store, step, replace_first)
    index = open_index(folder)
    assert read_everything(index) == new
    assert not index.was_replaced()


@pytest.mark.parametrize("away", [schema.INDEX_MANIFEST, schema.META])
def test_an_opening_between_two_states_may_meet_the_next_replacement(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    """Three replacements in a row, each finished, and its lock released, before the failed opening is judged."""
    folder, other = folders
    opened: Callable[..., object] = index_store._open_generation
    tries = []

    def open_between(*arguments: object) -> object:
        tries.append(1)
        if len(tries) > 3:
            return opened(*arguments)
        (folder / away).rename(folder / "away")
        try:
            return opened(*arguments)
        finally:
            (folder / "away").rename(folder / away)
            replace(folder, other)

    monkeypatch.setattr(index_store, "_open_generation", open_between)
    assert open_index(folder).manifest.model_id == SECOND[0]
    assert len(tries) == 4


def test_an_index_that_is_replaced_at_every_try_is_given_up(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = folders
    original = index_base.check_columns

    def replace_always(columns: pl.Schema, path: str) -> None:
        write_manifest(
            folder, model_id="m", checkpoint_sha256="c", model=SMALL_MODEL, rows=FIRST[1], scale=1.0, bias=0.0
        )
        original(columns, path)

    monkeypatch.setattr(index_store, "check_columns", replace_always)
    monkeypatch.setattr(index_store, "_REPLACING_S", 0.2)
    with pytest.raises(IndexReplacedError, match="is being replaced again and again; run the command again"):
        open_index(folder)


@pytest.mark.parametrize("name", [schema.INDEX_MANIFEST, schema.EMBEDDINGS])
def test_a_folder_between_two_states_is_waited_for(folders: tuple[Path, Path], name: str) -> None:
    folder, _ = folders
    (folder / LOCK_FILE).touch()
    (folder / name).rename(folder / "away")
    writer = threading.Timer(0.4, lambda: (folder / "away").rename(folder / name))
    writer.start()
    try:
        assert open_index(folder).manifest.model_id == FIRST[0]
    finally:
        writer.join()


@pytest.mark.parametrize(("locked", "most_s"), [(False, 0.5), (True, 1.5)])
def test_a_folder_that_stays_unfinished_is_reported(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, locked: bool, most_s: float
) -> None:
    folder, _ = folders
    monkeypatch.setattr(index_store, "_REPLACING_S", 0.5)
    if locked:
        (folder / LOCK_FILE).touch()
    (folder / schema.INDEX_MANIFEST).unlink()
    started = time.monotonic()
    with pytest.raises(ArtefactError, match=r"holds no index\.json; noduleclip embed did not finish here"):
        open_index(folder)
    assert time.monotonic() - started < most_s
