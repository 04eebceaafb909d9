"""What `merge` does once its options are settled."""

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from noduleclip import schema
from noduleclip.engine.shards import join_indexes, list_shard_folders, measure_joined, open_shards, store_indexes
from noduleclip.errors import InputError, UsageError
from noduleclip.io.artefacts import find_other, locking, refuse_link
from noduleclip.io.disk import require_space
from noduleclip.io.index.base import Manifest
from noduleclip.io.index.folder import FolderIndex
from noduleclip.io.index.open import open_index
from noduleclip.io.own_indexes import is_own_index
from noduleclip.machine import allow_many_files
from noduleclip.report.console import CONSOLE, log_info, log_warning, progress
from noduleclip.workflows.index_target import INDEX_PATTERN, IndexTarget, record_index
from noduleclip.workflows.roi_crops import REJECT_SCHEMA, describe_reject_counts, save_rejects


def merge_index(target: IndexTarget, max_rejects: float, remove_shards: bool) -> None:
    """Join the shards of an index, or copy one that has none into a store.

    Raises:
        NoduleclipError: Shards are missing, at work or do not fit; too many rows were rejected.
    """
    allow_many_files()
    out_dir = target.out_dir
    if target.store is not None and (out_dir / schema.INDEX_MANIFEST).exists() and not list_shard_folders(out_dir):
        if remove_shards:
            raise UsageError(f"{out_dir}: holds an index and no shards; leave --remove-shards out")
        manifest = _write([open_index(out_dir)], target, "copying")
        log_info(f"{manifest.rows:,} rows of width {manifest.emb} of {out_dir} in {target}")
        return
    with _holding_shards(out_dir):
        manifest, count = _join(target, max_rejects)
    if remove_shards:  # no file of theirs is open any more, locks included: NFS would keep it
        _remove_shards(out_dir)
    log_info(f"{manifest.rows:,} rows of width {manifest.emb} of {count} shards in {target}")


@contextlib.contextmanager
def _holding_shards(out_dir: Path) -> Iterator[None]:
    """Keep jobs from making a shard again meanwhile."""
    refuse_link(out_dir / schema.SHARDS_FOLDER)
    with contextlib.ExitStack() as stack:
        for folder in list_shard_folders(out_dir):
            refuse_link(folder)
            stack.enter_context(locking(folder, log_warning))
        yield


def _join(target: IndexTarget, max_rejects: float) -> tuple[Manifest, int]:
    """Return what was written and of how many shards; nothing of them is open any more then."""
    shards = open_shards(target.out_dir)
    rejects = [reject for shard in shards for reject in shard.said["rejects"]]
    rows = sum(shard.said["table_rows"] for shard in shards)
    told = _describe(rejects, rows)
    indexes = [shard.index for shard in shards if shard.index is not None]
    if len(rejects) > max_rejects * rows or not indexes:
        raise InputError(f"{told}; allowed is a share of {max_rejects:g} (--max-rejects)")
    manifest = _write(indexes, target, "joining")
    save_rejects(pl.DataFrame(rejects, schema=REJECT_SCHEMA), target.out_dir)
    if rejects:
        log_warning(f"{told}; all are in {target.out_dir / schema.REJECTS_CSV}")
    return manifest, len(shards)


def _describe(rejects: Sequence[dict[str, Any]], rows: int) -> str:
    first = rejects[0][schema.REJECT_REASON] if rejects else ""
    return describe_reject_counts([reject[schema.REJECT_CODE] for reject in rejects], first, rows)


def _write(indexes: Sequence[FolderIndex], target: IndexTarget, doing: str) -> Manifest:
    own = all(map(is_own_index, indexes))
    rows = sum(index.manifest.rows for index in indexes)
    folder = target.out_dir if target.store is None else target.store.folder
    if folder is not None:
        require_space(folder, measure_joined(indexes))
    with progress("checking", rows, "rows") as advance:
        for index in indexes:
            index.verify()
            advance(index.manifest.rows)
    with progress(doing, rows, "rows") as advance:
        if target.store is None:
            manifest = join_indexes(indexes, target.out_dir, advance)
        else:
            manifest = store_indexes(indexes, target.store, target.indexed_rows, advance)
    if own:
        record_index(target.location, CONSOLE)
    return manifest


def _remove_shards(out_dir: Path) -> None:
    folder = out_dir / schema.SHARDS_FOLDER
    other = find_other(folder, (rf"\d+-of-\d+/(?:{INDEX_PATTERN}|{re.escape(schema.SHARD_MANIFEST)})",))
    if other is not None:
        log_warning(f"{other}: is of no shard; the index is whole, and {folder} is left as it is")
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:
        log_warning(f"{folder}: the index is whole, but its shards cannot all be removed ({error.strerror or error})")
