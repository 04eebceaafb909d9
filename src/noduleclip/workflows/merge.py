"""Joining of the shards of an index, and copying of an index into a Lance store (`merge`)."""

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from noduleclip import schema
from noduleclip.engine.join import join_indexes, measure_joined, store_indexes
from noduleclip.engine.shards import list_shard_folders, open_shards
from noduleclip.errors import InputError, UsageError
from noduleclip.io.disk import require_space
from noduleclip.io.index.folder import FolderIndex
from noduleclip.io.index.manifest import Manifest
from noduleclip.io.index.open import open_index
from noduleclip.io.output_folders import find_other, locking, refuse_link
from noduleclip.io.own_indexes import is_own_index
from noduleclip.machine import allow_many_files
from noduleclip.workflows.index_target import INDEX_PATTERN, IndexTarget, record_index, target_lock
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.roi_crops import REJECT_SCHEMA, describe_reject_counts, save_rejects


@dataclass(frozen=True, kw_only=True)
class MergeRequest:
    """Which shards to join and where the index goes.

    Attributes:
        target: Destination; its `out_dir` is the folder that holds the shards, or an index to copy into the store.
        max_rejects: Share of unusable rows of the whole table above which the run fails, in [0, 1].
        remove_shards: Remove the shards once they are joined.
        overwrite: Replace an index that is already there.
    """

    target: IndexTarget
    max_rejects: float = 0.01
    remove_shards: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class MergeResult:
    """An index that was joined or copied.

    Attributes:
        location: Its folder, or the address of its store.
        rows: Its rows.
        emb: Width of the embeddings.
        shards: Number of shards; 0 for a copied index.
    """

    location: Path | str
    rows: int
    emb: int
    shards: int


def merge(request: MergeRequest, reporter: Reporter = SILENT) -> MergeResult:
    """Join the shards of an index, or copy an index without shards into a store.

    Raises:
        UsageError: An index is already there, or another process writes there.
        ArtefactError: Shards are missing, damaged, or not of one table.
        InputError: Too many rows are unusable.
        OutputError: There is no room, or the destination cannot be written.
    """
    target, results = request.target, (schema.INDEX_MANIFEST,)
    joins = (target.out_dir / schema.SHARDS_FOLDER).is_dir()
    with target_lock(target, results, replace=request.overwrite, writes_rejects=joins, reporter=reporter):
        allow_many_files()
        holds_index = (target.out_dir / schema.INDEX_MANIFEST).exists()
        if target.store is not None and holds_index and not list_shard_folders(target.out_dir):
            return _copy(request, reporter)
        with _lock_shards(target.out_dir, reporter):
            result = _join(request, reporter)
        if request.remove_shards:  # after their files and locks are closed: NFS keeps the files of open ones
            _remove_shards(target.out_dir, reporter)
    reporter.info(f"{result.rows:,} rows of width {result.emb} of {result.shards} shards in {target}")
    return result


def _copy(request: MergeRequest, reporter: Reporter) -> MergeResult:
    target = request.target
    if request.remove_shards:
        raise UsageError(f"{target.out_dir}: holds an index and no shards; leave --remove-shards out")
    manifest = _write([open_index(target.out_dir)], target, "copying", reporter)
    reporter.info(f"{manifest.rows:,} rows of width {manifest.emb} of {target.out_dir} in {target}")
    return MergeResult(target.location, manifest.rows, manifest.emb, 0)


@contextlib.contextmanager
def _lock_shards(out_dir: Path, reporter: Reporter) -> Iterator[None]:
    """Keep other processes from writing a shard while the block runs."""
    refuse_link(out_dir / schema.SHARDS_FOLDER)
    with contextlib.ExitStack() as stack:
        for folder in list_shard_folders(out_dir):
            refuse_link(folder)
            stack.enter_context(locking(folder, reporter.warning))
        yield


def _join(request: MergeRequest, reporter: Reporter) -> MergeResult:
    target = request.target
    shards = open_shards(target.out_dir)
    rejects = [reject for shard in shards for reject in shard.record["rejects"]]
    rows = sum(shard.record["table_rows"] for shard in shards)
    first_reason = rejects[0][schema.REJECT_REASON] if rejects else ""
    summary = describe_reject_counts([reject[schema.REJECT_CODE] for reject in rejects], first_reason, rows)
    indexes = [shard.index for shard in shards if shard.index is not None]
    if len(rejects) > request.max_rejects * rows or not indexes:
        raise InputError(f"{summary}; allowed is a share of {request.max_rejects:g} (--max-rejects)")
    manifest = _write(indexes, target, "joining", reporter)
    save_rejects(pl.DataFrame(rejects, schema=REJECT_SCHEMA), target.out_dir)
    if rejects:
        reporter.warning(f"{summary}; all are in {target.out_dir / schema.REJECTS_CSV}")
    return MergeResult(target.location, manifest.rows, manifest.emb, len(shards))


def _write(indexes: Sequence[FolderIndex], target: IndexTarget, title: str, reporter: Reporter) -> Manifest:
    """Check the files of the indexes and write their rows, in order, to the destination."""
    are_own = all(map(is_own_index, indexes))
    rows = sum(index.manifest.rows for index in indexes)
    folder = target.out_dir if target.store is None else target.store.folder
    if folder is not None:
        require_space(folder, measure_joined(indexes))
    with reporter.progress("checking", rows, "rows") as advance:
        for index in indexes:
            index.verify()
            advance(index.manifest.rows)
    with reporter.progress(title, rows, "rows") as advance:
        if target.store is None:
            manifest = join_indexes(indexes, target.out_dir, advance)
        else:
            manifest = store_indexes(indexes, target.store, target.indexed_rows, advance)
    if are_own:
        record_index(target.location, reporter)
    return manifest


def _remove_shards(out_dir: Path, reporter: Reporter) -> None:
    folder = out_dir / schema.SHARDS_FOLDER
    other = find_other(folder, (rf"\d+-of-\d+/(?:{INDEX_PATTERN}|{re.escape(schema.SHARD_MANIFEST)})",))
    if other is not None:
        reporter.warning(f"{other}: is not part of a shard; the index is complete, and {folder} is left as it is")
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:
        reason = error.strerror or error
        reporter.warning(f"{folder}: the index is complete, but its shards cannot all be removed ({reason})")
