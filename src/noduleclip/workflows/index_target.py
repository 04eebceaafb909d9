"""Destination of an index that `embed` or `merge` writes: a folder, or a Lance store with a work folder beside it."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from noduleclip import schema
from noduleclip.config import INDEXED_ROWS
from noduleclip.engine.shards import ShardNumber
from noduleclip.errors import UsageError
from noduleclip.io.chunk_files import CHUNK_PATTERN, refuse_foreign_chunks
from noduleclip.io.index.lance_opening import holds_index
from noduleclip.io.index.lance_tables import INDEX_TABLE, Place, load_lance, parse_place
from noduleclip.io.index.open import open_index
from noduleclip.io.output_folders import refuse_link, refuse_results
from noduleclip.io.own_indexes import remember_index
from noduleclip.workflows.output_lock import OVERWRITE, output_lock
from noduleclip.workflows.reporter import SILENT, Reporter

INDEX_FILES = (
    schema.INDEX_MANIFEST,
    schema.EMBEDDINGS,
    schema.META,
    schema.TEXT_TOWER,
    schema.OUTLINES,
    schema.REJECTS_CSV,
)
INDEX_PATTERN = "|".join([*map(re.escape, INDEX_FILES), rf"{re.escape(schema.CHUNKS_FOLDER)}/(?:{CHUNK_PATTERN})"])
"""Regular expression of all paths in an index folder, unfinished chunks included."""
_REMEDY_BESIDE = f"its {schema.REJECTS_CSV} would be lost: choose another --out-dir, or --overwrite"


@dataclass(frozen=True)
class IndexTarget:
    """Destination of an index.

    Attributes:
        out_dir: Folder of the index; with a store, the folder of rejects and unfinished chunks.
        store: The store; None = the index goes into the folder.
        indexed_rows: Rows from which a store gets a vector index.
        shard: Part of the table that goes there, whose folder `out_dir` is; None = all rows.
    """

    out_dir: Path
    store: Place | None
    indexed_rows: int
    shard: ShardNumber | None = None

    @property
    def location(self) -> Path | str:
        """The destination as `open_index` takes it."""
        return self.out_dir if self.store is None else self.store.text

    def __str__(self) -> str:
        return str(self.location)


def choose_target(
    out_dir: Path | None,
    store: str | None = None,
    vector_index_from: int | None = None,
    shard: str | None = None,
) -> IndexTarget:
    """Choose the destination of an index.

    Args:
        out_dir: Folder of the index, or the one beside a store.
        store: Address of a Lance store; None = the index goes into the folder.
        vector_index_from: Rows from which a store gets a vector index; None = the default.
        shard: Part of the table such as "3/8", which goes into a folder of its own below `out_dir`; None = all rows.

    Raises:
        UsageError: Neither folder nor store is given, rows or a shard do not go with it, the shard is not of the form
            I/N, an object store has no folder beside it, the store lies among the parts of an index, or the folder of
            a shard is a link.
    """
    number = None if shard is None else ShardNumber.parse(shard)
    target = _choose_place(out_dir, store, vector_index_from)
    if number is None:
        return target
    if target.store is not None:
        raise UsageError("--shard and --store: shards are folders; give --out-dir alone, and --store to merge")
    folder = target.out_dir / schema.SHARDS_FOLDER / number.folder_name
    for one in (folder.parent, folder):
        refuse_link(one)
    return replace(target, out_dir=folder, shard=number)


def _choose_place(out_dir: Path | None, store: str | None, vector_index_from: int | None) -> IndexTarget:
    if out_dir is not None and ":/" in out_dir.as_posix()[2:]:
        raise UsageError(f"--out-dir {out_dir}: is a folder on this machine; a Lance store is given with --store")
    if store is None:
        if out_dir is None:
            raise UsageError("give a folder for the index with --out-dir, or a Lance store with --store")
        if vector_index_from is not None:
            raise UsageError(f"--vector-index-from {vector_index_from} is of no use without --store")
        return IndexTarget(out_dir, None, INDEXED_ROWS)
    place = parse_place(store)
    load_lance(store)
    work_dir = out_dir or place.folder
    if work_dir is None:
        raise UsageError(f"{store}: give a folder on this machine with --out-dir, too: for rejects and what is resumed")
    for name in (schema.SHARDS_FOLDER, schema.CHUNKS_FOLDER):
        if place.folder is not None and _resolve(place.folder).is_relative_to(_resolve(work_dir / name)):
            raise UsageError(
                f"--store {store}: lies in {work_dir / name}, whose parts are removed once they are joined; "
                "choose another place"
            )
    return IndexTarget(work_dir, place, INDEXED_ROWS if vector_index_from is None else vector_index_from)


def _resolve(folder: Path) -> Path:
    try:
        return folder.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return folder.absolute()


@contextlib.contextmanager
def target_lock(
    target: IndexTarget,
    results: tuple[str, ...],
    *,
    replace: bool,
    beside: tuple[str, ...] = (),
    writes_rejects: bool = True,
    reporter: Reporter = SILENT,
) -> Iterator[None]:
    """Keep others from writing to a destination while the block runs; refuse one that holds an index.

    Args:
        target: The destination.
        results: File names that count as results in a folder.
        replace: Results may be replaced.
        beside: With a store, file names of results that may not lie in the folder beside it.
        writes_rejects: With a store, whether rejects go into the folder beside it.
        reporter: Receives a warning where the file system has no locks.

    Raises:
        UsageError: Another process writes there, there is an index, or files are there that would be lost.
    """
    with contextlib.ExitStack() as stack:
        refuse_foreign_chunks(target.out_dir / schema.CHUNKS_FOLDER)
        if target.store is None:
            partial = tuple(name for name in INDEX_FILES if name not in results)
            stack.enter_context(
                output_lock(target.out_dir, results, OVERWRITE, replace=replace, partial=partial, reporter=reporter)
            )
        else:
            rejects = (schema.REJECTS_CSV,) if writes_rejects else ()
            stack.enter_context(_store_lock(target.out_dir, target.store, rejects, replace=replace, reporter=reporter))
            if not replace:
                refuse_results(target.out_dir, beside, _REMEDY_BESIDE)
        yield


@contextlib.contextmanager
def _store_lock(
    out_dir: Path, store: Place, partial: tuple[str, ...], *, replace: bool, reporter: Reporter
) -> Iterator[None]:
    is_apart = store.folder is None or _resolve(store.folder) != _resolve(out_dir)
    with contextlib.ExitStack() as stack:

        def lock(folder: Path, results: tuple[str, ...], partial: tuple[str, ...]) -> None:
            stack.enter_context(
                output_lock(folder, results, OVERWRITE, replace=replace, partial=partial, reporter=reporter)
            )

        if store.folder is not None:
            lock(store.folder, (INDEX_TABLE,), () if is_apart else partial)
        elif not replace and holds_index(store):
            raise UsageError(f"{store.text} already holds an index; {OVERWRITE}")
        if is_apart:
            lock(out_dir, (), partial)
        yield


def record_index(location: Path | str, reporter: Reporter = SILENT) -> None:
    """Record that this user made an index here, so that its slices are shown without `--dicom-root`.

    Where the record cannot be written, the reporter receives a note.
    """
    try:
        remember_index(open_index(location))
    except OSError as error:
        reporter.note(
            f"pictures of {location} will need --dicom-root: the user's state folder is not writable "
            f"({error.strerror or error})"
        )
