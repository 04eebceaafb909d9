"""An index made in shards is the same to the byte as one made at once, and what does not fit together is refused."""

import errno
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Collection, Command
from noduleclip import schema
from noduleclip.engine import chunks
from noduleclip.engine.chunks import list_chunks
from noduleclip.engine.shards import ShardNumber, open_shards
from noduleclip.errors import UsageError
from noduleclip.io.index.open import open_index
from noduleclip.io.output_folders import locking


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 8)


@pytest.fixture
def table(collection: Collection, tmp_path: Path) -> Path:
    """The phantoms' table with rows that cannot be used: alone, a whole chunk, and the last."""
    frame = pl.read_csv(collection.roi_csv)
    paths = [str(collection.roi_csv.parent / path) for path in frame[schema.DICOM_PATH]]
    for row in (3, *range(8, 16), -1):
        paths[row] = "gone.dcm"
    frame.with_columns(pl.Series(schema.DICOM_PATH, paths)).write_csv(tmp_path / "rois.csv")
    return tmp_path / "rois.csv"


class Runs:
    """Runs of `embed` on one table."""

    def __init__(self, noduleclip: Command, table: Path, checkpoint: Path, cache: Path) -> None:
        self._command, self._table, self._checkpoint, self._cache = noduleclip, table, checkpoint, cache
        self.unit = "outline"

    def arguments(self, out_dir: Path, *more: object) -> list[object]:
        return [
            "embed", "--roi-csv", self._table, "--model", self._checkpoint, "--out-dir", out_dir, "--device", "cpu",
            "--unit", self.unit, "--bs", 5, "--cache-dir", self._cache, "--max-rejects", 0.5, *more,
        ]  # fmt: skip

    def embed(self, out_dir: Path, *more: object, code: int = 0) -> str:
        done = self._command(*self.arguments(out_dir, *more))
        assert done.code == code, done.err
        return done.err

    def merge(self, out_dir: Path, *more: object, code: int = 0) -> str:
        done = self._command("merge", "--out-dir", out_dir, *more)
        assert done.code == code, done.err
        return done.err


@pytest.fixture
def runs(noduleclip: Command, table: Path, checkpoint: Path, exported: Path) -> Runs:
    return Runs(noduleclip, table, checkpoint, exported)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize(("unit", "of"), [("outline", 1), ("outline", 2), ("outline", 20), ("nodule", 3)])
