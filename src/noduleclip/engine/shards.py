"""Shards: parts of an index that several machines embed at the same time.

A shard is a run of whole chunks of the table. Its folder is an index of its own rows with a `shard.json`, which records
the part and the table. A shard without usable rows has no index.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from noduleclip import schema
from noduleclip.engine.chunks import list_chunks
from noduleclip.engine.embed import write_index
from noduleclip.engine.encoders import Encoders
from noduleclip.errors import ArtefactError, UsageError
from noduleclip.io.artefacts import hash_file, read_json, write_json
from noduleclip.io.crop_cache import CropCache
from noduleclip.io.index.folder import INDEX_FILES, FolderIndex
from noduleclip.io.index.open import open_index
from noduleclip.io.slice_crops import CutSettings

_VERSION: Final = 1
_NAME: Final = re.compile(r"(\d+)-of-(\d+)")
_REJECT_NAMES: Final = {schema.CSV_ROW, schema.DICOM_PATH, schema.REJECT_CODE, schema.REJECT_REASON}


@dataclass(frozen=True)
class ShardNumber:
    """Number of a shard, such as 3 of 8.

    Attributes:
        number: From 1.
        of: Number of shards.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "ShardNumber":
        """Parse "3/8".

        Raises:
            UsageError: The text has another form.
        """
        match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
        number, of = (int(part) for part in match.groups()) if match else (0, 0)
        if not 1 <= number <= of:
            raise UsageError(f"--shard must be I/N with I from 1 to N, such as 3/8, got {text!r}")
        return cls(number, of)

    @property
    def folder_name(self) -> str:
        """Name of its folder."""
        return f"{self.number}-of-{self.of}"

    def choose_rows(self, rows: int) -> range:
        """Return its rows of a table: whole chunks, distributed as evenly as possible."""
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
        schema.INDEX_SCHEMA_VERSION,
        hash_file(roi_csv),
        frame.columns,
        encoders.image.model_id,
        encoders.image.views,
        encoders.image.precision,
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
        shard: The part to write.
        cache: Crops of its rows, filled.
        encoders: The encoders.
        folder: Folder of the shard.
        fingerprint: As `fingerprint_table` returns it.
        rejects: Unusable rows of the part, as `rejects.csv` lists them.
        bs: Rows in a forward pass.
        keep: As in `write_index`.
        dicom_roots: As in `write_index`.
        on_rows: As in `write_index`.

    Returns:
        Number of embedded rows.
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
        "views": encoders.image.views,
        "precision": encoders.image.precision,
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
    """A finished shard.

    Attributes:
        number: Its number.
        folder: Its folder.
        record: Content of `shard.json`.
        index: Index of its rows; None where it has none.
    """

    number: ShardNumber
    folder: Path
    record: dict[str, Any]
    index: FolderIndex | None


def list_shard_folders(out_dir: Path) -> list[Path]:
    """Return the folders of shards below a folder, finished or not, sorted by name."""
    folder = out_dir / schema.SHARDS_FOLDER
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)) if folder.is_dir() else []


def open_shards(out_dir: Path) -> list[Shard]:
    """Open all shards below a folder, and check that together they are one index.

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
        for name in ("views", "precision"):
            here, there = shard.record.get(name), first.record.get(name)
            if here != there:
                raise ArtefactError(
                    f"{shard.folder}: was embedded with {name} {here}, {first.folder.name} with {there}; "
                    f"make it again: embed --shard {shard.number} --{name} {there} --overwrite"
                )
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
