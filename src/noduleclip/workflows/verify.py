"""Comparison of an index with the checksums that were recorded when it was written (`verify`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noduleclip import schema
from noduleclip.engine.shards import list_shard_folders, open_shards
from noduleclip.errors import ArtefactError
from noduleclip.io.artefacts import read_json
from noduleclip.io.index.base import Index
from noduleclip.io.index.open import open_index
from noduleclip.machine import allow_many_files
from noduleclip.retrieval.top_k import check_unit_norm
from noduleclip.workflows.reporter import SILENT, Reporter

_BYTES_PER_MB = 1_000_000
_ROWS_AT_ONCE = 1 << 16
_MOST_NAMED = 12


@dataclass(frozen=True)
class VerifiedIndex:
    """An index without changes.

    Attributes:
        location: Its folder, or the address of its store.
        rows: Its rows.
        bytes: Size of the compared files.
        rows_compared: Whether the rows have checksums; without, their order and unit length were checked.
    """

    location: str
    rows: int
    bytes: int
    rows_compared: bool


def verify(location: str, reporter: Reporter = SILENT) -> list[VerifiedIndex]:
    """Compare an index, and the shards below it, with their checksums.

    Returns:
        One entry per index.

    Raises:
        IndexReplacedError: It was replaced meanwhile.
        ArtefactError: Files have changed; the message names them.
    """
    allow_many_files()
    indexes = _open_all(location)
    changed = _find_changed_files(indexes, reporter)
    if changed:
        raise _explain(indexes, changed)
    if list_shard_folders(Path(location)):
        open_shards(Path(location))
    for index in indexes:
        if not index.binds_rows:
            _check_rows(index, reporter)
    return [
        VerifiedIndex(str(index.location), index.manifest.rows, index.files_bytes, index.binds_rows)
        for index in indexes
    ]


def _open_all(location: str) -> list[Index]:
    """Open an index and the finished shards below it; a shard without rows has no index."""
    folder = Path(location)
    shards = [path for path in list_shard_folders(folder) if (path / schema.SHARD_MANIFEST).exists()]
    indexed = [path for path in shards if read_json(path / schema.SHARD_MANIFEST).get("rows") != 0]
    own = [] if shards and not (folder / schema.INDEX_MANIFEST).exists() else [location]
    return [open_index(one, check_files=False) for one in (*own, *map(str, indexed))]


def _find_changed_files(indexes: Sequence[Index], reporter: Reporter) -> list[str]:
    changed: list[str] = []
    total, done = sum(index.files_bytes for index in indexes), 0
    with reporter.progress("reading", total // _BYTES_PER_MB, "MB") as advance:

        def add(count: int) -> None:
            nonlocal done
            before, done = done, done + count
            advance(done // _BYTES_PER_MB - before // _BYTES_PER_MB)

        for index in indexes:
            changed += index.find_changed_files(add)
    return changed


def _explain(indexes: Sequence[Index], changed: Sequence[str]) -> ArtefactError:
    more = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
    files = "1 file is not the one" if len(changed) == 1 else f"{len(changed)} files are not those"
    message = f"{', '.join(changed[:_MOST_NAMED])}{more}: {files} that the index was written with; embed again"
    return next((index.explain(message) for index in indexes if index.was_replaced()), ArtefactError(message))


def _check_rows(index: Index, reporter: Reporter) -> None:
    """Check order and length of rows that have no checksums.

    Raises:
        ArtefactError: They are out of order, or no unit vectors.
    """
    rows = index.manifest.rows
    with reporter.progress("reading", rows, "rows") as advance:
        index.check_order()
        for start in range(0, rows, _ROWS_AT_ONCE):
            part = np.arange(start, min(start + _ROWS_AT_ONCE, rows))
            check_unit_norm(index.embeddings, part)
            advance(len(part))