def test_shards_joined_are_the_index_of_one_process(runs: Runs, tmp_path: Path, unit: str, of: int) -> None:
    runs.unit = unit
    runs.embed(tmp_path / "whole")
    for number in range(of, 0, -1):
        runs.embed(tmp_path / "parts", "--shard", f"{number}/{of}")
    runs.merge(tmp_path / "parts", "--max-rejects", 0.5, "--remove-shards")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    assert open_index(tmp_path / "parts").manifest.unit == unit
    assert {path.name for path in (tmp_path / "parts").iterdir()} == set(contents(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.parametrize("indexed_rows", [1, 1000])
def test_shards_are_joined_in_a_store(runs: Runs, noduleclip: Command, tmp_path: Path, indexed_rows: int) -> None:
    """Also by an array of more jobs than chunks, and with a shard whose rows are all unusable."""
    whole, parts, store = tmp_path / "whole", tmp_path / "parts", f"lance://{tmp_path / 'store'}"
    runs.embed(whole)
    for number in range(1, 21):
        runs.embed(parts, "--shard", f"{number}/20")
    to_store = "--store", store, "--vector-index-from", indexed_rows
    assert f"shards in {store}" in runs.merge(parts, "--max-rejects", 0.5, *to_store, "--remove-shards")
    assert {path.name for path in parts.iterdir()} == {schema.REJECTS_CSV}
    assert (parts / schema.REJECTS_CSV).read_bytes() == (whole / schema.REJECTS_CSV).read_bytes()
    stored, kept = open_index(store), open_index(whole)
    assert stored.has_vector_index == (indexed_rows == 1)
    assert stored.collect(stored.scan()).equals(kept.collect(kept.scan()))
    assert np.array_equal(stored.embeddings[0 : kept.manifest.rows], kept.embeddings)
    assert stored.read_outlines(range(9)) == kept.read_outlines(range(9))
    assert replace(stored.manifest, files={}) == replace(kept.manifest, files={})
    ask = "query", "--query", "a lung nodule with diameter > 6 mm", "--format", "csv", "--emb-dir"
    assert noduleclip(*ask, store).out == noduleclip(*ask, whole).out


@pytest.mark.slow
def test_an_index_is_copied_into_a_store(runs: Runs, noduleclip: Command, tmp_path: Path) -> None:
    whole, store = tmp_path / "whole", f"lance://{tmp_path / 'store'}"
    runs.embed(whole)
    before = contents(whole)
    assert f"of {whole} in {store}" in runs.merge(whole, "--store", store)
    assert contents(whole) == before
    assert "already holds" in runs.merge(whole, "--store", store, code=2)
    runs.merge(whole, "--store", store, "--overwrite")
    ask = "query", "--query", "a lung nodule with diameter > 6 mm", "--format", "csv", "--emb-dir"
    assert noduleclip(*ask, store).out == noduleclip(*ask, whole).out
    assert "no shards; leave --remove-shards out" in runs.merge(
        whole, "--store", store, "--overwrite", "--remove-shards", code=2
    )
    assert "holds no finished shard" in runs.merge(tmp_path / "none", "--store", store, "--overwrite", code=4)
    (whole / schema.META).write_bytes((whole / schema.META).read_bytes()[::-1])
    assert f"{whole / schema.META}: " in runs.merge(whole, "--store", store, "--overwrite", code=4)
    assert noduleclip(*ask, store).code == 0, "what was there stays"


def test_merge_refuses_while_a_job_makes_a_shard_again(runs: Runs, tmp_path: Path) -> None:
    for number in (1, 2):
        runs.embed(tmp_path / "parts", "--shard", f"{number}/2")
    with locking(tmp_path / "parts/shards/2-of-2", lambda _: None):
        told = runs.merge(tmp_path / "parts", "--max-rejects", 0.5, "--remove-shards", code=2)
    assert "2-of-2: another noduleclip is writing there" in told
    assert len(open_shards(tmp_path / "parts")) == 2
    runs.merge(tmp_path / "parts", "--max-rejects", 0.5)


def test_merge_warns_of_rejects_and_of_shards_that_cannot_be_removed(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.embed(tmp_path / "parts", "--shard", "1/1")
    mapped: list[bool] = []

    def refuse(folder: Path) -> None:
        maps = Path("/proc/self/maps")
        mapped.append(maps.exists() and str(folder) in maps.read_text())
        raise OSError(errno.EBUSY, "Device or resource busy", "1-of-1")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    told = runs.merge(tmp_path / "parts", "--max-rejects", 0.5, "--remove-shards")
    assert "10 of 109 rows cannot be used (10 missing-file); first: " in told
    assert f"all are in {tmp_path / 'parts' / schema.REJECTS_CSV}" in told
    assert "the index is complete, but its shards cannot all be removed (Device or resource busy)" in told
    assert mapped == [False], "NFS keeps what is mapped"


@pytest.mark.slow
@pytest.mark.parametrize("to_store", [False, True])
def test_merge_reads_no_bytes_that_have_changed(runs: Runs, tmp_path: Path, to_store: bool) -> None:
    for number in (1, 2):
        runs.embed(tmp_path / "parts", "--shard", f"{number}/2")
    file = tmp_path / "parts/shards/2-of-2" / schema.EMBEDDINGS
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    more = ("--store", f"lance://{tmp_path / 'store'}") if to_store else ()
    told = runs.merge(tmp_path / "parts", "--max-rejects", 0.5, *more, code=4)
    assert f"{file}: is not the file that {schema.INDEX_MANIFEST} names" in told


def test_a_dry_run_of_a_shard_enforces_no_reject_limit(runs: Runs, tmp_path: Path) -> None:
    told = runs.embed(tmp_path / "parts", "--shard", "2/10", "--dry-run", "--strict")
    assert "8 of 8 rows cannot be used" in told
    assert not (tmp_path / "parts").exists()


def test_one_shard_is_written_again(runs: Runs, tmp_path: Path) -> None:
    out_dir = tmp_path / "parts"
    for number in (1, 2):
        runs.embed(out_dir, "--shard", f"{number}/2")
    kept = contents(out_dir / "shards" / "1-of-2")
    (out_dir / "shards" / "2-of-2" / schema.EMBEDDINGS).write_bytes(b"")
    assert "has 0 bytes" in runs.merge(out_dir, "--max-rejects", 0.5, code=4)
    assert "already holds shard.json; --overwrite replaces it" in runs.embed(out_dir, "--shard", "2/2", code=2)
    runs.embed(out_dir, "--shard", "2/2", "--overwrite")
    runs.merge(out_dir, "--max-rejects", 0.5)
    assert contents(out_dir / "shards" / "1-of-2") == kept


@pytest.mark.slow
def test_shards_are_made_at_the_same_time(runs: Runs, tmp_path: Path) -> None:
    """Two processes start on one folder that is not there yet, one cache and one table."""
    out_dir = tmp_path / "parts"
    small = "from noduleclip.engine import chunks; chunks.CHUNK_ROWS = 8; from noduleclip.cli import main; main()"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", small, *map(str, runs.arguments(out_dir, "--shard", f"{number}/2"))],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (1, 2)
    ]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert all(shard.index is not None for shard in open_shards(out_dir))
    runs.merge(out_dir, "--max-rejects", 0.5, "--remove-shards")
    runs.embed(tmp_path / "whole")
    assert contents(out_dir) == contents(tmp_path / "whole")


def test_missing_shards_are_named(runs: Runs, tmp_path: Path) -> None:
    out_dir = tmp_path / "parts"
    assert "holds no finished shard" in runs.merge(out_dir, code=4)
    runs.embed(out_dir, "--shard", "2/3")
    (out_dir / "shards" / "1-of-3").mkdir()  # a run that was killed
    assert "2 of 3 shards are not finished: 1/3, 3/3" in runs.merge(out_dir, code=4)
    assert not (out_dir / schema.INDEX_MANIFEST).exists()


def test_shards_of_two_divisions_are_refused(runs: Runs, tmp_path: Path) -> None:
    for shard in ("1/2", "2/2", "1/3"):
        runs.embed(tmp_path / "parts", "--shard", shard)
    assert "holds parts of 2 shards and 3 shards" in runs.merge(tmp_path / "parts", code=4)


def test_shards_of_two_settings_are_refused(runs: Runs, tmp_path: Path) -> None:
    runs.embed(tmp_path / "parts", "--shard", "1/2")
    runs.embed(tmp_path / "parts", "--shard", "2/2", "--assume-hu")
    told = runs.merge(tmp_path / "parts", code=4)
    assert "2-of-2: is of another table, model or setting than 1-of-2" in told


def test_a_broken_shard_is_refused(runs: Runs, tmp_path: Path) -> None:
    runs.embed(tmp_path / "parts", "--shard", "1/1")
    manifest = tmp_path / "parts" / "shards" / "1-of-1" / schema.SHARD_MANIFEST
    said = json.loads(manifest.read_text())
    for broken in ({"shard": "1/2"}, {"schema_version": 9}, {"rejects": "none"}, {"first_row": "0"}):
        manifest.write_text(json.dumps({**said, **broken}))
        assert "not a shard of this tool" in runs.merge(tmp_path / "parts", code=4)
    for rejects in ([1], [{"csv_row": 3}]):
        manifest.write_text(json.dumps({**said, "rejects": rejects}))
        assert "lists rejects that are none" in runs.merge(tmp_path / "parts", code=4)
    manifest.write_text(json.dumps({**said, "rows": said["rows"] + 1, "rejects": said["rejects"][1:]}))
    assert "shard.json says" in runs.merge(tmp_path / "parts", code=4)
    manifest.write_text(json.dumps({**said, "first_row": 8}))
    assert "begins at row 8, expected 0" in runs.merge(tmp_path / "parts", code=4)


@pytest.mark.parametrize("rejects", [False, True])
def test_an_index_in_a_shard_without_rows_is_refused(runs: Runs, tmp_path: Path, rejects: bool) -> None:
    for number in (1, 2):
        runs.embed(tmp_path / "parts", "--shard", f"{number}/2")
    file = tmp_path / "parts/shards/2-of-2" / schema.SHARD_MANIFEST
    said = json.loads(file.read_text())
    one = dict.fromkeys((schema.CSV_ROW, schema.DICOM_PATH, schema.REJECT_CODE, schema.REJECT_REASON), "")
    listed = [one] * said["table_rows"] if rejects else said["rejects"]
    file.write_text(json.dumps(said | {"rows": 0, "rejects": listed}))
    told = runs.merge(tmp_path / "parts", "--max-rejects", 1, code=4)
    assert ("holds index.json, shard.json says 0 rows" if rejects else "0 rows and 1 rejects are not the") in told
    assert not (tmp_path / "parts" / schema.INDEX_MANIFEST).exists()


def test_an_index_of_another_shard_is_refused(runs: Runs, tmp_path: Path, table: Path) -> None:
    pl.read_csv(table)[16:48].write_csv(table)
    for number in (1, 2):
        runs.embed(tmp_path / "parts", "--shard", f"{number}/2")
    first, second = (tmp_path / "parts/shards" / f"{number}-of-2" for number in (1, 2))
    record = (second / schema.SHARD_MANIFEST).read_bytes()
    shutil.rmtree(second)
    shutil.copytree(first, second)
    (second / schema.SHARD_MANIFEST).write_bytes(record)
    told = runs.merge(tmp_path / "parts", code=4)
    assert f"{second / schema.INDEX_MANIFEST}: is not the file that shard.json names; embed --shard 2/2" in told
    said = {name: value for name, value in json.loads(record).items() if name != "index_sha256"}
    (second / schema.SHARD_MANIFEST).write_text(json.dumps(said))
    runs.merge(tmp_path / "parts")  # a shard of an earlier version


def test_a_shard_made_again_without_a_row_holds_no_index(runs: Runs, tmp_path: Path, table: Path) -> None:
    runs.embed(tmp_path / "parts", "--shard", "1/1")
    frame = pl.read_csv(table)
    frame.with_columns(pl.lit("gone.dcm").alias(schema.DICOM_PATH)).write_csv(table)
    runs.embed(tmp_path / "parts", "--shard", "1/1", "--overwrite")
    assert not (tmp_path / "parts/shards/1-of-1" / schema.INDEX_MANIFEST).exists()
    assert "109 of 109 rows cannot be used" in runs.merge(tmp_path / "parts", "--max-rejects", 1, code=3)


def test_the_reject_limit_counts_all_shards(runs: Runs, tmp_path: Path) -> None:
    runs.embed(tmp_path / "parts", "--shard", "1/1")
    told = runs.merge(tmp_path / "parts", code=3)
    assert told.count("10 of 109 rows cannot be used (10 missing-file); first: ") == 1
    assert not (tmp_path / "parts" / schema.INDEX_MANIFEST).exists()
    runs.merge(tmp_path / "parts", "--max-rejects", 0.5)
    assert pl.read_csv(tmp_path / "parts" / schema.REJECTS_CSV).height == 10
    shutil.rmtree(tmp_path / "parts" / "shards")


def test_a_dry_run_of_a_shard_writes_nothing(runs: Runs, tmp_path: Path) -> None:
    assert "rows 1 to " in runs.embed(tmp_path / "parts", "--shard", "1/2", "--dry-run")
    assert "no rows" in runs.embed(tmp_path / "parts", "--shard", "1/90", "--dry-run")
    assert not (tmp_path / "parts").exists()


def test_shards_without_a_row_end_as_one_process_does(runs: Runs, tmp_path: Path, table: Path) -> None:
    frame = pl.read_csv(table)
    frame.with_columns(pl.lit("gone.dcm").alias(schema.DICOM_PATH)).write_csv(table)
    runs.embed(tmp_path / "whole", "--max-rejects", 1, code=3)
    runs.embed(tmp_path / "parts", "--shard", "1/1")
    assert "109 of 109 rows cannot be used" in runs.merge(tmp_path / "parts", "--max-rejects", 1, code=3)


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "a/b", "1/0", "-1/2", "1/2/3"])
def test_a_malformed_shard_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--shard must be I/N with I from 1 to N"):
        ShardNumber.parse(text)


@given(rows=st.integers(0, 500), of=st.integers(1, 30))
def test_shards_are_whole_chunks_that_tile_the_table(rows: int, of: int) -> None:
    parts = [ShardNumber(number, of).choose_rows(rows) for number in range(1, of + 1)]
    assert [row for part in parts for row in part] == list(range(rows))
    starts = {chunk.start for chunk in list_chunks(rows)} | {rows}
    assert all(part.start in starts and part.stop in starts for part in parts)
    counts = [len(list_chunks(len(part))) for part in parts]
    assert max(counts) - min(counts) <= 1
