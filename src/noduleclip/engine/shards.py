"""An index in parts that several machines make at the same time, and the parts put together.

A shard is a run of whole chunks of the table, and a folder: an index of its own rows, with `shard.json` beside it that
says which part of which whole it is. A shard whose rows are all rejected, or that has none, has no index.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import __version__, schema
from noduleclip.engine.chunks import list_chunks
from noduleclip.engine.embed import write_index, write_index_files
from noduleclip.engine.encoders import Encoders
from noduleclip.errors import ArtefactError, UsageError
from noduleclip.io.artefacts import hash_file, read_json, write_json
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.disk import measure_bytes
from noduleclip.io.index.base import Manifest
from noduleclip.io.index.folder import INDEX_FILES, FolderIndex
from noduleclip.io.index.lance_tables import Place
from noduleclip.io.index.open import open_index
from noduleclip.io.slice_crops import CutSettings

_VERSION: Final = 1
_NAME: Final = re.compile(r"(\d+)-of-(\d+)")
_REJECT_NAMES: Final = {schema.CSV_ROW, schema.DICOM_PATH, schema.REJECT_CODE, schema.REJECT_REASON}
_COPIED_ROWS: Final = 1 << 16


@dataclass(frozen=True)
class ShardNumber:
    """Which shard of how many.

    Attributes:
        number: From 1.
        of: All shards.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "ShardNumber":
        """Read "3/8".

        Raises:
            UsageError: It is no such text.
        """
        match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
        number, of = (int(part) for part in match.groups()) if match else (0, 0)
        if not 1 <= number <= of:
            raise UsageError(f"--shard must be I/N with I from 1 to N, such as 3/8, got {text!r}")
        return cls(number, of)

    @property
    def folder_name(self) -> str:
        """The name of its folder."""
        return f"{self.number}-of-{self.of}"

    def choose_rows(self, rows: int) -> range:
        """Return its rows of a table: whole chunks, as evenly as they can be dealt."""
        chunks = list_chunks(rows)
        first, last = (len(chunks) * part // self.of for part in (self.number - 1, self.number))
        starts = [chunk.start for chunk in chunks] + [rows]
        return range(starts[first], starts[last])

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def fingerprint_table(
    frame: pl.DataFrame, roi_csv: Path, encoders: Encoders, settings: CutSettings, dicom_roots: Sequence[str], bs: int
) -> str:
    """Return a hash of what all shards of one index share: table, model and settings."""
    digest = hashlib.sha256(frame[schema.CSV_ROW].to_numpy().tobytes())
    facts = [
        hash_file(roi_csv),
        frame.columns,
        encoders.image.model_id,
        encoders.checkpoint_sha256,
        list(dicom_roots),
        bs,
    ]
    digest.update(json.dumps([*facts, repr(settings)]).encode())
    return digest.hexdigest()


def write_shard(
    frame: pl.DataFrame,
    shard: ShardNumber,
    cache: CropCache,
    encoders: Encoders,
    folder: Path,
    *,
    fingerprint: str,
    rejects: pl.DataFrame,
    bs: int,
    keep: tuple[str, ...] = (),
    dicom_roots: Sequence[str] = (),
    on_rows: Callable[[int], None] = lambda _: None,
) -> int:
    """Embed the rows of a shard and write its folder.

    Args:
        frame: All checked ROI rows.
        shard: Which part of them.
        cache: Crops of that part's rows, filled.
        encoders: The encoders.
        folder: Folder of the shard.
        fingerprint: As `fingerprint_table` returns it.
        rejects: Rows of that part that cannot be used, as `rejects.csv` has them.
        bs: Rows in a forward pass.
        keep: As in `write_index`.
        dicom_roots: As in `write_index`.
        on_rows: As in `write_index`.

    Returns:
        The rows embedded.
    """
    rows = shard.choose_rows(frame.height)
    part = frame[rows.start : rows.stop]
    (folder / schema.SHARD_MANIFEST).unlink(missing_ok=True)
    embedded = part.height - rejects.height
    record: dict[str, Any] = {
        "schema_version": _VERSION,
        "shard": str(shard),
        "whole": fingerprint,
        "model_id": encoders.image.model_id,
        "first_row": rows.start,
        "table_rows": len(rows),
        "rows": embedded,
        "index_sha256": None,
        "rejects": rejects.to_dicts(),
    }

    def finish() -> None:
        if embedded:
            record["index_sha256"] = hash_file(folder / schema.INDEX_MANIFEST)
        write_json(folder / schema.SHARD_MANIFEST, record)

    if embedded:
        write_index(
            part, cache, encoders, folder, bs=bs, keep=keep, dicom_roots=dicom_roots, on_rows=on_rows, finish=finish
        )
    else:
        for name in (schema.INDEX_MANIFEST, *INDEX_FILES, schema.OUTLINES):  # of an earlier run
            (folder / name).unlink(missing_ok=True)
        finish()
    return embedded


@dataclass(frozen=True)
class Shard:
    """A shard that was made.

    Attributes:
        number: Which one.
        folder: Where it lies.
        record: Content of `shard.json`.
        index: Its rows; None where it has none.
    """

    number: ShardNumber
    folder: Path
    record: dict[str, Any]
    index: FolderIndex | None


def list_shard_folders(out_dir: Path) -> list[Path]:
    """Return the folders of shards below a folder, of finished ones and others, in the order of their names."""
    folder = out_dir / schema.SHARDS_FOLDER
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)) if folder.is_dir() else []


