"""What `verify` does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from noduleclip import schema
from noduleclip.engine.shards import list_shard_folders, open_shards
from noduleclip.errors import ArtefactError
from noduleclip.io.artefacts import read_json
from noduleclip.io.index.base import Index
from noduleclip.io.index.open import open_index
from noduleclip.machine import allow_many_files
from noduleclip.report.console import log_info, progress
from noduleclip.retrieval.top_k import check_unit_norm

_BYTES_PER_MB = 1_000_000
_ROWS_AT_ONCE = 1 << 16
_MOST_NAMED = 12


def verify_index(location: str) -> None:
    """Compare an index, and the shards below it, with what was recorded when they were written.

    Raises:
        IndexReplacedError: It was replaced meanwhile.
        ArtefactError: Names the files that have changed.
    """
    allow_many_files()
    indexes = _open_all(location)
    changed: list[str] = []
    total = sum(index.files_bytes for index in indexes)
    with progress("reading", total // _BYTES_PER_MB, "MB") as advance:
        done = 0

        def add(count: int) -> None:
            nonlocal done
            before, done = done, done + count
            advance(done // _BYTES_PER_MB - before // _BYTES_PER_MB)

        for index in indexes:
            changed += index.find_changed_files(add)
    if changed:
        raise _explain(indexes, changed)
    if list_shard_folders(Path(location)):
        open_shards(Path(location))
    for index in indexes:
        if index.binds_rows:
            log_info(f"{index.location}: all files are those that were written ({index.files_bytes:,} bytes)")
        else:
            _check_rows(index)


def _open_all(location: str) -> list[Index]:
    """Open an index and the finished shards below it; a shard without rows has no index."""
    folder = Path(location)
    shards = [path for path in list_shard_folders(folder) if (path / schema.SHARD_MANIFEST).exists()]
    indexed = [path for path in shards if read_json(path / schema.SHARD_MANIFEST).get("rows") != 0]
    own = [] if shards and not (folder / schema.INDEX_MANIFEST).exists() else [location]
    return [open_index(one, check_files=False) for one in (*own, *map(str, indexed))]


def _explain(indexes: Sequence[Index], changed: Sequence[str]) -> ArtefactError:
    more = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
    files = "1 file is not the one" if len(changed) == 1 else f"{len(changed)} files are not those"
    message = f"{', '.join(changed[:_MOST_NAMED])}{more}: {files} that the index was written with; embed again"
    return next((index.explain(message) for index in indexes if index.was_replaced()), ArtefactError(message))


def _check_rows(index: Index) -> None:
    """Check what can be checked of rows whose checksums nobody recorded.

    Raises:
        ArtefactError: They are not in their order, or not unit vectors.
    """
    rows = index.manifest.rows
    with progress("reading", rows, "rows") as advance:
        index.check_order()
        for start in range(0, rows, _ROWS_AT_ONCE):
            part = np.arange(start, min(start + _ROWS_AT_ONCE, rows))
            check_unit_norm(index.embeddings, part)
            advance(len(part))
    log_info(
        f"{index.location}: the text encoder is the one that was written; {rows:,} rows are in order, all unit vectors"
    )
    log_info(
        "note: this store has no checksums of its rows: whether their values are those that were written is not known"
    )
