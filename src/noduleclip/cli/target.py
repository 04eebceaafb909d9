"""Where `embed` and `merge` write: a folder, or a Lance store with a folder beside it for what else a run leaves."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from noduleclip import schema
from noduleclip.config import INDEXED_ROWS
from noduleclip.errors import UsageError
from noduleclip.io.artefacts import refuse_link, refuse_results
from noduleclip.io.chunk_files import CHUNK_PATTERN, refuse_foreign_chunks
from noduleclip.io.index.lance import holds_index
from noduleclip.io.index.lance_tables import INDEX_TABLE, Place, load_lance, parse_place
from noduleclip.report.console import CONSOLE
from noduleclip.workflows.output_lock import OVERWRITE, output_lock

_REMEDY_BESIDE = f"its {schema.REJECTS_CSV} would be lost: choose another --out-dir, or --overwrite"
INDEX_FILES = (
    schema.INDEX_MANIFEST,
    schema.EMBEDDINGS,
    schema.META,
    schema.TEXT_TOWER,
    schema.OUTLINES,
    schema.REJECTS_CSV,
)
INDEX_PATTERN = "|".join(
    [*map(re.escape, INDEX_FILES), rf"{re.escape(schema.CHUNKS_FOLDER)}/(?:{CHUNK_PATTERN})"]
)  # with what is resumed


@dataclass(frozen=True)
class Target:
    """Where an index goes.

    Attributes:
        out_dir: Folder of the index, or, with a store, of rejects and of the chunks that a killed run leaves.
        store: The store; None where the index goes into the folder.
        indexed_rows: Rows from which on a store gets a vector index.
    """

    out_dir: Path
    store: Place | None
    indexed_rows: int

    @property
    def location(self) -> Path | str:
        """Where the index goes, as `open_index` takes it."""
        return self.out_dir if self.store is None else self.store.text

    def __str__(self) -> str:
        return str(self.location)

    def narrow(self, shard: str) -> "Target":
        """Return the place of a shard.

        Raises:
            UsageError: The index goes into a store, or a link is where the shards go.
        """
        if self.store is not None:
            raise UsageError("--shard and --store: shards are folders; give --out-dir alone, and --store to merge")
        folder = self.out_dir / schema.SHARDS_FOLDER / shard
        for one in (folder.parent, folder):
            refuse_link(one)
        return replace(self, out_dir=folder)


def choose_target(out_dir: Path | None, store: str | None, indexed_rows: int | None) -> Target:
    """Settle where an index goes.

    Args:
        out_dir: Folder of the index, or the one beside a store.
        store: The store as a user says it; None where the index goes into the folder.
        indexed_rows: Rows from which on a store gets a vector index, where they are given.

    Raises:
        UsageError: Neither is given, rows without a store, an object store without a folder beside it, or a store
            among the parts of an index.
    """
    if out_dir is not None and ":/" in out_dir.as_posix()[2:]:
        raise UsageError(f"--out-dir {out_dir}: is a folder on this machine; a Lance store is given with --store")
    if store is None:
        if out_dir is None:
            raise UsageError("give a folder for the index with --out-dir, or a Lance store with --store")
        if indexed_rows is not None:
            raise UsageError(f"--vector-index-from {indexed_rows} is of no use without --store")
        return Target(out_dir, None, INDEXED_ROWS)
    place = parse_place(store)
    load_lance(store)
    work_dir = out_dir or place.folder
    if work_dir is None:
        raise UsageError(f"{store}: give a folder on this machine with --out-dir, too: for rejects and what is resumed")
    for name in (schema.SHARDS_FOLDER, schema.CHUNKS_FOLDER):
        if place.folder is not None and _find(place.folder).is_relative_to(_find(work_dir / name)):
            raise UsageError(
                f"--store {store}: lies in {work_dir / name}, whose parts are removed once they are joined; "
                "choose another place"
            )
    return Target(work_dir, place, INDEXED_ROWS if indexed_rows is None else indexed_rows)


def _find(folder: Path) -> Path:
    """Return the one path that a folder has, however it is spelt."""
    try:
        return folder.resolve()
    except (OSError, RuntimeError):  # links in a circle
        return folder.absolute()


@contextlib.contextmanager
def claiming_target(
    target: Target,
    results: tuple[str, ...],
    *,
    dry_run: bool,
    replace: bool,
    beside: tuple[str, ...] = (),
    writes_rejects: bool = True,
) -> Iterator[None]:
    """Keep others from writing there while the block runs; refuse what holds an index.

    Args:
        target: Where.
        results: File names that count as results in a folder.
        dry_run: Nothing will be written.
        replace: Results may be replaced.
        beside: With a store, file names of results that may not lie in the folder beside it.
        writes_rejects: With a store, whether rejects go into the folder beside it.

    Raises:
        UsageError: Another process writes there, there is an index, or files are there that would be lost.
    """
    with contextlib.ExitStack() as stack:
        if not dry_run:
            refuse_foreign_chunks(target.out_dir / schema.CHUNKS_FOLDER)
            if target.store is None:
                partial = tuple(name for name in INDEX_FILES if name not in results)
                stack.enter_context(
                    output_lock(target.out_dir, results, OVERWRITE, replace=replace, partial=partial, reporter=CONSOLE)
                )
            else:
                rejects = (schema.REJECTS_CSV,) if writes_rejects else ()
                _claim_store(stack, target.out_dir, target.store, replace=replace, partial=rejects)
                if not replace:
                    refuse_results(target.out_dir, beside, _REMEDY_BESIDE)
        yield


def _claim_store(
    stack: contextlib.ExitStack, out_dir: Path, store: Place, *, replace: bool, partial: tuple[str, ...]
) -> None:
    is_apart = store.folder is None or _find(store.folder) != _find(out_dir)
    if store.folder is not None:
        beside = () if is_apart else partial
        stack.enter_context(
            output_lock(store.folder, (INDEX_TABLE,), OVERWRITE, replace=replace, partial=beside, reporter=CONSOLE)
        )
    elif not replace and holds_index(store):
        raise UsageError(f"{store.text} already holds an index; {OVERWRITE}")
    if is_apart:
        stack.enter_context(output_lock(out_dir, (), OVERWRITE, replace=replace, partial=partial, reporter=CONSOLE))