def open_shards(out_dir: Path) -> list[Shard]:
    """Open all shards below a folder, and check that they are the whole of one index.

    Raises:
        ArtefactError: Some are missing, or are of different tables, models or settings.
    """
    folder = out_dir / schema.SHARDS_FOLDER
    found = [
        (ShardNumber(*map(int, path.name.split("-of-"))), path)
        for path in list_shard_folders(out_dir)
        if (path / schema.SHARD_MANIFEST).exists()
    ]
    found.sort(key=lambda one: (one[0].of, one[0].number))
    if not found:
        raise ArtefactError(f"{out_dir}: holds no finished shard; noduleclip embed --shard 1/N makes the first one")
    counts = sorted({number.of for number, _ in found})
    if len(counts) > 1:
        named = " and ".join(f"{count} shards" for count in counts)
        raise ArtefactError(f"{folder}: holds parts of {named}; remove those of one")
    missing = sorted(set(range(1, counts[0] + 1)) - {number.number for number, _ in found})
    if missing:
        named = ", ".join(f"{number}/{counts[0]}" for number in missing[:8]) + (", …" if len(missing) > 8 else "")
        raise ArtefactError(f"{folder}: {len(missing)} of {counts[0]} shards are not finished: {named}")
    shards = [_open_shard(number, path) for number, path in found]
    first, row = shards[0], 0
    for shard in shards:
        if shard.record["whole"] != first.record["whole"]:
            raise ArtefactError(
                f"{shard.folder}: is of another table, model or setting than {first.folder.name}; "
                f"make it again: embed --shard {shard.number} --overwrite"
            )
        if shard.record["first_row"] != row:
            begins = shard.record["first_row"]
            raise ArtefactError(f"{shard.folder}: begins at row {begins}, expected {row}; make it again")
        row += shard.record["table_rows"]
    return shards


def _open_shard(number: ShardNumber, folder: Path) -> Shard:
    record = read_json(folder / schema.SHARD_MANIFEST)
    kinds = {"whole": str, "first_row": int, "table_rows": int, "rows": int, "rejects": list}
    right = record.get("schema_version") == _VERSION and record.get("shard") == str(number)
    if not right or any(not isinstance(record.get(name), kind) for name, kind in kinds.items()):
        raise ArtefactError(f"{folder / schema.SHARD_MANIFEST}: not a shard of this tool; make it again")
    if any(not isinstance(one, dict) or not one.keys() >= _REJECT_NAMES for one in record["rejects"]):
        raise ArtefactError(f"{folder / schema.SHARD_MANIFEST}: lists rejects that are none; make it again")
    rows, rejected = record["rows"], len(record["rejects"])
    if rows + rejected != record["table_rows"]:
        raise ArtefactError(
            f"{folder / schema.SHARD_MANIFEST}: {rows} rows and {rejected} rejects are not the {record['table_rows']} "
            f"rows of its part of the table; embed --shard {number} --overwrite"
        )
    if not rows and os.path.lexists(folder / schema.INDEX_MANIFEST):
        raise ArtefactError(
            f"{folder}: holds {schema.INDEX_MANIFEST}, {schema.SHARD_MANIFEST} says 0 rows; "
            f"embed --shard {number} --overwrite"
        )
    index = open_index(folder) if rows else None
    if index is not None and index.manifest.rows != record["rows"]:
        raise ArtefactError(f"{folder}: has {index.manifest.rows} rows, {schema.SHARD_MANIFEST} says {record['rows']}")
    # shards of older versions have no hash
    if index is not None and record.get("index_sha256", index.generation) != index.generation:
        raise ArtefactError(
            f"{folder / schema.INDEX_MANIFEST}: is not the file that {schema.SHARD_MANIFEST} names; "
            f"embed --shard {number} --overwrite"
        )
    return Shard(number, folder, record, index)


def measure_joined(indexes: Sequence[FolderIndex]) -> int:
    """Return the bytes of disk that the index of all shards takes."""
    names = (schema.EMBEDDINGS, schema.META, schema.OUTLINES)
    tables = sum(measure_bytes(index.folder / name) for index in indexes for name in names)
    return tables + measure_bytes(indexes[0].folder / schema.TEXT_TOWER)


def join_indexes(
    indexes: Sequence[FolderIndex], out_dir: Path, on_rows: Callable[[int], None] = lambda _: None
) -> Manifest:
    """Write the index of all shards, the same to the byte as one process writes it."""
    first = indexes[0].manifest
    rows = sum(index.manifest.rows for index in indexes)
    outlines = [found for index in indexes if (found := _read_outlines(index)) is not None]
    with indexes[0].text_encoder_path() as text_file:
        return write_index_files(
            out_dir,
            meta=pl.concat([_read_meta(index) for index in indexes]).rechunk(),
            outlines=pl.concat(outlines).rechunk() if outlines else None,
            vectors=(part for index in indexes for part in _read_vectors(index, on_rows)),
            text_file=text_file,
            manifest=replace(first, rows=rows, files={}, made_by=__version__),
        )


def store_indexes(
    indexes: Sequence[FolderIndex], place: Place, indexed_rows: int, on_rows: Callable[[int], None] = lambda _: None
) -> Manifest:
    """Write the index of all shards into a Lance store, one at a time, so that memory holds the rows of one.

    Args:
        indexes: What to write, in the order of the rows.
        place: The store.
        indexed_rows: Rows from which on a vector index is built.
        on_rows: Called with the rows written since the last call.

    Raises:
        OutputError: The store cannot be written.
    """
    from noduleclip.io.index.lance_writer import bind_fragments, make_schema, write_fragment

    first = indexes[0].manifest
    rows = sum(index.manifest.rows for index in indexes)
    fragments: list[str] = []
    at = 0
    for index in indexes:
        meta, outlines = _read_meta(index), _read_outlines(index)
        column = None if outlines is None else outlines[schema.POINTS_JSON]
        fragments += write_fragment(place, at, _read_vectors(index, on_rows), meta, column)
        at += index.manifest.rows
    manifest = replace(first, rows=rows, files={}, made_by=__version__)
    made = make_schema(first.emb, meta, column)
    with indexes[0].text_encoder_path() as tower_file:
        return bind_fragments(place, fragments, made, tower_file, manifest, indexed_rows=indexed_rows)


def _read_meta(index: FolderIndex) -> pl.DataFrame:
    return index.load_table(schema.META)


def _read_outlines(index: FolderIndex) -> pl.DataFrame | None:
    return index.load_table(schema.OUTLINES) if schema.OUTLINES in index.manifest.files else None


def _read_vectors(index: FolderIndex, on_rows: Callable[[int], None]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, index.manifest.rows, _COPIED_ROWS):
        part = np.asarray(index.embeddings[start : start + _COPIED_ROWS], "<f4")
        yield part
        on_rows(len(part))
